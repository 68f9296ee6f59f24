"""ServerSession: one session on a server, and what of its errors is a time-out."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import errors
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from pipecopy.postgres import wire
from pipecopy.postgres.names import CATALOG_PATH
from pipecopy.postgres.questions import Rows, rows_of_each
from pipecopy.postgres.session_start import SessionFacts
from pipecopy.postgres.waits import lock_holders, lock_holders_text

_TIMEOUTS = (
    errors.LockNotAvailable,  # 55P03: lock_timeout
    errors.TransactionTimeout,  # 25P04
    errors.IdleInTransactionSessionTimeout,  # 25P03
    errors.ConnectionTimeout,
)
_CLOCKS_DIFFER = 0.01
"""Seconds by which the server's clock and ours may measure the same time differently."""


class ServerSession:
    """One server session, in autocommit: each query is a transaction of its own."""

    def __init__(self, connection: psycopg.Connection[Any], facts: SessionFacts) -> None:
        self.connection = connection
        self.facts = facts
        self._commits = f"SET LOCAL synchronous_commit TO {facts.commit}; "
        """Begins each query string: what it writes is durable."""
        self._answers = facts.answers
        self.server = facts.server
        """Which server it is, and how far that has come, as last heard."""
        self._expected = sys.maxsize
        """Bytes of the next COPY out."""
        self.last_row = b""
        """The last one that came of a COPY out that failed."""
        self.relations: tuple[int, ...] = ()
        """The oids of the table and what belongs to it, as last seen."""
        self.answered = False
        """Whether the server has answered anything to the call under way."""
        self.watch = Stopwatch()
        """Of the statement under way."""

    def take_answers(self) -> list[Rows] | None:
        """Return, once, what was answered to the questions that went along with its start."""
        answers, self._answers = self._answers, None
        return answers

    @property
    def info(self) -> psycopg.ConnectionInfo:
        """What the client knows of the connection."""
        return self.connection.info

    @property
    def encoding(self) -> str:
        """Of the texts in the database, by the server's name for it."""
        return self.info.parameter_status("server_encoding") or ""

    def query(self, sql: str) -> Rows:
        """Run statements in one round trip and transaction; return the rows of the last SELECT."""
        return (self.query_all(sql) or [[]])[-1]

    def ask_catalogs(self, sql: str) -> Rows:
        """Run a query of the catalogs, whose names are the server's own under any search path."""
        return self.query(CATALOG_PATH + sql)

    def query_all(self, sql: str) -> list[Rows]:
        """Run statements in one round trip and transaction; return the rows of each SELECT."""
        self.watch.restart()
        with self.connection.cursor() as cursor:
            cursor.execute(f"{self._commits}{sql}".encode())
            self.answered = True
            return rows_of_each(cursor)

    def run_alone(self, sql: str) -> list[str]:
        """Run a statement that makes transactions of its own; return what the server warned of."""
        warned: list[str] = []

        def heed(notice: psycopg.errors.Diagnostic) -> None:
            if notice.severity_nonlocalized == "WARNING":
                warned.append(notice.message_primary or "")

        self.watch.restart()
        self.connection.add_notice_handler(heed)
        try:
            self.connection.execute(sql.encode())
        finally:
            self.connection.remove_notice_handler(heed)
        self.answered = True
        return warned

    def reached(self, lsn: str | None, greatest_key: int | None) -> None:
        """Take note of how far the server has come."""
        self.server = self.server.at(lsn, greatest_key)

    def saved_below(self, next_id: int) -> None:
        """Take note of how far a shard is: what was saved is lost if the ledger says less."""
        self.server = replace(self.server, next_id=next_id)

    def parse(self, sql: str) -> int:
        """Have the server parse a single statement; return how many parameters it has."""
        self.watch.restart()
        parameters = wire.parse(self.connection.pgconn, sql)
        self.answered = True
        return parameters

    def copy_out(self, sql: str, most: int | None = None) -> wire.CopyRead:
        """Run a COPY TO STDOUT, and a statement after it, in one round trip.

        Of more than `most` bytes the first are returned, and the rest is cancelled.
        """
        self.watch.restart()
        self.last_row = b""
        pgconn = self.connection.pgconn
        wire.start(pgconn, sql, ExecStatus.COPY_OUT)
        self.answered = True
        read = wire.read_copy(pgconn, most, expected=self._expected)
        if read.failed is not None:
            self.last_row = bytes(read.last)
            raise read.failed
        self._expected = len(read.raw)  # batches are mostly alike
        if read.beyond is not None:
            self.connection.cancel_safe()
            wire.drain_copy(pgconn)
        return read

    def copy_in(self, sql: str, chunks: Iterable[bytes | memoryview]) -> list[PGresult]:
        """Run a COPY FROM STDIN, and the statements after it in the same transaction.

        Returns the results of the COPY and of what follows it.
        """
        self.watch.restart()
        wire.start(self.connection.pgconn, f"{self._commits}{sql}", ExecStatus.COPY_IN)
        self.answered = True
        try:
            return wire.write_copy(self.connection.pgconn, chunks)
        except Exception:
            # a row that can't be written: the session must stay usable
            if self.connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
                with contextlib.suppress(psycopg.Error):
                    wire.abandon_copy(self.connection.pgconn, "the rows could not be written")
            raise

    def death(self) -> str | None:
        """Return why the connection ended since the last call, None if it did not.

        No round trip if it did not.
        """
        pgconn = self.connection.pgconn
        if pgconn.status != ConnStatus.OK or pgconn.transaction_status != TransactionStatus.IDLE:
            return "the connection broke"
        if wire.has_input(pgconn):
            # a server that says something to an idle session mostly says good-bye
            try:
                self.connection.execute(b"")
            except psycopg.Error as error:
                return said(error)
        return None

    def is_lost(self) -> bool:
        """Return whether the connection broke."""
        return self.connection.pgconn.status != ConnStatus.OK

    def lock_holders(self, *, writes: bool) -> tuple[str, str | None]:
        """Return who has locked the table, to follow the time-out of a call, and what to do.

        Empty and None if that is not known.
        """
        if not self.relations or self.is_lost():
            return "", None
        try:
            return lock_holders_text(self.query(lock_holders(self.relations, writes=writes)))
        except psycopg.Error:
            return "", None

    def goes_on_after(self, error: psycopg.Error) -> bool:
        """Return whether something else may be asked: no time-out, nor the connection's end."""
        return not isinstance(error, psycopg.OperationalError) and not self.is_lost()

    def close(self) -> None:
        self.connection.close()


