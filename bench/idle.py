"""A driver that does nothing, so that what is timed is pipecopy's own.

Its workers import this module, so it imports nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipecopy import Row


@dataclass(frozen=True)
class IdlePool:
    """Opens databases whose calls return at once; there are ids, and no rows."""

    max_id: int
    hung: Path | None = None
    """The second load deadlocks in C once; this file exists from then on."""

    def connect(self, dbname: str) -> IdleDatabase:
        del dbname
        return IdleDatabase(self)


class IdleDatabase:
    def __init__(self, pool: IdlePool) -> None:
        self._pool = pool

    def close(self) -> None:
        pass

    def get_max_id(self) -> int:
        return self._pool.max_id

    def load_rows(self, min_id: int, max_id: int) -> Sequence[Row]:
        del max_id
        hung = self._pool.hung
        if hung is not None and min_id > 0 and not hung.exists():
            hung.touch()
            # here: it imports psycopg, and a driver that does nothing needs none
            from pipecopy.demo.faults import deadlock_in_c  # noqa: PLC0415

            deadlock_in_c()
        return ()

    def save_rows(self, rows: Sequence[Row]) -> None:
        pass
