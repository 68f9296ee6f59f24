"""`stop`: what is in flight is finished within the grace time, and nothing else begins."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipecopy.errors import ConfigError, DatabaseError, StoppedError
from pipecopy.events import CallStarted, Event, RetryScheduled, StopRequested
from tests.operations.sqlite import ComparingPool
from tests.support.drivers import RecordingPool
from tests.support.runs import check, copy, verify
from tests.support.strikes import Strike, heeded_file, stop_file

AT_ONCE = 3.0
"""Seconds from the request to the end: far less than a call, or the grace time, may take."""
ASKS = "asks to stop"


class InFile(threading.Event):
    """An event that is set by making a file, so that a call in a worker can ask for the stop."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._path = stop_file(folder)

    def is_set(self) -> bool:
        return self._path.exists()


def takes_note(folder: Path, events: list[Event] | None = None) -> Callable[[Event], None]:
    """Return an observer that lets the call which asked for the stop go on once that is heeded."""

    def observe(event: Event) -> None:
        if events is not None:
            events.append(event)
        if isinstance(event, StopRequested):
            heeded_file(folder).touch()

    return observe


def save(number: int, *faults: str) -> tuple[Strike, ...]:
    return tuple(
        Strike(side="target", call="save_rows", fault=each, skip=number - 1) for each in faults
    )


def load(number: int, *faults: str) -> tuple[Strike, ...]:
    return tuple(
        Strike(side="source", call="load_rows", fault=each, skip=number - 1) for each in faults
    )


def connect(*faults: str) -> tuple[Strike, ...]:
    return tuple(Strike(side="source", call="connect", fault=each) for each in faults)


@dataclass(frozen=True, kw_only=True)
class Case:
    """When a copy of six batches of ten ids is asked to stop, and what it does then."""

    strikes: tuple[Strike, ...]
    saved: int
    """Batches in the target then."""
    finishing: str | None = "the batch in flight"
    begins: tuple[str, ...] = ()
    """The calls that begin after it is asked, but `close`."""
    limits: dict[str, Any] = field(default_factory=dict)


