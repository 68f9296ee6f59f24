"""A pool around `PostgresPool` whose worker is struck by what lies in a file for it.

The soak puts a file for a side into a folder; the next call on that side takes it away, and does
what it says. A file outlives the workers, so each fault strikes once.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pipecopy import Row
from pipecopy.contracts import Session, Side, TableDescription
from pipecopy.postgres import PostgresPool
from pipecopy.postgres.database import PostgresDatabase
from tests.support.drivers import FAULTS

FAULT_NAMES = {
    "deadlock in C under the GIL": "deadlock",
    "deadlock, all signals masked": "deadlock, signals masked",
    "sleep in C": "sleep in C",
    "driver's own time-out": "TimeoutError",
    "driver's error": "ValueError",
    "exit": "_exit(1)",
    "segmentation fault": "segmentation fault",
}
"""What the soak's kinds are called among the tests' faults."""

_Result = TypeVar("_Result")


@contextlib.contextmanager
def laid_out(folder: Path, side: Side, kind: str, *, after: bool) -> Iterator[Callable[[], bool]]:
    """Lay a fault out for a side; gives a function that tells whether a call took it."""
    file = folder / side
    text = json.dumps({"fault": FAULT_NAMES[kind], "after": after})
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)
    try:
        yield lambda: not file.exists()
    finally:
        file.unlink(missing_ok=True)


@dataclass(frozen=True)
class StruckPool:
    """Opens the databases of a `PostgresPool`, and looks for a fault in each call."""

    pool: PostgresPool
    folder: Path
    side: Side = "source"

    def for_session(self, session: Session) -> StruckPool:
        return replace(self, pool=self.pool.for_session(session), side=session.side)

    def connect(self, dbname: str) -> StruckDatabase:
        return self.call(lambda: StruckDatabase(self, self.pool.connect(dbname)))

    def call(self, work: Callable[[], _Result]) -> _Result:
        """Do a call's work, with the fault that lies there."""
        taken = self.folder / f"{self.side}.{time.monotonic_ns()}"
        try:
            (self.folder / self.side).rename(taken)
        except FileNotFoundError:
            return work()
        found = json.loads(taken.read_text())
        taken.unlink()
        strike: Callable[[Any], object] = FAULTS[found["fault"]]
        if not found["after"]:
            strike(None)
        result = work()
        if found["after"]:
            strike(None)
        return result


class StruckDatabase:
    """A `PostgresDatabase` whose calls can be struck."""

    def __init__(self, pool: StruckPool, database: PostgresDatabase) -> None:
        self._pool = pool
        self._database = database

    @property
    def position(self) -> Any:
        return self._database.position

    def close(self) -> None:
        self._pool.call(self._database.close)

    def get_max_id(self) -> int:
        return self._pool.call(self._database.get_max_id)

    def load_rows(self, min_id: int, max_id: int) -> Sequence[Row]:
        return self._pool.call(lambda: self._database.load_rows(min_id, max_id))

    def save_rows(self, rows: Sequence[Row]) -> None:
        self._pool.call(lambda: self._database.save_rows(rows))

    def describe(self) -> TableDescription:
        return self._pool.call(self._database.describe)

    def end_of_batch(self, min_id: int, max_id: int, rows: int) -> int:
        return self._pool.call(lambda: self._database.end_of_batch(min_id, max_id, rows))

    def finish(self, max_id: int) -> str | None:
        return self._pool.call(lambda: self._database.finish(max_id))
