"""A call that is stuck fails at its limit, whatever it is stuck in."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from pipecopy.contracts import Side
from pipecopy.errors import CallTimeoutError, FullCopyTimeoutError
from pipecopy.events import CallEnded, Event
from tests.support.copies import copy
from tests.support.drivers import HANGS, CallName, RecordingPool, Strike

CALLS: list[tuple[Side, CallName]] = [
    ("source", "connect"),
    ("source", "get_max_id"),
    ("source", "load_rows"),
    ("target", "save_rows"),
]


@pytest.mark.parametrize("hang", HANGS)
@pytest.mark.parametrize(("side", "call"), CALLS)
def test_a_call_ends_at_its_limit(
    sqlite_pool: RecordingPool, side: Side, call: CallName, hang: str
) -> None:
    sqlite_pool.create(range(25))
    strike = Strike(side=side, call=call, fault=hang)
    events: list[Event] = []
    with pytest.raises(CallTimeoutError) as caught:
        copy(replace(sqlite_pool, strikes=(strike,)), call_timeout=0.5, observer=events.append)
    raised = time.monotonic()
    (attempt,) = sqlite_pool.recorder.attempts(side=side, call=call)
    # the driver notes its start some milliseconds after the call's: its module is imported first
    assert raised - attempt.start <= 0.5 + 0.15
    (seconds,) = [
        event.seconds
        for event in events
        if isinstance(event, CallEnded) and event.outcome == "timed out"
    ]
    assert 0.5 <= seconds <= 0.5 + 0.15
    assert caught.value.report is not None
    assert caught.value.report.kills == 1


@pytest.mark.parametrize("hang", HANGS)
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_close_that_hangs_does_not_fail_the_copy(
    sqlite_pool: RecordingPool, side: Side, hang: str
) -> None:
    sqlite_pool.create(range(25))
    strike = Strike(side=side, call="close", fault=hang)
    report = copy(replace(sqlite_pool, strikes=(strike,)), call_timeout=0.5)
    returned = time.monotonic()
    (attempt,) = sqlite_pool.recorder.attempts(side=side, call="close")
    assert returned - attempt.start <= 0.5 + 0.15
    assert sqlite_pool.rows("target") == sqlite_pool.rows("source")
    assert report.outcome == "complete"
    (warning,) = report.warnings
    assert side in warning
    assert "close" in warning


@pytest.mark.parametrize(("side", "call"), CALLS)
@pytest.mark.parametrize("hang", ["deadlock", "stopped"])
def test_the_whole_copy_ends_at_its_limit(
    sqlite_pool: RecordingPool, side: Side, call: CallName, hang: str
) -> None:
    sqlite_pool.create(range(25))
    strike = Strike(side=side, call=call, fault=hang)
    start = time.monotonic()
    with pytest.raises(FullCopyTimeoutError) as caught:
        copy(replace(sqlite_pool, strikes=(strike,)), full_copy_timeout=3, max_retries=3)
    assert 3 <= time.monotonic() - start <= 3.25
    assert (caught.value.side, caught.value.call) == (side, call)
    assert caught.value.report is not None
    assert caught.value.report.outcome == "timed out"


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_close_that_hangs_ends_at_the_whole_copys_limit(
    sqlite_pool: RecordingPool, side: Side
) -> None:
    sqlite_pool.create(range(25))
    strike = Strike(side=side, call="close", fault="deadlock")
    start = time.monotonic()
    report = copy(replace(sqlite_pool, strikes=(strike,)), full_copy_timeout=3)
    assert time.monotonic() - start <= 3.25
    assert report.outcome == "complete"
    assert sqlite_pool.rows("target") == sqlite_pool.rows("source")


def test_no_retry_begins_that_the_whole_copys_limit_would_cut_off(
    sqlite_pool: RecordingPool,
) -> None:
    sqlite_pool.create(range(25))
    strike = Strike(side="source", call="load_rows", fault="TimeoutError")
    start = time.monotonic()
    with pytest.raises(FullCopyTimeoutError):
        copy(
            replace(sqlite_pool, strikes=(strike,)),
            full_copy_timeout=5,
            retries_delay=6,
            max_retries=3,
        )
    assert time.monotonic() - start < 2, "it waited for a retry that could not be"
    assert len(sqlite_pool.recorder.attempts(call="load_rows")) == 1


def test_the_other_side_is_closed_and_its_call_killed(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create(range(50))
    strikes = (
        Strike(side="target", call="save_rows", fault="ValueError", skip=1),
        Strike(side="source", call="load_rows", fault="deadlock", skip=2),
    )
    # Where the second save fails, the third load hangs.
    start = time.monotonic()
    with pytest.raises(Exception, match="broken on purpose"):
        copy(replace(sqlite_pool, strikes=strikes), read_ahead=1, call_timeout=20)
    assert time.monotonic() - start < 2
    (closed,) = sqlite_pool.recorder.attempts(call="close")
    assert closed.side == "target"
