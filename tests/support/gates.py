"""Gates: locks of the test's, at which a call of a copy waits until the test lets it go.

So a fault strikes in a call, or between two calls of the other side, without a guess at the time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import psycopg

from tests.support.databases import TemporaryDatabase

_KEY = 4242
"""Of the advisory lock at which a load waits."""


class Gate:
    """A session that holds a lock."""

    def __init__(self, database: TemporaryDatabase, lock: str) -> None:
        self._database = database
        self._connection: psycopg.Connection[Any] = database.connect()
        self.pid = self._connection.info.backend_pid
        """The process id of the session's backend."""
        self._connection.execute(lock)

    def arrival(self, timeout: float = 60) -> int:
        """Wait until a session of a copy waits at the gate; return its backend's process id."""
        deadline = time.monotonic() + timeout
        while True:
            for session in self._database.server.sessions("pipecopy/", dbname=self._database.name):
                if session["wait_event_type"] == "Lock":
                    return int(session["pid"])
            assert time.monotonic() < deadline, "no call of the copy came to the gate"
            time.sleep(0.005)  # pg_stat_activity sends no events

    def execute(self, sql: str) -> None:
        """Run statements in the session that holds the lock."""
        self._connection.execute(sql)

    def lift(self) -> None:
        """Let the calls go on, now and later."""
        with contextlib.suppress(psycopg.OperationalError):  # its server may be gone
            self._connection.execute("ROLLBACK; SELECT pg_advisory_unlock_all()")
        self._connection.close()


@contextlib.contextmanager
def table_gate(database: TemporaryDatabase) -> Iterator[Gate]:
    """Hold every call that reads or writes the table, with a lock on it."""
    yield from _gate(database, "BEGIN; LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE")


@contextlib.contextmanager
def save_gate(target: TemporaryDatabase, row: int) -> Iterator[Gate]:
    """Hold the save of one row, with a lock on its key."""
    yield from _gate(target, f"BEGIN; INSERT INTO profiles VALUES ({row}, NULL)")


@contextlib.contextmanager
def load_gate(source: TemporaryDatabase, row: int) -> Iterator[Gate]:
    """Hold the load of one row; `profiles` is a view until the end."""
    source.execute(
        "ALTER TABLE profiles RENAME TO rows;"
        " CREATE FUNCTION held(jsonb) RETURNS jsonb STABLE LANGUAGE plpgsql AS"
        f" 'BEGIN PERFORM pg_advisory_xact_lock_shared({_KEY}); RETURN $1; END';"
        " CREATE VIEW profiles AS"
        f" SELECT id, CASE WHEN id = {row} THEN held(data) ELSE data END AS data FROM rows"
    )
    # a transaction of the source that stays open would be warned of
    yield from _gate(source, f"SELECT pg_advisory_lock({_KEY})")
    source.execute("DROP VIEW profiles; DROP FUNCTION held; ALTER TABLE rows RENAME TO profiles")


@contextlib.contextmanager
def finish_gate(target: TemporaryDatabase) -> Iterator[Gate]:
    """Hold what comes after the last batch, with a lock on the sequence."""
    yield from _gate(target, "BEGIN; ALTER SEQUENCE profiles_id_seq CACHE 2")


def _gate(database: TemporaryDatabase, lock: str) -> Iterator[Gate]:
    gate = Gate(database, lock)
    try:
        yield gate
    finally:
        gate.lift()
