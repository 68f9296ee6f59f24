"""Both sides at once: which calls go on at the same time, and which side's error is told."""

from __future__ import annotations

import functools
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from pipecopy.errors import (
    CallTimeoutError,
    DatabaseError,
    FullCopyTimeoutError,
    PipecopyError,
    WorkerCrashedError,
)
from pipecopy.events import CallEnded, Event
from tests.supervisor.sides import CheckedPool, SidesPool
from tests.support.drivers import RecordingPool
from tests.support.runs import CONFIG, check, copy, verify

_resume = functools.partial(copy, resume=True)
BOTH = "source source and target target"
RUNS: dict[str, Callable[..., Any]] = {
    "connect": _resume,
    "describe": _resume,
    "meet": _resume,
    "get_max_id": _resume,
    "checksum": verify,
}
"""The calls that are made on both sides at once, and a run that makes them."""

# -- at the same time


@pytest.mark.parametrize("call", [*RUNS, "close"])
def test_calls_of_both_sides_overlap(call: str, sqlite_pool: RecordingPool) -> None:
    """Each waits within its limit for the other one to begin: in turn, none would return."""
    sqlite_pool.create([1])
    pool = SidesPool(sqlite_pool.folder, meets=True)
    report = RUNS.get(call, _resume)(pool)
    assert (report.outcome, report.timeouts, report.kills) == ("complete", 0, 0)
    both = {(pool.folder / f"{call} of {side}").exists() for side in ("source", "target")}
    assert both == {True}
    assert list(report.warnings) == [
        "source source: source described",
        "target target: target described",
        f"{BOTH}: target met",
        f"{BOTH}: source met",
    ]


def test_calls_of_a_check_overlap(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create([1])
    pool = CheckedPool(sqlite_pool.folder, meets=True)
    report = check(pool, resume=True, from_id=1)
    assert report.can_start, report.problems
    called = {path.name.partition(" of ")[0] for path in pool.folder.glob("* of source")}
    assert called == {"connect", "describe", "meet", "before the first load", "survey", "close"}


# -- the error that is told

_HUNG = {"call_timeout": 0.5, "max_retries": 1}
_ONCE = {"call_timeout": 0.5}

# what the source does, what the target does, the error and its side, the limits
CASES: dict[str, tuple[str, str, type[PipecopyError], str, dict[str, float]]] = {
    "target fails, then source": ("late, ValueError", "ValueError", DatabaseError, "source", {}),
    "target crashes, then source fails": (
        "late, ValueError",
        "_exit(1)",
        DatabaseError,
        "source",
        {},
    ),
    "target fails, source goes on": ("late", "ValueError", DatabaseError, "target", {}),
    "target fails, source hangs": ("deadlock", "ValueError", CallTimeoutError, "source", _HUNG),
    "target fails, source hangs until the whole limit": (
        "deadlock",
        "ValueError",
        FullCopyTimeoutError,
        "source",
        {"full_copy_timeout": 1.2},
    ),
    "source fails, target hangs": ("meets, ValueError", "deadlock", DatabaseError, "source", {}),
    "target hangs": ("returns", "deadlock", CallTimeoutError, "target", _ONCE),
    "both hang": ("deadlock", "deadlock", CallTimeoutError, "source", _ONCE),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("call", RUNS)
def test_the_error_is_the_sources_whichever_comes_first(
    call: str, case: str, sqlite_pool: RecordingPool
) -> None:
    """Nothing is left behind: a fixture sees to it."""
    source, target, error, side, limits = CASES[case]
    sqlite_pool.create([1])
    pool = SidesPool(sqlite_pool.folder, call=call, does={"source": source, "target": target})
    began = time.monotonic()
    with pytest.raises(error) as caught:
        RUNS[call](pool, observer=pool.see, **limits)
    assert time.monotonic() - began < CONFIG.call_timeout, "the other side was waited for"
    assert (caught.value.side, caught.value.call) == (side, call)
    assert caught.value.attempts == 1 + limits.get("max_retries", 0)
    report = caught.value.report
    assert report.retries == limits.get("max_retries", 0)
    # each attempt that hung; what the other side's error cuts short is no kill
    kills = caught.value.attempts if issubclass(error, TimeoutError) else 0
    assert report.kills in {kills, kills + (case == "both hang")}
    if call != "connect":
        well = {"source": source, "target": target}.items()
        closed = {each.side for each in sqlite_pool.recorder.attempts(call="close")}
        assert closed == {each for each, did in well if did not in {"deadlock", "_exit(1)"}}


def test_a_side_that_had_nothing_to_do_is_closed_when_the_other_was_found_dead(
    sqlite_pool: RecordingPool,
) -> None:
    """The source's worker dies between two calls; the next one is made on both sides."""
    sqlite_pool.create([1])
    does = {"source": "returns", "target": "late"}
    pool = SidesPool(sqlite_pool.folder, call="get_max_id", does=does)

    def kill_source(event: Event) -> None:
        if isinstance(event, CallEnded) and event.where.side == "source":
            for attempt in sqlite_pool.recorder.attempts(side="source", call="get_max_id"):
                _kill(attempt.pid)
                (pool.folder / "get_max_id has ended").touch()

    with pytest.raises(WorkerCrashedError) as caught:
        verify(pool, observer=kill_source)
    assert (caught.value.side, caught.value.call) == ("source", "checksum")
    assert caught.value.report.kills == 0
    assert {each.side for each in sqlite_pool.recorder.attempts(call="close")} == {"target"}


def _kill(pid: int) -> None:
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        assert select.select([pidfd], [], [], 5) != ([], [], [])
    finally:
        os.close(pidfd)


def test_what_did_not_close_is_told_of_the_source_first(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create([1])
    does = {"source": "late, ValueError", "target": "ValueError"}
    pool = SidesPool(sqlite_pool.folder, call="close", does=does)
    report = copy(pool, observer=pool.see)
    assert [each.partition(" ")[0] for each in report.warnings[-2:]] == ["source", "target"]
