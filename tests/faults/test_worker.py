"""The matrix: what strikes in a worker, in each call, on either side.

No server is involved: the driver is SQLite's. test_orphans.py has what is left on a server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest

from pipecopy.contracts import Side
from pipecopy.errors import (
    CallTimeoutError,
    DatabaseError,
    PipecopyError,
    WorkerCrashedError,
)
from pipecopy.events import CallEnded, WorkerKilled
from tests.support.checks import Ended, Expected, check, run_copy
from tests.support.drivers import RecordingPool
from tests.support.strikes import CallName, Strike

FROZEN = "uninterruptible sleep"
KILLED = {
    "deadlock": "sleeping",
    "deadlock, signals masked": "sleeping",
    "stopped": "stopped",
    "sleep in C": "sleeping",
    FROZEN: "in uninterruptible sleep",
}
"""Whoever is stuck in these is killed at the call's limit, and found in that state."""
TIMEOUTS = (*KILLED, "TimeoutError")
CRASHES: dict[str, tuple[str, int | None, int | None]] = {
    "_exit(0)": ("exited with code 0", 0, None),
    "_exit(1)": ("exited with code 1", 1, None),
    "segmentation fault": ("was killed by SIGSEGV", None, 11),
    "SIGKILL": ("was killed by SIGKILL", None, 9),  # also from outside, as by the OOM killer
}
"""What is said, the exit code and the signal."""
ERRORS = {
    "ValueError": "ValueError: broken on purpose",
    "unpicklable error": "UnpicklableError: holds a generator",
    "error that can't be unpickled": "OneWayError: here:5432 is odd",
    "error of 50 MB": "(50000000 characters)",
    "SystemExit": "SystemExit: bye",
    "KeyboardInterrupt": "KeyboardInterrupt",
}
WRONG_RESULTS: dict[tuple[CallName, str], str] = {
    ("connect", "returns None"): "connect returned None, not a Database",
    ("get_max_id", "returns None"): "get_max_id",
    ("get_max_id", "returns a text"): "get_max_id",
    ("get_max_id", "returns what can't be pickled"): "get_max_id",
    ("load_rows", "returns None"): "not a sequence of rows",
    ("load_rows", "returns a text"): "not a sequence of rows",
    ("load_rows", "returns numbers"): "a row of type int",
    ("load_rows", "returns a generator"): "not a sequence of rows",
    ("load_rows", "returns what can't be pickled"): "can't be pickled",
}
IGNORED_RESULTS: tuple[CallName, ...] = ("save_rows", "close")

