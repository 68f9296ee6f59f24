"""The matrix of faults in a worker: which call, which fault, which outcome."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from pipecopy.contracts import Side
from pipecopy.errors import CallTimeoutError, DatabaseError, WorkerCrashedError
from tests.faults.checks import ROWS, Expected
from tests.support.drivers import CallName, Strike

FROZEN = "uninterruptible sleep"
KILLED = ("deadlock", "deadlock, signals masked", "stopped", FROZEN)
"""Whoever is stuck in these is killed at the call's limit."""
TIMEOUTS = (*KILLED, "TimeoutError")
CRASHES = {
    "_exit(0)": "exited with code 0",
    "_exit(1)": "exited with code 1",
    "segmentation fault": "was killed by SIGSEGV",
    "SIGKILL": "was killed by SIGKILL",
}
ERRORS = {
    "unpicklable error": "UnpicklableError: holds a generator",
    "error that can't be unpickled": "OneWayError: here:5432 is odd",
    "error of 50 MB": "(50000000 characters)",
    "SystemExit": "SystemExit: bye",
    "KeyboardInterrupt": "KeyboardInterrupt",
}
WRONG_RESULTS: dict[tuple[CallName, str], str] = {
    ("get_max_id", "returns None"): "get_max_id",
    ("get_max_id", "returns a text"): "get_max_id",
    ("get_max_id", "returns what can't be pickled"): "get_max_id",
    ("load_rows", "returns None"): "not a sequence of rows",
    ("load_rows", "returns a text"): "not a sequence of rows",
    ("load_rows", "returns numbers"): "a row that is a int",
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
SECOND_BATCH: dict[CallName, tuple[int, int]] = {
    "load_rows": (11, ROWS + 1),  # the first ten rows of these
    "save_rows": (11, 21),
}


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
    error: type[BaseException], side: Side, call: CallName, *words: str, **expected: int
) -> Expected:
    if call == "close":  # what was saved is saved: it is a warning
        return Expected(warnings=1, retries=0)
    return Expected(
        error=error,
        side=side,
        call=call,
        key_range=SECOND_BATCH.get(call),
        words=words,
        exit_code=75 if error is CallTimeoutError else {"source": 3, "target": 4}[side],
        **{"warnings": 0, **expected},
    )


def _cases() -> Iterator[Case]:
    for (side, call), fault in product(SPOTS, TIMEOUTS):
        abandoned = fault == FROZEN
        if call == "close":
            once = Expected(warnings=1 + abandoned, retries=0)
        else:
            once = Expected(retries=1, warnings=int(abandoned))
            last = 11 if call in {"load_rows", "save_rows"} else 0
            always = _failed(
                CallTimeoutError,
                side,
                call,
                "all 2 attempts",
                next_id=last,
                warnings=2 * abandoned,
            )
            yield Case(side=side, call=call, fault=fault, always=True, expected=always)
        yield Case(side=side, call=call, fault=fault, expected=once)
    for (side, call), (fault, words) in product(SPOTS, CRASHES.items()):
        crashed = _failed(WorkerCrashedError, side, call, words)
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
