"""A driver that meets a fault once: `FaultyPool` wraps a `PostgresPool`."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipecopy.contracts import Row, SavedRows, Session
from pipecopy.postgres import PostgresPool

_PATIENT = 600.0
"""Seconds, as the limit that the servers are given, so that they end no statement themselves."""


@dataclass(frozen=True, kw_only=True)
class FaultyPool:
    """Opens databases that call `strike` before they load the row with the id `at`, once."""

    pool: PostgresPool
    at: int
    strike: Callable[[], object]
    memory: Path
    """A file that exists once it has happened: a process that is killed can't remember it."""

    def for_session(self, session: Session) -> FaultyPool:
        """Return the pool for this copy."""
        return replace(self, pool=self.pool.for_session(replace(session, call_timeout=_PATIENT)))

    def connect(self, dbname: str) -> FaultyDatabase:
        """Open the database."""
        return FaultyDatabase(self.pool.connect(dbname), self)


class FaultyDatabase:
    """Passes every call on to the real database."""

    def __init__(self, database: Any, pool: FaultyPool) -> None:
        self._database = database
        self._pool = pool

    def close(self) -> None:
        self._database.close()

    def get_max_id(self) -> int:
        return int(self._database.get_max_id())

    def load_rows(self, min_id: int, max_id: int) -> Sequence[Row]:
        if min_id <= self._pool.at < max_id and not self._pool.memory.exists():
            self._pool.memory.touch()
            self._pool.strike()
        rows: Sequence[Row] = self._database.load_rows(min_id, max_id)
        return rows

    def save_rows(self, rows: Sequence[Row]) -> SavedRows | None:
        saved: SavedRows | None = self._database.save_rows(rows)
        return saved

    def describe(self) -> Any:
        return self._database.describe()

    def finish(self, max_id: int) -> Any:
        return self._database.finish(max_id)


def deadlock_in_c() -> None:
    """Wait in C for a mutex that this very thread holds, without releasing the GIL."""
    library = ctypes.PyDLL(None)  # unlike CDLL, it keeps the GIL in its calls
    mutex = ctypes.create_string_buffer(64)  # all zero: PTHREAD_MUTEX_INITIALIZER
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)


def stop_this_process() -> None:
    """Stop, as SIGSTOP and a frozen cgroup do, until another process says to go on."""
    os.kill(os.getpid(), signal.SIGSTOP)