SPOTS: tuple[tuple[Side, CallName], ...] = (
    ("source", "connect"),
    ("target", "connect"),
    ("source", "get_max_id"),
    ("source", "load_rows"),
    ("target", "save_rows"),
    ("source", "close"),
    ("target", "close"),
)
CALLS = SPOTS[:-2]
"""Those that fail a copy."""
SECOND_BATCH = (10, 20)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One cell of the matrix."""

    side: Side
    call: CallName
    fault: str
    always: bool = False
    """It strikes every attempt, not only one."""
    expected: Expected

    def __str__(self) -> str:
        often = "always" if self.always else "once"
        return f"{self.side} {self.call}: {self.fault}, {often}"

    @property
    def strike(self) -> Strike:
        """The fault, for the driver: batches are struck from the second one on."""
        skip = 1 if self.call in {"load_rows", "save_rows"} else 0
        times = None if self.always else 1
        return Strike(side=self.side, call=self.call, fault=self.fault, skip=skip, times=times)


def _failed(
    error: type[PipecopyError], side: Side, call: CallName, *words: str, **expected: int
) -> Expected:
    if call == "close":  # what was saved is saved: it is a warning
        return Expected(warnings=1, retries=0)
    in_batch = call in {"load_rows", "save_rows"}
    first = SECOND_BATCH[0] if in_batch else 0
    return Expected(
        error=error,
        side=side,
        call=call,
        key_range=SECOND_BATCH if in_batch else None,
        words=words,
        exit_code=75 if error is CallTimeoutError else {"source": 3, "target": 4}[side],
        next_id=None if error is not CallTimeoutError and call == "load_rows" else first,
        **{"warnings": 0, "retries": 0, **expected},
    )


def _cases() -> Iterator[Case]:
    for (side, call), fault in product(SPOTS, TIMEOUTS):
        abandoned = fault == FROZEN
        if call == "close":
            once = Expected(warnings=1 + abandoned, retries=0)
        else:
            once = Expected(retries=1, warnings=int(abandoned))
            error = CallTimeoutError
            twice = _failed(error, side, call, "all 2 attempts", warnings=2 * abandoned, retries=1)
            yield Case(side=side, call=call, fault=fault, always=True, expected=twice)
        yield Case(side=side, call=call, fault=fault, expected=once)
    for (side, call), (fault, (words, *_)) in product(SPOTS, CRASHES.items()):
        crashed = _failed(WorkerCrashedError, side, call, words, "attempt 1")
        yield Case(side=side, call=call, fault=fault, expected=crashed)
    for (side, call), (fault, words) in product(SPOTS, ERRORS.items()):
        raised = _failed(DatabaseError, side, call, words)
        yield Case(side=side, call=call, fault=fault, expected=raised)
    for (call, fault), words in WRONG_RESULTS.items():
        wrong = _failed(DatabaseError, "source", call, words)
        yield Case(side="source", call=call, fault=fault, expected=wrong)
    for call in IGNORED_RESULTS:
        fault = "returns what can't be pickled"
        yield Case(side="target", call=call, fault=fault, expected=Expected(retries=0))


CASES = tuple(_cases())


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_fault(case: Case, sqlite_pool: RecordingPool, request: pytest.FixtureRequest) -> None:
    frozen = request.getfixturevalue("frozen") if case.fault == FROZEN else None
    sqlite_pool.create(range(1, 51))
    ended = run_copy(sqlite_pool.faulty(case.strike))
    if frozen is not None:
        frozen.thaw()
    check(ended, sqlite_pool, case.expected)
    if case.fault in KILLED:
        _check_killed(ended, case)
    elif case.fault in CRASHES and case.call != "close":
        error: Any = ended.exception
        assert (error.exitcode, error.signal) == CRASHES[case.fault][1:]
    elif case.fault == "ValueError" and case.call != "close":
        error = ended.exception
        assert (error.attempts, error.driver_error) == (1, "ValueError")
        assert "_fail" in error.driver_traceback


def _check_killed(ended: Ended, case: Case) -> None:
    """See that each kill is told with the state of the worker, and where it was stuck."""
    ends = [e for e in ended.events(CallEnded) if e.outcome == "timed out"]
    kills = ended.events(WorkerKilled)
    assert len(kills) == len(ends) == (2 if case.always else 1)
    assert ended.report is not None
    assert (ended.report.kills, ended.report.timeouts) == (len(kills), len(ends))
    for kill, end in zip(kills, ends, strict=True):
        assert (kill.where.side, kill.where.call) == (case.side, case.call)
        assert kill.abandoned == (case.fault == FROZEN)
        assert kill.hang.state == KILLED[case.fault]
        if case.call != "close":
            assert end.seconds >= ended.limits.call_timeout
        if case.fault == "deadlock":
            _check_deadlock_told(kill, case, end.detail, *([ended.message] if case.always else []))


def _check_deadlock_told(kill: WorkerKilled, case: Case, *texts: str) -> None:
    hang = kill.hang
    assert hang is not None
    assert "futex" in hang.wait_channel
    assert re.match(r"_deadlock \(strikes.py:", hang.frames[0])
    method = "connect" if case.call == "connect" else "record"
    assert any(frame.startswith(f"{method} (drivers.py:") for frame in hang.frames)
    for text in texts:
        assert re.search(r"killed after 500 ms while sleeping in _deadlock \(strikes.py:", text)
        assert f"kernel: {hang.wait_channel}" in text
