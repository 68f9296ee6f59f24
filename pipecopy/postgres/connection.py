"""Link: a connection that is opened again when it is found dead."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import psycopg
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from pipecopy.contracts import ServerChangedError, Session
from pipecopy.postgres import conninfo, wire
from pipecopy.postgres.errors import UNDEFINED_OBJECT, PostgresError
from pipecopy.postgres.failover import (
    PRIMARY_ONLY,
    ServerState,
    bytes_behind,
    server_state,
    state_from_plain,
)
from pipecopy.postgres.session import SessionFacts, prepare, statement_limit
from pipecopy.postgres.timeouts import is_timeout

Result = TypeVar("Result")

_SLOTS_WAIT = 10.0
"""Seconds for which a refusal may be due to an orphan that still counts."""
_SLOTS_PAUSE = 0.1
_NO_SLOT = (  # libpq hands on no SQLSTATE (53300) for a refused connection, only the text
    "too many connections for",
    "too many clients already",
    "remaining connection slots are reserved",
)
_REPLAY_PAUSE = 0.1
"""Seconds between two looks at how far a standby has come."""
_NO_SERVICE = "definition of service"


class Line:
    """One server session, in autocommit: each query is a transaction of its own."""

    def __init__(self, connection: psycopg.Connection[Any], facts: SessionFacts) -> None:
        self._connection = connection
        self.facts = facts
        self.server = facts.server
        """Which server it is, and how far that has come, as last heard."""
        self._expected = sys.maxsize
        """Bytes of the next COPY out."""
        self.answered = False
        """Whether the server has answered anything to the call under way."""
        self.watch = _Stopwatch()
        """Of the statement under way."""

    @property
    def info(self) -> psycopg.ConnectionInfo:
        """What the client knows of the connection."""
        return self._connection.info

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run statements in one round trip and transaction; return the last one's rows."""
        return self.query_all(sql)[-1]

    def query_all(self, sql: str) -> list[list[tuple[Any, ...]]]:
        """Run statements in one round trip and transaction; return the rows of each."""
        self.watch.restart()
        with self._connection.cursor() as cursor:
            cursor.execute(sql.encode())
            self.answered = True
            rows = [cursor.fetchall() if cursor.description else []]
            while cursor.nextset():
                rows.append(cursor.fetchall() if cursor.description else [])
            return rows

    def reached(self, lsn: str | None, greatest_key: int | None) -> None:
        """Take note of how far the server has come."""
        self.server = self.server.at(lsn, greatest_key)

    def parse(self, sql: str) -> int:
        """Have the server parse a single statement; return how many parameters it has."""
        self.watch.restart()
        parameters = wire.parse(self._connection.pgconn, sql)
        self.answered = True
        return parameters

    def copy_out(self, sql: str, most: int | None = None) -> wire.CopyRead:
        """Run a COPY TO STDOUT, and a statement after it, in one round trip.

        Of more than `most` bytes the first are returned, and the rest is cancelled.
        """
        self.watch.restart()
        pgconn = self._connection.pgconn
        wire.start(pgconn, sql, ExecStatus.COPY_OUT)
        self.answered = True
        read = wire.read_copy(pgconn, most, expected=self._expected)
        self._expected = len(read.raw)  # batches are mostly alike
        if read.beyond is not None:
            self._connection.cancel_safe()
            wire.drain_copy(pgconn)
        return read

    def copy_in(self, sql: str, chunks: Iterable[bytes | memoryview]) -> list[PGresult]:
        """Run a COPY FROM STDIN, and the statements after it in the same transaction.

        Returns the results of the COPY and of what follows it.
        """
        self.watch.restart()
        wire.start(self._connection.pgconn, sql, ExecStatus.COPY_IN)
        self.answered = True
        try:
            return wire.write_copy(self._connection.pgconn, chunks)
        except Exception:
            # a row that can't be written: the session must stay usable
            if self._connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
                with contextlib.suppress(psycopg.Error):
                    wire.abandon_copy(self._connection.pgconn, "the rows could not be written")
            raise

    def is_dead(self) -> bool:
        """Tell whether the connection ended since the last call; costs no round trip when alive."""
        pgconn = self._connection.pgconn
        if pgconn.status != ConnStatus.OK or pgconn.transaction_status != TransactionStatus.IDLE:
            return True
        if wire.has_input(pgconn):
            # a server that says something to an idle session mostly says good-bye
            try:
                self._connection.execute(b"")
            except psycopg.Error:
                return True
        return False

    def is_lost(self) -> bool:
        """Tell whether the connection broke."""
        return self._connection.pgconn.status != ConnStatus.OK

    def close(self) -> None:
        self._connection.close()


