"""The expected screen is the test."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from pipecopy.cli.displays import bar
from pipecopy.cli.progress import Progress
from pipecopy.cli.text import counted, event_line, far_line, status_line, summary_lines
from pipecopy.events import (
    BatchSaved,
    CallEnded,
    CallStarted,
    Event,
    Hang,
    RangeKnown,
    RetryScheduled,
    TransactionsAwaited,
    Warned,
    Where,
    WorkerKilled,
)
from pipecopy.report import CopyReport

STACK = "\n".join(
    f'  File "/drivers/{name}.py", line {line} in {function}'
    for line, (name, function) in enumerate(
        zip("abcde", ("recv", "read", "load", "load_rows", "run"), strict=True), 1
    )
)
LOAD_BATCH = Where(
    side="source", dbname="prod", call="load_rows", key_range=(5, 90), rows=10, attempt=1
)
LOAD = Where(
    side="source", dbname="prod", call="load_rows", key_range=(500_000, 510_000), attempt=1
)
HALF: list[tuple[Event, float]] = [
    (RangeKnown(first_id=0, max_id=999_999), 100.0),
    (BatchSaved(key_range=(0, 500_000), rows=499_999, bytes=196_000_000), 104.0),
    (WorkerKilled(where=LOAD, pid=7, seconds=30.0, abandoned=False), 104.5),
    (RetryScheduled(where=LOAD, delay=1.0), 104.5),
    (CallStarted(where=LOAD, limit=30.0), 105.0),
]
REPORT = CopyReport(
    run_id="0123456789ab",
    source="prod",
    target="stats",
    outcome="complete",
    rows=1_000_000,
    batches=100,
    bytes=392_000_000,
    max_id=1_000_000,
    next_id=1_000_001,
    calls=206,
    timeouts=1,
    kills=1,
    retries=1,
    seconds=40.04,
)


def progress(events: list[tuple[Event, float]]) -> Progress:
    result = Progress()
    for event, now in events:
        result = result.after(event, now)
    return result


def test_the_status_line_before_the_first_row() -> None:
    assert status_line(Progress(), 0.0) == "starting, 0 rows, 0 kills, 0 retries"


def test_the_status_line_on_the_way() -> None:
    assert status_line(progress(HALF), 108.0) == (
        "50%, 499,999 rows, 62,500 rows/s, 24.5 MB/s, 1 kill, 1 retry,"
        " next id 500000 of 999999, ETA 8s,"
        ' source "prod", load_rows [500000, 510000): under way for 3s of 30s'
    )


def test_the_status_line_while_the_first_load_waits() -> None:
    awaited: list[tuple[Event, float]] = [
        (TransactionsAwaited(open=("a", "b"), seconds=0.0, limit=30.0), 100.0),
        (TransactionsAwaited(open=("b",), seconds=4.0, limit=30.0), 104.0),
    ]
    waiting = "starting, 0 rows, 0 kills, 0 retries, waiting for 1 transaction of the source:"
    assert status_line(progress(awaited), 108.0) == f"{waiting} 8s of 30s"
    begun = progress([*awaited, (RangeKnown(first_id=0, max_id=9), 130.0)])
    assert "waiting" not in status_line(begun, 130.0)


def saves(first: int, last: int, begin: float) -> list[tuple[Event, float]]:
    """Return ten saves of 100 rows each second."""
    return [
        (BatchSaved(key_range=(n * 100, n * 100 + 100), rows=100, bytes=10_000), begin + n * 0.1)
        for n in range(first, last)
    ]


def test_a_hang_is_soon_out_of_the_speed() -> None:
    begin: list[tuple[Event, float]] = [(RangeKnown(first_id=0, max_id=99_999), 100.0)]
    running = [*begin, *saves(0, 300, 100.1)]
    assert "1,000 rows/s, 0.1 MB/s" in status_line(progress(running), 130.0)
    again = progress([*running, *saves(300, 405, 400.0)])  # after 300 seconds
    line = status_line(again, 440.4)
    assert "40,500 rows, " in line
    assert " 1,000 rows/s, 0.1 MB/s, " in line
    assert line.endswith(" ETA 59s")  # 59,500 ids
    assert len(again.marks) < 40


def test_during_a_hang_the_speed_falls_and_the_time_left_grows() -> None:
    begin: list[tuple[Event, float]] = [(RangeKnown(first_id=0, max_id=99_999), 100.0)]
    hung = progress([*begin, *saves(0, 300, 100.1)])
    speeds = [hung.speed(130.0 + seconds).rows for seconds in (0, 5, 20, 100)]
    assert speeds == sorted(speeds, reverse=True)
    assert 0 < speeds[-1] < 10


def test_saves_that_are_further_apart_than_the_window_still_have_a_speed() -> None:
    slow: list[tuple[Event, float]] = [
        (RangeKnown(first_id=0, max_id=99_999), 0.0),
        (BatchSaved(key_range=(0, 100), rows=100, bytes=1), 20.0),
        (BatchSaved(key_range=(100, 200), rows=100, bytes=1), 40.0),
    ]
    assert progress(slow).speed(40.0).rows == 5
    assert progress(slow).speed(55.0).rows == pytest.approx(100 / 35)


def test_the_bar_on_the_way() -> None:
    console = Console(file=io.StringIO(), width=60, legacy_windows=False)
    with console.capture() as screen:
        console.print(bar(progress(HALF), 108.0))
    assert [line.rstrip() for line in screen.get().splitlines()] == [
        "━━━━━━━━━━━━━━━━━━━━━━━╸                         50%  ETA 8s",
        "499,999 rows, 62,500 rows/s, 24.5 MB/s, 1 kill, 1 retry",
        'source "prod", load_rows [500000, 510000): under way for 3s…',
    ]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            TransactionsAwaited(open=tuple("abcdefg"), seconds=0.0, limit=30.0),
            "waiting up to 30s for 7 transactions of the source: a; b; c; d; e; and 2 more",
        ),
        (TransactionsAwaited(open=("g",), seconds=2.0, limit=30.0), None),
        (
            TransactionsAwaited(open=(), seconds=3.24, limit=30.0),
            "the transactions of the source have ended, after 3.2s",
        ),
        (
            WorkerKilled(
                where=LOAD,
                pid=7,
                seconds=30.0,
                abandoned=False,
                hang=Hang(state="sleeping", wait_channel="do_poll", stack=STACK),
            ),
            (
                'source "prod", load_rows [500000, 510000): worker 7 was killed; it was stuck in '
                "recv (a.py:1) < read (b.py:2) < load (c.py:3) < load_rows (d.py:4) < …"
            ),
        ),
        (
            WorkerKilled(where=LOAD, pid=7, seconds=30.0, abandoned=False),
            'source "prod", load_rows [500000, 510000): worker 7 was killed',
        ),
        (
            CallEnded(where=LOAD, outcome="timed out", seconds=30.01, detail="killed"),
            'source "prod", load_rows [500000, 510000): attempt 1 timed out, after 30.0s: killed',
        ),
        (
            RetryScheduled(where=LOAD_BATCH, delay=0.25),
            'source "prod", load_rows of up to 10 rows of [5, 90): tried again in 250ms',
        ),
        (
            RetryScheduled(where=LOAD, delay=0.25),
            'source "prod", load_rows [500000, 510000): tried again in 250ms',
        ),
        (CallEnded(where=LOAD, outcome="returned", seconds=0.1), None),
        (CallStarted(where=LOAD, limit=30), None),
        (Warned(message="no index"), "warning: no index"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_lines_of_what_happens(event: Event, line: str | None) -> None:
    assert event_line(event) == line


def test_no_line_shows_a_password() -> None:
    where = Where(
        side="target",
        dbname="postgresql://me:s3cret@host/db",
        call="connect",
        key_range=None,
        attempt=1,
    )
    ended = CallEnded(where=where, outcome="raised", seconds=0, detail="password=s3cret is wrong")
    assert "s3cret" not in str(event_line(ended))


def test_the_summary() -> None:
    assert summary_lines(REPORT) == [
        "1,000,000 rows in 100 batches, 392.0 MB, in 40s: 24,975 rows/s, 9.8 MB/s",
        "run 0123456789ab: 206 calls, 1 timeout, 1 kill, 1 retry",
    ]
    assert far_line(REPORT) == (
        "every id below 1000001 (of 1000000) is in the target: 1,000,000 rows in 40.0s"
    )


def test_words_are_counted() -> None:
    assert [counted(n, word) for n, word in ((1, "retry"), (2, "retry"), (0, "batch"))] == [
        "1 retry",
        "2 retries",
        "0 batches",
    ]


def test_a_time_left_that_no_copy_may_take_is_unknown() -> None:
    begin: list[tuple[Event, float]] = [(RangeKnown(first_id=0, max_id=2**63 - 1), 100.0)]
    assert status_line(progress([*begin, *saves(0, 20, 100.1)]), 102.5).endswith(", ETA ?")
