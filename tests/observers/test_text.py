"""The expected line is the test."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipecopy.config import Config
from pipecopy.events import (
    BatchSaved,
    CallEnded,
    CallStarted,
    DifferencesFound,
    DriverOutput,
    Event,
    Hang,
    Paused,
    Resumed,
    RetryScheduled,
    RunStarted,
    StopRequested,
    Warned,
    Where,
    WorkerKilled,
)
from pipecopy.observers.summary import summary_lines
from pipecopy.observers.text import (
    Status,
    differences_line,
    event_line,
    status_line,
)
from pipecopy.report import CopyReport
from pipecopy.sharded import ShardedReport, ShardedTable
from pipecopy.supervisor.progress import far
from pipecopy.units import counted, id_ranges

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


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            Paused(reason="pause file", detail="the file /run/pause exists"),
            "paused: the file /run/pause exists",
        ),
        (Paused(reason="max lag", detail="the standby", seconds=3.0), None),
        (Paused(reason="max rate", detail="at most 20 MB a second"), None),
        (Resumed(reason="pause file", seconds=34.04), "resumed after 34 s"),
        (Resumed(reason="max rate", seconds=0.2), None),
        (
            StopRequested(grace=10.0, finishing="the batch in flight", by="SIGHUP"),
            "SIGHUP: finishing the batch in flight, at most 10 s; send it again to stop at once",
        ),
        (
            StopRequested(grace=0.25, finishing="the range in flight"),
            "asked to stop: finishing the range in flight, at most 250 ms",
        ),
        (StopRequested(grace=0.0, by="SIGINT"), None),
        (
            WorkerKilled(
                where=LOAD,
                pid=7,
                seconds=30.0,
                abandoned=False,
                hang=Hang(state="sleeping", wait_channel="do_poll", stack=STACK),
            ),
            (
                "source prod: load_rows of ids [500000, 510000): worker 7 was killed; it was"
                " sleeping, stuck in recv (a.py:1) < read (b.py:2) < load (c.py:3) < load_rows"
                " (d.py:4) < …, kernel: do_poll"
            ),
        ),
        (
            WorkerKilled(where=LOAD, pid=7, seconds=30.0, abandoned=False),
            "source prod: load_rows of ids [500000, 510000): worker 7 was killed",
        ),
        (
            WorkerKilled(where=LOAD, pid=None, seconds=5.0, abandoned=False),
            (
                "source prod: load_rows of ids [500000, 510000): its worker had not been forked"
                " yet and was given up"
            ),
        ),
        (
            CallEnded(where=LOAD, outcome="cut short", seconds=1.5, detail="the copy ended"),
            ("source prod: load_rows of ids [500000, 510000): attempt 1 was cut short after 1.5 s"),
        ),
        (
            CallEnded(where=LOAD, outcome="crashed", seconds=1.5, detail="was killed by SIGSEGV"),
            "source prod: load_rows of ids [500000, 510000): attempt 1 failed after 1.5 s",
        ),
        (
            CallEnded(where=LOAD, outcome="timed out", seconds=30.01, detail="killed"),
            "source prod: load_rows of ids [500000, 510000): attempt 1 timed out after 30 s",
        ),
        (
            RetryScheduled(where=LOAD_BATCH, delay=0.25, reason="lock timeout\n"),
            (
                "source prod: load_rows of up to 10 rows of ids [5, 90): attempt 1 timed out:"
                " lock timeout; retrying in 250 ms"
            ),
        ),
        (
            RetryScheduled(where=LOAD, delay=0.25),
            (
                "source prod: load_rows of ids [500000, 510000): attempt 1 timed out;"
                " retrying in 250 ms"
            ),
        ),
        (
            CallEnded(where=LOAD, outcome="returned", seconds=0.12345),
            "source prod: load_rows of ids [500000, 510000): attempt 1 returned after 123 ms",
        ),
        (
            CallStarted(where=LOAD, limit=30),
            "source prod: load_rows of ids [500000, 510000): attempt 1 began",
        ),
        (
            BatchSaved(key_range=(5, 90), rows=10, bytes=1, inserted=7, updated=1, unchanged=2),
            "ids [5, 90): 10 rows saved: 7 inserted, 1 updated, 2 unchanged",
        ),
        (BatchSaved(key_range=(5, 90), rows=10, bytes=1), "ids [5, 90): 10 rows saved"),
        (BatchSaved(key_range=(5, 90), rows=0, bytes=0), None),
        (DifferencesFound(missing=(1,), surplus=(), differing=()), None),  # the last lines have it
        (Warned(message="no index"), "warning: no index"),
        (
            Warned(message='drop "a  b"\x1b[31m\n\tas \u202egpj'),
            'warning: drop "a  b"\\x1b[31m as \\u202egpj',
        ),
        (Warned(message="it refused\n\tIs it up?"), "warning: it refused; Is it up?"),
        (
            DriverOutput(side="source", dbname="prod", text="\x1b]0;é\x07\n"),
            "source prod: driver output: \\x1b]0;é\\x07",
        ),
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
    done = "392.0 MB, in 40 s: 24,975 rows/s, 9.8 MB/s; 206 calls, 1 timeout, 1 kill, 1 retry"
    untold = replace(REPORT, inserted=None, updated=None, unchanged=None)
    assert summary_lines(untold) == [f"complete: 1,000,000 rows; 100 batches, {done}"]
    counts = "1,000,000 rows: 900,000 inserted, 1 updated, 99,999 unchanged"
    told = replace(REPORT, inserted=900_000, updated=1, unchanged=99_999)
    assert summary_lines(told) == [f"complete: {counts}; 100 batches, {done}"]
    (adapted,) = summary_lines(replace(told, batch_size=150_994))
    assert f"; 100 batches (adapted to 150,994 rows), {done}" in adapted
    (failed,) = summary_lines(replace(untold, outcome="failed"))  # how far it came is told besides
    assert failed == (
        "100 batches, 392.0 MB: 24,975 rows/s, 9.8 MB/s; 206 calls, 1 timeout, 1 kill, 1 retry"
    )
    assert far(REPORT) == ("every id from 0 to 1000000 is in the target: 1,000,000 rows in 40 s")


def test_the_summary_of_a_sharded_run() -> None:
    of_copy = vars(REPORT)
    table: dict[str, Any] = {"target_table": None, "first_id": 0, "max_id": 9, "next_id": 10}
    tables = tuple(
        ShardedTable(table=name, **table, shards=20, done=done, rows=rows)
        for name, done, rows in (("a.b", 20, 999_999), ("a.c", 1, 1))
    )
    of_shards: dict[str, Any] = {"shards": 40, "again": 1, "rows_before": 600_000}
    told = of_copy | of_shards | {"inserted": None, "seconds": 40, "tables": tables[:1]}
    report = ShardedReport(**told, hosts=("batch-7", "batch-8"))
    took = "100 batches, 392.0 MB, in 40 s: 10,000 rows/s, 9.8 MB/s; 206 calls"
    (line,) = summary_lines(report)  # what was done before counts for no speed
    assert line.startswith(
        f"complete: 1,000,000 rows; 40 shards, 1 run again, on batch-7, batch-8; {took}"
    )
    several = replace(report, tables=tables, outcome="failed", again=0, hosts=tuple("abcde"))
    (*lines, last) = summary_lines(several)
    assert lines == ["a.b: 999,999 rows, 20 of 20 shards", "a.c: 1 row, 1 of 20 shards"]
    assert last.startswith("40 shards, on 5 hosts; 100 batches, ")


def test_words_are_counted() -> None:
    assert [counted(n, word) for n, word in ((1, "retry"), (2, "retry"), (0, "batch"))] == [
        "1 retry",
        "2 retries",
        "0 batches",
    ]


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (Status(), "starting, 0 rows, 0 kills, 0 retries"),
        (
            Status(
                share=0.5,
                next_id=500_000,
                max_id=999_999,
                rows=499_999,
                rows_speed=62_500.0,
                bytes_speed=24_500_000.0,
                kills=1,
                retries=1,
                seconds_left=8.2,
                waits=("a call: running for 3 s of 30 s",),
            ),
            (
                "50%, 499,999 rows, 62,500 rows/s, 24.5 MB/s, 1 kill, 1 retry, next id 500000 of"
                " 999999, ETA 8 s, a call: running for 3 s of 30 s"
            ),
        ),
        (
            Status(share=0.5, next_id=500, max_id=999, rows=499, rows_speed=499.0, differences=6),
            (
                "50%, 499 rows, 499 rows/s, 6 differences, 0 kills, 0 retries, next id 500 of 999,"
                " ETA ?"
            ),
        ),
        (  # longer than any run may take
            Status(share=0.0, next_id=1, max_id=2**63 - 1, seconds_left=1e8),
            "0%, 0 rows, 0 kills, 0 retries, next id 1 of 9223372036854775807, ETA ?",
        ),
    ],
    ids=["before the first row", "on the way", "a verification", "far away"],
)
def test_the_status_line(status: Status, line: str) -> None:
    assert status_line(status) == line


@pytest.mark.parametrize(
    ("ids", "count", "text"),
    [
        ([12], 1, "12"),
        ([5, 6, 7, 8, 9, 12], 6, "5-9, 12"),
        (list(range(100)), 100, "0-99"),
        (list(range(1000)), 1001, "0-999, …"),
        (list(range(0, 22, 2)), 11, "0, 2, 4, 6, 8, 10, 12, 14, 16, 18, …"),
        (list(range(0, 20, 2)), 10, "0, 2, 4, 6, 8, 10, 12, 14, 16, 18"),
    ],
)
def test_ids_are_written_as_ranges(ids: list[int], count: int, text: str) -> None:
    assert id_ranges(ids, count=count) == text


def test_the_lines_of_a_verification() -> None:
    config = Config(
        batch_size=10, max_retries=0, retries_delay=0, call_timeout=1, full_copy_timeout=10
    )
    started = RunStarted(
        run_id="0123456789ab", source="prod", target="stats", config=config, mode="verify"
    )
    run = "run 0123456789ab"
    assert event_line(started) == f"comparing stats with prod, {run}"
    named = replace(started, table="a.b", target_table="c")
    assert event_line(named) == f"comparing c in stats with a.b in prod, {run}"
    found = DifferencesFound(missing=(1, 2, 3), surplus=(), differing=(9,))
    assert differences_line(found) == "missing in the target: 1-3; differing: 9"


@pytest.mark.parametrize(
    ("table", "target_table", "line"),
    [
        (None, None, "copying from prod to stats"),
        ("a.b", "a.b", "copying a.b from prod to stats"),
        ("a.b", "c", "copying a.b from prod to c in stats"),
    ],
)
def test_the_first_line_has_the_table(
    table: str | None, target_table: str | None, line: str
) -> None:
    config = Config(
        batch_size=10, max_retries=0, retries_delay=0, call_timeout=1, full_copy_timeout=10
    )
    started = RunStarted(
        run_id="1",
        source="prod",
        target="stats",
        config=config,
        mode="copy",
        table=table,
        target_table=target_table,
    )
    assert event_line(started) == f"{line}, run 1"