CASES = {
    "in a save": Case(strikes=save(2, ASKS), saved=2),
    "in a save, with read-ahead": Case(strikes=save(2, ASKS), saved=2, limits={"read_ahead": 1}),
    "in a load": Case(strikes=load(2, ASKS), saved=2, begins=("save_rows",)),
    "in the first load, with read-ahead": Case(
        strikes=load(1, ASKS), saved=1, limits={"read_ahead": 1}, begins=("save_rows",)
    ),
    "in a load ahead, which hangs": Case(
        strikes=(*save(2, "waits until asked to stop"), *load(3, ASKS, "deadlock")),
        saved=2,
        limits={"read_ahead": 1},
    ),
    "in a save that times out, and is not retried": Case(
        strikes=save(2, ASKS, "TimeoutError"), saved=1, limits={"max_retries": 3}
    ),
    "in a save that takes longer than the grace time": Case(
        strikes=save(2, ASKS, "deadlock"), saved=1, limits={"grace": 0.3}
    ),
    "in a save, without a grace time": Case(
        strikes=save(2, ASKS, "deadlock"), saved=1, limits={"grace": 0}, finishing=None
    ),
    "in a connect that hangs": Case(strikes=connect(ASKS, "deadlock"), saved=0, finishing=None),
    "while the greatest id is read": Case(
        strikes=(Strike(side="source", call="get_max_id", fault=ASKS),), saved=0, finishing=None
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_copy_stops(name: str, sqlite_pool: RecordingPool) -> None:
    case = CASES[name]
    sqlite_pool.create(range(1, 51))
    pool = sqlite_pool.faulty(*case.strikes)
    events: list[Event] = []
    with pytest.raises(StoppedError, match=r"^the copy was stopped") as stopped:
        copy(
            pool, stop=InFile(pool.folder), observer=takes_note(pool.folder, events), **case.limits
        )
    report = stopped.value.report
    assert (report.outcome, report.next_id) == ("stopped", 10 * case.saved)
    assert (report.retries, report.kills) == (0, 0)
    given_up = "the batch in flight was given up: it was not finished within 300 ms (`grace`)"
    too_short = "longer than the grace time" in name
    assert [one.partition(";")[0] for one in report.warnings] == [given_up] * too_short
    rows = [row for row in sqlite_pool.rows("source") if row[0] < report.next_id]
    assert sqlite_pool.rows("target") == rows
    (asked,) = (event for event in events if isinstance(event, StopRequested))
    grace = case.limits.get("grace", 10) if case.finishing else 0
    assert (asked.finishing, asked.grace, asked.by) == (case.finishing, grace, None)
    after = events[events.index(asked) :]
    begun = [event.where.call for event in after if isinstance(event, CallStarted)]
    assert tuple(call for call in begun if call != "close") == case.begins
    assert after[-1].at - asked.at < AT_ONCE


@pytest.mark.parametrize(
    "strikes", [save(6, ASKS), (Strike(side="source", call="close", fault=ASKS),)]
)
def test_a_copy_that_is_asked_at_its_end_is_complete(
    strikes: tuple[Strike, ...], sqlite_pool: RecordingPool
) -> None:
    sqlite_pool.create(range(1, 51))
    pool = sqlite_pool.faulty(*strikes)
    report = copy(pool, stop=InFile(pool.folder), observer=takes_note(pool.folder))
    assert (report.outcome, report.warnings) == ("complete", ())
    assert all(closed.end for closed in pool.recorder.attempts(call="close"))
    sqlite_pool.assert_equal()


def test_an_error_in_the_grace_time_is_the_error_of_the_run(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create(range(1, 51))
    pool = sqlite_pool.faulty(*save(2, ASKS, "ValueError"))
    with pytest.raises(DatabaseError, match="broken on purpose") as failed:
        copy(pool, stop=InFile(pool.folder), observer=takes_note(pool.folder))
    assert failed.value.report.next_id == 10


def _at_a_retry(event: Event) -> bool:
    return isinstance(event, RetryScheduled)


def _in_a_call_that_hangs(event: Event) -> bool:
    return isinstance(event, CallStarted) and event.where.call == "save_rows"


@pytest.mark.parametrize(
    ("moment", "fault", "seconds"),
    [(_at_a_retry, "TimeoutError", 0.0), (_in_a_call_that_hangs, "deadlock", 0.5)],
)
def test_another_thread_is_heeded_at_once(
    moment: Callable[[Event], bool], fault: str, seconds: float, sqlite_pool: RecordingPool
) -> None:
    sqlite_pool.create(range(1, 51))
    stop, asked_at = threading.Event(), list[float]()

    def observe(event: Event) -> None:
        if moment(event):
            asked_at.append(time.monotonic())
            stop.set()

    with pytest.raises(StoppedError):
        copy(
            sqlite_pool.faulty(*save(1, fault)),
            stop=stop,
            observer=observe,
            grace=0.5,
            max_retries=1,
            retries_delay=20,
        )
    # looked at four times a second; the rest is the clean-up
    assert seconds <= time.monotonic() - asked_at[0] <= seconds + 0.5


def test_a_verification_finishes_its_range_and_the_repair(tmp_path: Path) -> None:
    pool = ComparingPool(tmp_path, fault=ASKS)
    pool.create(range(1, 51))
    with pytest.raises(
        StoppedError, match=r"^the verification was stopped; every id below 10"
    ) as stopped:
        verify(pool, repair=True, stop=InFile(pool.folder), observer=takes_note(pool.folder))
    report = stopped.value.report
    assert (report.outcome, report.next_id) == ("stopped", 10)
    assert (report.missing, report.repaired) == (9, 9)
    assert pool.rows("target") == pool.rows("source")[:9]


def test_a_verification_whose_last_range_is_in_flight_is_complete(tmp_path: Path) -> None:
    pool = ComparingPool(tmp_path, fault=ASKS)
    pool.create(range(1, 9))
    report = verify(pool, stop=InFile(pool.folder), observer=takes_note(pool.folder))
    assert (report.outcome, report.missing) == ("complete", 8)


def test_a_check_ends_at_once(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create(range(1, 51))
    pool = sqlite_pool.faulty(Strike(side="source", call="get_max_id", fault=ASKS))
    with pytest.raises(StoppedError) as stopped:
        check(pool, stop=InFile(pool.folder), observer=takes_note(pool.folder))
    report = stopped.value.report
    assert (report.outcome, report.plan) == ("stopped", None)
    assert report.items


def test_a_stop_before_the_start_begins_nothing(sqlite_pool: RecordingPool) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError):
        copy(sqlite_pool, stop=stop)
    assert sqlite_pool.recorder.attempts() == []


def test_what_is_no_event_is_refused(sqlite_pool: RecordingPool) -> None:
    wrong: Any = True
    with pytest.raises(ConfigError, match=r"^stop must be a threading.Event, not a bool"):
        copy(sqlite_pool, stop=wrong)
