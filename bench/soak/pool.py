"""A pool around `PostgresPool` whose next call is struck by the fault in a file for its side.

The soak puts the file into a folder; the next call on that side takes it away, and does what it
says. A file outlives the workers, so each fault strikes once.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pipecopy.contracts import Session, Side
from pipecopy.postgres import PostgresPool
from pipecopy.postgres.database import PostgresDatabase
from tests.support.strikes import FAULTS


@contextlib.contextmanager
def fault_for_a_call(
    folder: Path, side: Side, fault: str, *, after: bool
) -> Iterator[Callable[[], bool]]:
    """Put a fault of `FAULTS` there for a side; the function tells whether a call took it."""
    file = folder / side
    new = file.with_suffix(".new")
    new.write_text(json.dumps({"fault": fault, "after": after}))
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

    def connect(self, dbname: str) -> _StruckDatabase:
        return _StruckDatabase(self, self.call(self.pool.connect, dbname))

    def call(self, work: Callable[..., Any], *args: Any) -> Any:
        """Do the work of a call, with the fault that was put there for it."""
        taken = self.folder / f"{self.side}.{time.monotonic_ns()}"
        try:
            (self.folder / self.side).rename(taken)
        except FileNotFoundError:
            return work(*args)
        found = json.loads(taken.read_text())
        taken.unlink()
        strike: Callable[[Any], object] = FAULTS[found["fault"]]
        if not found["after"]:
            strike(None)
        result = work(*args)
        if found["after"]:
            strike(None)
        return result


class _StruckDatabase:
    """Each call of a `PostgresDatabase`, by way of the pool."""

    def __init__(self, pool: StruckPool, database: PostgresDatabase) -> None:
        self._pool = pool
        self._database = database

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._database, name)
        return partial(self._pool.call, found) if callable(found) else found