def said(error: psycopg.Error) -> str:
    """Return the message of an error in one line, and its SQLSTATE."""
    message = error.diag.message_primary or str(error).strip().partition("\n")[0]
    return f"{error.sqlstate}: {message}" if error.sqlstate else message


class Stopwatch:
    """Measures how long a statement takes.

    By the wall clock as well: the server goes by its own, and if that is stepped forward it
    ends a statement early, for having taken too long.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self._began = (time.monotonic(), time.time())

    def seconds(self) -> float:
        began, began_by_wall = self._began
        return max(time.monotonic() - began, time.time() - began_by_wall)


@contextlib.contextmanager
def raised_timeouts(watch: Stopwatch, statement_timeout: float) -> Iterator[None]:
    """Raise a time-out as TimeoutError, and everything else as it is."""
    try:
        yield
    except psycopg.Error as error:
        if _is_timeout(error, elapsed=watch.seconds(), statement_timeout=statement_timeout):
            raise TimeoutError(str(error).strip()) from error
        raise


def _is_timeout(error: psycopg.Error, *, elapsed: float, statement_timeout: float) -> bool:
    """Return whether the error is a time-out of the server, the network or the driver.

    `elapsed` is how many seconds the statement took, by the monotonic or the wall clock, whichever
    says more; `statement_timeout` how many it was allowed (0: no limit). A cancelled statement
    timed out only if it took that long, since an administrator's cancel has the same SQLSTATE,
    57014.
    """
    if isinstance(error, errors.QueryCanceled):
        return 0 < statement_timeout <= elapsed + _CLOCKS_DIFFER
    if isinstance(error, _TIMEOUTS):
        return True
    # libpq hands no errno on: its message holds the system's own text for it
    return error.sqlstate is None and os.strerror(errno.ETIMEDOUT) in str(error)
