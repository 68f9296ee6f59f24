"""What is shown during a run: the meter by its events, and the bar that it draws."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import pytest
from rich.console import Console

from pipecopy.config import Config
from pipecopy.events import (
    BatchSaved,
    CallEnded,
    CallStarted,
    Event,
    Paused,
    RangeKnown,
    RangeVerified,
    Resumed,
    RetryScheduled,
    RunStarted,
    StopRequested,
    Where,
    WorkerKilled,
)
from pipecopy.observers.bar import Bar
from pipecopy.observers.meter import Meter
from pipecopy.observers.text import Status

CONFIG = Config(
    batch_size=10, max_retries=0, retries_delay=0, call_timeout=30, full_copy_timeout=100
)
STARTED = RunStarted(
    run_id="0123456789ab", source="prod", target="stats", config=CONFIG, mode="copy"
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


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def metered(events: list[tuple[Event, float]], now: float) -> Meter:
    """Return the meter at a time after the events, each of which came at its time."""
    clock = Clock()
    meter = Meter(clock)
    for event, at in events:
        clock.now = at
        meter.take(event)
    clock.now = now
    return meter


def status(events: list[tuple[Event, float]], now: float) -> Status:
    return metered(events, now).status()


def drawn(meter: Meter, *, brief: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=60, legacy_windows=False)
    with console.capture() as screen:
        console.print(Bar(console, meter, brief=brief))
    return [line.rstrip() for line in screen.get().splitlines()]


def saves(first: int, last: int, begin: float) -> list[tuple[Event, float]]:
    """Return ten saves of 100 rows each second."""
    return [
        (BatchSaved(key_range=(n * 100, n * 100 + 100), rows=100, bytes=10_000), begin + n * 0.1)
        for n in range(first, last)
    ]


def test_nothing_is_known_at_first() -> None:
    assert status([], 0.0) == Status()


def test_the_status_on_the_way() -> None:
    assert status(HALF, 108.0) == Status(
        share=0.5,
        next_id=500_000,
        max_id=999_999,
        rows=499_999,
        rows_speed=124_999.75,
        bytes_speed=49_000_000.0,
        kills=1,
        retries=1,
        seconds_left=4,
        waits=("running for 3 s of 30 s: source prod: load_rows of ids [500000, 510000)",),
    )
    ended: tuple[Event, float] = (CallEnded(where=LOAD, outcome="returned", seconds=4), 109.0)
    assert status([*HALF, ended], 110.0).waits == ()


def test_a_call_is_shown_once_it_is_slow() -> None:
    assert status(HALF, 105.9).waits == ()


def test_the_status_of_a_verification() -> None:
    verified = RangeVerified(key_range=(0, 500), rows=499, missing=1, surplus=2, differing=3)
    events: list[tuple[Event, float]] = [
        (replace(STARTED, mode="verify"), 100.0),
        (RangeKnown(first_id=0, max_id=999), 100.0),
        (verified, 101.0),
    ]
    found = status(events, 101.0)
    assert (found.differences, found.rows_speed, found.bytes_speed) == (6, 499.0, None)
    assert found.seconds_left == 1


def test_a_hang_is_out_of_the_speed_when_it_is_over() -> None:
    begin: list[tuple[Event, float]] = [
        (STARTED, 99.0),
        (RangeKnown(first_id=0, max_id=99_999), 100.0),
    ]
    running = [*begin, *saves(0, 300, 100.1)]
    assert status(running, 130.0).rows_speed == pytest.approx(1000, rel=0.01)
    assert status(running, 170.0).rows_speed is None  # nothing moves
    again = status([*running, *saves(300, 310, 400.0)], 431.0)  # after 300 seconds
    assert again.rows_speed == pytest.approx(1000, rel=0.01)
    assert again.seconds_left == pytest.approx(69, abs=1)  # 69,000 ids


def test_saves_that_are_far_apart_have_a_speed() -> None:
    slow: list[tuple[Event, float]] = [
        (STARTED, 0.0),
        (RangeKnown(first_id=0, max_id=99_999), 0.0),
        (BatchSaved(key_range=(0, 100), rows=100, bytes=1), 20.0),
        (BatchSaved(key_range=(100, 200), rows=100, bytes=1), 40.0),
    ]
    assert status(slow, 40.0).rows_speed == 5
    assert status(slow, 49.0).rows_speed == 5


def test_the_bar_on_the_way() -> None:
    assert drawn(metered(HALF, 108.0)) == [
        "━━━━━━━━━━━━━━━━━━━━━━━                         50%  ETA 4 s",
        "499,999 rows, 125,000 rows/s, 49.0 MB/s, 1 kill, 1 retry",
        "running for 3 s of 30 s: source prod: load_rows of ids [500…",
    ]


def test_a_brief_display_shows_only_what_is_waited_for() -> None:
    assert drawn(metered([], 0.0), brief=True) == ["looking at both databases"]
    assert drawn(metered(HALF, 108.0), brief=True)[0].startswith(
        "running for 3 s of 30 s: source prod"
    )


def test_a_pause_is_shown_with_its_reason_until_it_ends() -> None:
    lag = "the standby s1 of the target is {} s behind (at most 10 s)"
    events: list[tuple[Event, float]] = [
        (Paused(reason="max lag", detail=lag.format(12)), 100.0),
        (Paused(reason="max lag", detail=lag.format(30), seconds=20.0), 120.0),
    ]
    assert status(events[:1], 100.9).waits == ()
    assert status(events, 134.0).waits == (f"paused for 34 s: {lag.format(30)}",)
    events.append((Resumed(reason="max lag", seconds=34.0), 134.0))
    assert status(events, 134.0).waits == ()


def test_a_stop_is_shown_with_what_it_waits_for() -> None:
    asked = StopRequested(grace=10.0, finishing="the batch in flight", by="SIGTERM")
    assert status([(asked, 100.0)], 103.0).waits == (
        "stopping: 3 s of 10 s for the batch in flight",
    )
    assert status([(StopRequested(grace=0.0), 100.0)], 103.0).waits == ()
