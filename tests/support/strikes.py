"""What can happen in a worker, by name, and where and when it strikes."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

from pipecopy.contracts import Side

CallName = Literal["connect", "get_max_id", "get_max_id_in", "load_rows", "save_rows", "close"]


def _deadlock(_: object = None) -> None:
    # PyDLL keeps the interpreter's lock: no thread, signal handler or exception can help.
    library = ctypes.PyDLL(None)
    mutex = ctypes.create_string_buffer(64)  # all zeros is an initialized pthread_mutex_t
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)


def _deadlock_with_signals_masked(_: object = None) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    _deadlock()


def _stop(_: object = None) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _sleep_in_c(_: object = None) -> None:
    ctypes.CDLL(None).sleep(3600)


def _work(_: object = None) -> None:
    # frames come and go, and the memory that they are in as well
    def deeper(depth: int) -> int:
        return depth and 1 + deeper(depth - 1)

    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        deeper(600)


def _time_out(_: object = None) -> NoReturn:
    raise TimeoutError("the driver's own time-out")


def _fail(_: object = None) -> NoReturn:
    raise ValueError("broken on purpose")


def _crash(_: object = None) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # no core file is left behind
    ctypes.string_at(0)


def _be_killed(_: object = None) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def is_first(marker: Path) -> bool:
    """Tell whether this process comes here first: both sides' workers may come at once."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def stop_file(folder: Path) -> Path:
    """Return the file that asks a run to stop once it is there."""
    return folder / "stop"


def heeded_file(folder: Path) -> Path:
    """Return the file that a test makes once the run has taken note of that."""
    return folder / "heeded"


class UnpicklableError(Exception):
    """It holds what can't be pickled."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.generator = (n for n in range(3))


class OneWayError(Exception):
    """It is pickled, but can't be unpickled: that calls it with the message alone."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"{host}:{port} is odd")


def _raise(error: Callable[[], BaseException]) -> Callable[[object], NoReturn]:
    def fault(_: object) -> NoReturn:
        raise error()

    return fault


def _write_to_frozen_folder(_: object = None) -> None:
    # The kernel waits in uninterruptible sleep until the file system is thawed.
    Path(os.environ[FROZEN], "file").touch()


def _add_a_row(database: Any) -> None:
    max_id = database._get_max_id()
    database._db.execute("INSERT INTO profiles VALUES (?, 'new')", [max_id + 1])


def _ask_to_stop(database: Any) -> None:
    folder = database._pool.folder
    stop_file(folder).touch()
    while not heeded_file(folder).exists():
        time.sleep(0.01)


def _wait_until_asked_to_stop(database: Any) -> None:
    while not stop_file(database._pool.folder).exists():
        time.sleep(0.01)


def _deadlock_and_tell(database: Any) -> None:
    (database._pool.folder / "deadlocked").touch()
    _deadlock()


def _fail_once_the_other_side_hangs(database: Any) -> NoReturn:
    while not (database._pool.folder / "deadlocked").exists():
        time.sleep(0.01)
    _fail()


FAULTS: dict[str, Callable[[Any], object]] = {
    "deadlock": _deadlock,
    "deadlock, signals masked": _deadlock_with_signals_masked,
    "stopped": _stop,
    "sleep in C": _sleep_in_c,
    "works for 0.3 s": _work,
    "0.1 s late": lambda _: time.sleep(0.1),
    "TimeoutError": _time_out,
    "ValueError": _fail,
    "deadlock, told": _deadlock_and_tell,
    "ValueError, once the other side hangs": _fail_once_the_other_side_hangs,
    "_exit(0)": lambda _: os._exit(0),
    "_exit(1)": lambda _: os._exit(1),
    "segmentation fault": _crash,
    "SIGKILL": _be_killed,
    "unpicklable error": _raise(lambda: UnpicklableError("holds a generator")),
    "error that can't be unpickled": _raise(lambda: OneWayError("here", 5432)),
    "error of 50 MB": _raise(lambda: ValueError("long " * 10_000_000)),
    "SystemExit": _raise(lambda: SystemExit("bye")),
    "KeyboardInterrupt": _raise(KeyboardInterrupt),
    "uninterruptible sleep": _write_to_frozen_folder,
    "a row is added": _add_a_row,
    "asks to stop": _ask_to_stop,
    "waits until asked to stop": _wait_until_asked_to_stop,
    "no server limit": lambda database: [
        database.query(f"SET {setting} = 0")
        for setting in ("statement_timeout", "client_connection_check_interval")
    ],
}
"""What can happen in a worker, by name; each is given the database that was called."""

RESULTS: dict[str, Callable[[], object]] = {
    "returns None": lambda: None,
    "returns a text": lambda: "rows",
    "returns numbers": lambda: [1, 2, 3],
    "returns a generator": lambda: (row for row in [(1, None)]),
    "returns what can't be pickled": lambda: [(1, (n for n in range(3)))],
}
"""What a call can return instead of its result, by name."""

FROZEN = "TEST_FROZEN_FOLDER"
"""The variable that names a folder of a file system which is frozen."""


@dataclass(frozen=True, kw_only=True)
class Strike:
    """Where and when a fault strikes."""

    side: Side
    call: CallName
    fault: str
    """A name in `FAULTS` or `RESULTS`."""
    skip: int = 0
    """How many attempts of the call on that side pass before it strikes."""
    times: int | None = None
    """How many attempts it then strikes; None: all."""
    after: bool = False
    """It strikes when the work is done, but not yet answered."""

    def is_due(self, side: str, call: str, number: int) -> bool:
        """Tell whether it strikes the attempt of that number, counted from 1."""
        end = float("inf") if self.times is None else self.skip + self.times
        return (side, call) == (self.side, self.call) and self.skip < number <= end
