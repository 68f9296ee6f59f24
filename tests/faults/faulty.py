"""PostgreSQL with faults: pools that wrap PostgresPool, and strike one of its calls.

A `FaultyPool` strikes by name, as tests/support/strikes.py has them. An `AlteringPool` has another
session run a statement: the moment is exact, on either side and in any call, as the worker itself
runs it, just before the call or in the middle of it.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import psycopg

from pipecopy import Row
from pipecopy.contracts import Session, Side, TableDescription
from pipecopy.postgres import PostgresPool
from pipecopy.postgres.database import PostgresDatabase
from tests.support.drivers import Recorder
from tests.support.strikes import FAULTS, Strike, is_first


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


Moment = Literal["before", "waits", "replaced", "hung"]
"""When the statement is committed:

- before the call;
- while the call waits for the locks that its transaction has;
- before the call, which finds its session ended;
- after the call, which then hangs: a new worker does it again.
"""

_WAITERS = """
    SELECT EXISTS (SELECT FROM pg_stat_activity
        WHERE starts_with(application_name, 'pipecopy/') AND %s = ANY (pg_blocking_pids(pid)))
"""
_SESSIONS = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE starts_with(application_name, 'pipecopy/') AND datname = current_database()
"""


@dataclass(frozen=True, kw_only=True)
class Alteration:
    """What is altered, and when."""

    side: Side
    sql: str
    call: str
    number: int = 1
    """It strikes that call of this name, once in a run."""
    moment: Moment = "waits"


@dataclass(frozen=True)
class AlteringPool:
    """Opens the databases of a `PostgresPool`, and strikes one call on one side."""

    pool: PostgresPool
    alteration: Alteration
    admin: str
    """Where the statement is run."""
    folder: Path
    is_side: bool = False

    @property
    def struck(self) -> Path:
        """Made when it strikes."""
        return self.folder / "struck"

    @property
    def waited_for(self) -> Path:
        """Made when a call waited for it."""
        return self.folder / "waited for"

    def for_session(self, session: Session) -> AlteringPool:
        is_side = session.side == self.alteration.side
        return replace(self, pool=self.pool.for_session(session), is_side=is_side)

    def connect(self, dbname: str) -> Any:
        database = self.pool.connect(dbname)
        return _Altered(database, self) if self.is_side else database


class _Altered:
    """One side, which is as PostgreSQL's but for that."""

    def __init__(self, database: PostgresDatabase, pool: AlteringPool) -> None:
        self._database = database
        self._pool = pool
        self._calls = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._database, name)
        if {"load_batch": "load_rows"}.get(name, name) != self._pool.alteration.call:
            return found
        return lambda *args: self._call(found, *args)

    def _call(self, call: Callable[..., Any], *args: Any) -> Any:
        self._calls += 1
        pool = self._pool
        if self._calls < pool.alteration.number or not is_first(pool.struck):
            return call(*args)
        with psycopg.connect(pool.admin, autocommit=True, application_name="tests") as other:
            return self._struck(other, call, *args)

    def _struck(self, other: psycopg.Connection, call: Callable[..., Any], *args: Any) -> Any:
        moment, sql = self._pool.alteration.moment, self._pool.alteration.sql
        if moment == "waits":
            with self._held(other, sql):
                return call(*args)
        if moment == "replaced":
            other.execute(_SESSIONS)
        if moment == "hung":
            call(*args)
        run(other, sql)
        if moment == "hung":
            FAULTS["deadlock"](None)
        return call(*args)

    @contextlib.contextmanager
    def _held(self, other: psycopg.Connection, sql: str) -> Iterator[None]:
        """Commit what is done before the block once the block waits for it, or else ends."""
        other.execute(f"BEGIN; {sql}".encode())
        over = threading.Event()
        committing = threading.Thread(target=self._commit_when_waited_for, args=(other, over))
        committing.start()
        try:
            yield
        finally:
            over.set()
            committing.join()

    def _commit_when_waited_for(self, other: psycopg.Connection, over: threading.Event) -> None:
        pid = other.info.backend_pid
        with psycopg.connect(self._pool.admin, autocommit=True, application_name="tests") as eye:
            while not over.wait(0.005):
                row = eye.execute(_WAITERS, [pid]).fetchone()
                if row and row[0]:
                    self._pool.waited_for.touch()
                    break
        other.execute("COMMIT")


def run(connection: psycopg.Connection, sql: str) -> None:
    """Run it as one transaction, or one statement that must be none; it may be one that fails."""
    with contextlib.suppress(psycopg.errors.UniqueViolation):
        connection.execute(sql.encode())
