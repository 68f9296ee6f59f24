"""A driver that deadlocks once: `HangingPool` wraps a `PostgresPool`."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipecopy.contracts import Row, Session
from pipecopy.postgres import PostgresPool

_PATIENT = 600.0
"""Seconds; the servers are told of this limit, so that they end no statement by themselves."""


@dataclass(frozen=True, kw_only=True)
class HangingPool:
    """Opens databases whose driver deadlocks when it loads the row with the id `hang_at`."""

    pool: PostgresPool
    hang_at: int
    memory: Path
    """A file that is there once it has happened: the process that hung won't know."""

    def for_session(self, session: Session) -> HangingPool:
        """Return the pool for this copy."""
        return replace(self, pool=self.pool.for_session(replace(session, call_timeout=_PATIENT)))

    def connect(self, dbname: str) -> HangingDatabase:
        """Open the database."""
        return HangingDatabase(self.pool.connect(dbname), self.hang_at, self.memory)


class HangingDatabase:
    """Hands every call on to the real database, but for the one that deadlocks."""

    def __init__(self, database: Any, hang_at: int, memory: Path) -> None:
        self._database = database
        self._hang_at = hang_at
        self._memory = memory

    def close(self) -> None:
        """Hand it on."""
        self._database.close()

    def get_max_id(self) -> int:
        """Hand it on."""
        return int(self._database.get_max_id())

    def load_rows(self, min_id: int, max_id: int) -> Sequence[Row]:
        """Hand it on; deadlock once, for good."""
        if min_id <= self._hang_at < max_id and not self._memory.exists():
            self._memory.touch()
            deadlock_in_c()
        rows: Sequence[Row] = self._database.load_rows(min_id, max_id)
        return rows

    def save_rows(self, rows: Sequence[Row]) -> None:
        """Hand it on."""
        self._database.save_rows(rows)

    def describe(self) -> Any:
        """Hand it on."""
        return self._database.describe()

    def finish(self, max_id: int) -> Any:
        """Hand it on."""
        return self._database.finish(max_id)


def deadlock_in_c() -> None:
    """Wait in C for a mutex that this very thread holds, without letting go of the GIL."""
    library = ctypes.PyDLL(None)  # unlike CDLL, it keeps the GIL in its calls
    mutex = ctypes.create_string_buffer(64)  # all zero: PTHREAD_MUTEX_INITIALIZER
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)
