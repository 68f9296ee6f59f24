"""Retries are for time-outs alone: how many, how long after each other, and what is raised."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from pipecopy.contracts import Side
from pipecopy.errors import CallTimeoutError, DatabaseError, WorkerCrashedError
from pipecopy.events import CallEnded, CallStarted, Event
from tests.support.copies import copy
from tests.support.drivers import CallName, RecordingPool, Strike

DELAY = 0.3
LIMIT = 0.5
LATE = 0.15

CALLS: list[tuple[Side, CallName]] = [
    ("source", "connect"),
    ("target", "connect"),
    ("source", "get_max_id"),
    ("source", "load_rows"),
    ("target", "save_rows"),
]
RANGES = {"load_rows": (0, 10), "save_rows": (0, 10)}


@pytest.mark.parametrize(("side", "call"), CALLS)
@pytest.mark.parametrize("fault", ["TimeoutError", "deadlock"])
def test_the_last_attempt_saves_the_copy(
    sqlite_pool: RecordingPool, side: Side, call: CallName, fault: str
) -> None:
    sqlite_pool.create(range(25))
    strike = Strike(side=side, call=call, fault=fault, times=2)
    seen: list[tuple[float, CallStarted | CallEnded]] = []

    def note(event: Event) -> None:
        if isinstance(event, CallStarted | CallEnded):
            seen.append((time.monotonic(), event))

    report = copy(
        replace(sqlite_pool, strikes=(strike,)),
        max_retries=2,
        retries_delay=DELAY,
        call_timeout=LIMIT,
        observer=note,
    )
    assert sqlite_pool.rows("target") == sqlite_pool.rows("source")
    kills = 2 if fault == "deadlock" else 0
    assert (report.timeouts, report.retries, report.kills) == (2, 2, kills)

    struck = [at for at in seen if at[1].where.call == call and at[1].where.side == side]
    ends = [at for at, event in struck if isinstance(event, CallEnded)][:2]
    starts = [at for at, event in struck if isinstance(event, CallStarted)][1:3]
    for end, start in zip(ends, starts, strict=True):
        # the observer's thread hears of each some milliseconds late
        assert DELAY - 0.05 <= start - end <= DELAY + LATE


@pytest.mark.parametrize(("side", "call"), CALLS)
@pytest.mark.parametrize("max_retries", [0, 1])
@pytest.mark.parametrize("fault", ["TimeoutError", "deadlock"])
def test_all_attempts_time_out(
    sqlite_pool: RecordingPool, side: Side, call: CallName, max_retries: int, fault: str
) -> None:
    sqlite_pool.create(range(25))
    strike = Strike(side=side, call=call, fault=fault)
    with pytest.raises(CallTimeoutError) as caught:
        copy(
            replace(sqlite_pool, strikes=(strike,)),
            max_retries=max_retries,
            retries_delay=0,
            call_timeout=0.3,
        )
    error = caught.value
    assert len(sqlite_pool.recorder.attempts(side=side, call=call)) == 1 + max_retries
    assert (error.side, error.dbname, error.call) == (side, side, call)
    assert error.attempts == 1 + max_retries
    assert error.key_range == RANGES.get(call)
    assert side in str(error)
    assert call in str(error)
    assert error.report is not None
    assert (error.report.outcome, error.report.next_id) == ("timed out", 0)
    assert (error.report.timeouts, error.report.retries) == (1 + max_retries, max_retries)
    assert sqlite_pool.rows("target") == []


def test_each_call_has_its_own_attempts(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create(range(30))
    strikes = tuple(
        Strike(side="source", call="load_rows", fault="TimeoutError", skip=skip, times=1)
        for skip in (0, 2, 4)  # the first attempt at each of three batches
    )
    report = copy(replace(sqlite_pool, strikes=strikes), max_retries=1, retries_delay=0)
    loads = [tuple(a.args) for a in sqlite_pool.recorder.attempts(call="load_rows")]
    assert loads == [(0, 10)] * 2 + [(10, 20)] * 2 + [(20, 30)] * 2
    assert report.retries == 3


@pytest.mark.parametrize(("side", "call"), CALLS)
def test_an_error_is_not_tried_again(
    sqlite_pool: RecordingPool, side: Side, call: CallName
) -> None:
    sqlite_pool.create(range(25))
    strike = Strike(side=side, call=call, fault="ValueError")
    with pytest.raises(DatabaseError, match="broken on purpose") as caught:
        copy(replace(sqlite_pool, strikes=(strike,)), max_retries=5)
    error = caught.value
    assert (error.side, error.call, error.attempts) == (side, call, 1)
    assert error.driver_error == "ValueError"
    assert "_fail" in (error.driver_traceback or "")
    assert len(sqlite_pool.recorder.attempts(side=side, call=call)) == 1


@pytest.mark.parametrize(
    ("fault", "exitcode", "signal"),
    [
        ("_exit(0)", 0, None),
        ("_exit(1)", 1, None),
        ("segmentation fault", None, 11),
        ("SIGKILL", None, 9),
    ],
)
def test_a_crash_is_not_tried_again(
    sqlite_pool: RecordingPool, fault: str, exitcode: int | None, signal: int | None
) -> None:
    sqlite_pool.create(range(25))
    strike = Strike(side="target", call="save_rows", fault=fault, skip=1)
    with pytest.raises(WorkerCrashedError) as caught:
        copy(replace(sqlite_pool, strikes=(strike,)), max_retries=5)
    error = caught.value
    assert (error.exitcode, error.signal) == (exitcode, signal)
    assert (error.call, error.key_range, error.attempts) == ("save_rows", (10, 20), 1)
    assert error.report is not None
    assert error.report.next_id == 10
    assert [row[0] for row in sqlite_pool.rows("target")] == list(range(10))
