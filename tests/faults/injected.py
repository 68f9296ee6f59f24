"""PostgreSQL with faults: a pool that wraps PostgresPool, and strikes by name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipecopy import Row
from pipecopy.contracts import Session, Side, TableDescription
from pipecopy.postgres import PostgresPool
from pipecopy.postgres.database import PostgresDatabase
from tests.support.drivers import Recorder
from tests.support.strikes import Strike


@dataclass(frozen=True)
class FaultyPool:
    """Records every call in a file, so that it knows the number of an attempt after any kill."""

    pool: PostgresPool
    folder: Path
    strikes: tuple[Strike, ...] = ()
    side: Side = "source"

    @property
    def recorder(self) -> Recorder:
        return Recorder(self.folder / "calls.jsonl")

    def for_session(self, session: Session) -> FaultyPool:
        return replace(self, pool=self.pool.for_session(session), side=session.side)

    def connect(self, dbname: str) -> FaultyDatabase:
        return self.recorder.attempt(
            self.strikes,
            self.side,
            "connect",
            [],
            work=lambda: FaultyDatabase(self, self.pool.connect(dbname)),
        )


class FaultyDatabase:
    """A `PostgresDatabase` and the faults of its pool."""

    def __init__(self, pool: FaultyPool, database: PostgresDatabase) -> None:
        self._pool = pool
        self._database = database

    def _attempt(self, call: str, *args: Any, work: Callable[[], Any] | None = None) -> Any:
        pool = self._pool
        shown = [len(arg) if isinstance(arg, Sequence) else arg for arg in args]
        return pool.recorder.attempt(
            pool.strikes,
            pool.side,
            call,
            shown,
            work=work or (lambda: getattr(self._database, call)(*args)),
            database=self,
        )

    @property
    def position(self) -> Any:
        return self._database.position

    def close(self) -> None:
        self._attempt("close")

    def get_max_id(self) -> int:
        return int(self._attempt("get_max_id"))

    def get_max_id_in(self, min_id: int, max_id: int) -> int:
        return int(self._attempt("get_max_id_in", min_id, max_id))

    def load_rows(self, min_id: int, max_id: int) -> Sequence[Row]:
        rows: Sequence[Row] = self._attempt("load_rows", min_id, max_id)
        return rows

    def load_batch(self, min_id: int, max_id: int, rows: int) -> Sequence[Row]:
        work = functools.partial(self._database.load_batch, min_id, max_id, rows)
        batch: Sequence[Row] = self._attempt("load_rows", min_id, max_id, work=work)
        return batch

    def save_rows(self, rows: Sequence[Row]) -> None:
        self._attempt("save_rows", rows)

    def query(self, sql: str) -> None:
        """Run a statement in the session of the calls."""
        self._database._connection.call(lambda session: session.query(sql))

    def describe(self) -> TableDescription:
        return self._database.describe()

    def finish(self, max_id: int) -> str | None:
        return self._database.finish(max_id)