class Link:
    """The way to one database: opens its session, again where it is found dead."""

    def __init__(
        self,
        server: conninfo.Server,
        *,
        session: Session | None,
        table: str,
        session_pooler: bool,
    ) -> None:
        self.server = server
        self.session = session
        self._table = table
        self._session_pooler = session_pooler
        self._parameters = conninfo.parameters(server, session)
        self._statement_timeout = 0.0 if session is None else statement_limit(session) / 1000
        self._line: Line | None = None
        self._server = None if session is None else state_from_plain(session.position)

    @property
    def last_position(self) -> ServerState | None:
        """Where the session before this one was; None in the first one."""
        return self._server

    @property
    def position(self) -> ServerState | None:
        """Which server it leads to, and how far that has come, as last heard."""
        return self._server if self._line is None else self._line.server

    def __repr__(self) -> str:
        return f"Link({self.server.shown!r})"

    def open(self) -> Line:
        """Open the session anew; raises TimeoutError, psycopg's errors or PostgresError."""
        self.close()
        until = time.monotonic() + self._statement_timeout
        connection = self._connect()
        try:
            with _timeouts(_Stopwatch(), self._statement_timeout):
                facts = prepare(
                    connection,
                    session=self.session,
                    table=self._table,
                    session_pooler=self._session_pooler,
                )
            line = Line(connection, facts)
            if self._server is not None:
                self._continue_from(self._server, line, until)
        except BaseException:
            connection.close()
            raise
        self._line = line
        return line

    def _continue_from(self, before: ServerState, line: Line, until: float) -> None:
        """See that the new session is where the last one was, or wait until it is.

        Raises ServerChangedError if it never will be, and TimeoutError if it is not yet.
        """
        session = self.session
        if line.server.is_standby and session is not None:
            if session.side == "source" and session.deletes:
                raise ServerChangedError(
                    f"a new connection leads to a standby, which may lack rows: {PRIMARY_ONLY}"
                )
            if session.may_write:
                raise TimeoutError(  # which may be promoted by the next attempt
                    "a new connection leads to a standby, which takes no writes (with several"
                    " hosts, target_session_attrs=read-write waits for none)"
                )
        while behind := bytes_behind(before, line.server):
            if time.monotonic() + _REPLAY_PAUSE >= until:
                raise TimeoutError(
                    f"a new connection leads to a standby that is {behind} bytes of the"
                    " write-ahead log behind what was read or saved before"
                )
            time.sleep(_REPLAY_PAUSE)  # a standby has no event for this before PostgreSQL 19
            with _timeouts(line.watch, line.facts.statement_timeout):
                line.server = server_state(line.query(line.facts.asked)[0])

    def run(self, work: Callable[[Line], Result]) -> Result:
        """Do one call's work in the session.

        A connection that is found dead before the server answered anything is opened again, and
        the work begun anew; one that breaks later is an error. Time-outs are TimeoutErrors.
        """
        line = self._line
        if line is None or line.is_dead():
            line = self.open()
        else:
            line.answered = False
            try:
                return _attempt(line, work)
            except psycopg.OperationalError as error:
                if line.answered or error.sqlstate is not None or not line.is_lost():
                    raise
            line = self.open()
        return _attempt(line, work)

    def close(self) -> None:
        """End the session, if there is one."""
        line, self._line = self._line, None
        if line is not None:
            self._server = line.server
            line.close()

    def _connect(self) -> psycopg.Connection[Any]:
        limit = 0.0 if self.session is None else min(_SLOTS_WAIT, 0.8 * self.session.call_timeout)
        until = time.monotonic() + limit
        while True:
            try:
                with _timeouts(_Stopwatch(), self._statement_timeout):
                    # no prepared statements: a pooler's sessions do not share them
                    return psycopg.connect(
                        **self._parameters,  # type: ignore[arg-type] # all are libpq's own
                        autocommit=True,
                        prepare_threshold=None,
                    )
            except psycopg.OperationalError as error:
                if self.server.is_service and _NO_SERVICE in str(error):
                    raise PostgresError(
                        f"no connection is called {self.server.shown!r}, nor a service in libpq's"
                        " pg_service.conf, and it is neither a URI nor a list of keyword=value",
                        UNDEFINED_OBJECT,
                    ) from None
                refused = any(text in str(error) for text in _NO_SLOT)
                if not refused or time.monotonic() + _SLOTS_PAUSE >= until:
                    raise
            time.sleep(_SLOTS_PAUSE)


class _Stopwatch:
    """Measures how long a statement takes.

    By the wall clock as well: the server goes by its own, and where that is stepped forward it
    ends a statement early, for having taken too long.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self._began = (time.monotonic(), time.time())

    def seconds(self) -> float:
        began, began_by_wall = self._began
        return max(time.monotonic() - began, time.time() - began_by_wall)


def _attempt(line: Line, work: Callable[[Line], Result]) -> Result:
    with _timeouts(line.watch, line.facts.statement_timeout):
        return work(line)


@contextlib.contextmanager
def _timeouts(watch: _Stopwatch, statement_timeout: float) -> Iterator[None]:
    """Raise a time-out as TimeoutError, and everything else as it is."""
    try:
        yield
    except psycopg.Error as error:
        if is_timeout(error, elapsed=watch.seconds(), statement_timeout=statement_timeout):
            raise TimeoutError(str(error).strip()) from error
        raise
