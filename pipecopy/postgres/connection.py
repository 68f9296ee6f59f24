"""Connection: the way to one database, and to its session, opened again when it is found dead."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ConnStatus

from pipecopy.contracts import ServerChangedError, Session
from pipecopy.postgres.application_name import application_name
from pipecopy.postgres.conninfo import SCHEMES, known_parameters, service_conninfo
from pipecopy.postgres.errors import (
    CONNECTION_FAILURE,
    INVALID_PARAMETER_VALUE,
    TOO_MANY_CONNECTIONS,
    UNABLE_TO_CONNECT,
    UNDEFINED_OBJECT,
    PostgresError,
)
from pipecopy.postgres.failover import (
    PRIMARY_ONLY,
    ServerState,
    bytes_behind,
    server_state,
    state_from_plain,
)
from pipecopy.postgres.limits import network_limits, statement_limit
from pipecopy.postgres.orphans import end_last_orphans
from pipecopy.postgres.refused import PsycopgConnection, remedy_of
from pipecopy.postgres.session import ServerSession, Stopwatch, raised_timeouts, said
from pipecopy.postgres.session_start import prepare
from pipecopy.redact import shown_name

Result = TypeVar("Result")

_log = logging.getLogger(__name__)

_SLOTS_WAIT = 10.0
"""Seconds for which a refusal may be due to an orphan that still counts."""
_SLOTS_PAUSE = 0.1
_REPLAY_PAUSE = 0.1
"""Seconds between two looks at how far a standby has come."""


class Connection:
    """The way to one database: opens its session, again if it is found dead."""

    def __init__(
        self,
        server: Server,
        *,
        run: Session | None,
        table: str,
        session_pooler: bool,
        questions: str | None = None,
    ) -> None:
        """`questions`, as SQL, go along with the start of each session of a run."""
        self.server = server
        self.run = run
        self._table = table
        self._session_pooler = session_pooler
        self._questions = None if run is None else questions
        self._parameters = parameters(server, run)
        self._statement_timeout = 0.0 if run is None else statement_limit(run) / 1000
        self._session: ServerSession | None = None
        self._server = None if run is None else state_from_plain(run.position)
        # the plan of a sharded run was made there
        of_shard = run is not None and run.copies_shard
        self._has_been_open = self._server is not None or of_shard
        self.moved: ServerChangedError | None = None
        """What has become of the server of a session that keeps a ledger, which goes on with what
        that says."""

    @property
    def last_position(self) -> ServerState | None:
        """Where the session before this one was; None in the first one."""
        return self._server

    @property
    def position(self) -> ServerState | None:
        """Which server it leads to, and how far that has come, as last heard."""
        return self._server if self._session is None else self._session.server

    def __repr__(self) -> str:
        return f"Connection({self.server.shown!r})"

    def open(self) -> ServerSession:
        """Open a new session; raises TimeoutError, psycopg's errors or PostgresError."""
        self.close()
        until = time.monotonic() + self._statement_timeout
        connection = self._connect()
        try:
            with (
                _told_when_lost(connection),
                raised_timeouts(Stopwatch(), self._statement_timeout),
            ):
                facts = prepare(
                    connection,
                    run=self.run,
                    table=self._table,
                    session_pooler=self._session_pooler,
                    questions=self._questions,
                )
            session = ServerSession(connection, facts)
            if self._server is not None:
                try:
                    self._continue_from(self._server, session, until)
                except ServerChangedError as changed:
                    if self.run is None or not self.run.keeps_ledger:
                        raise
                    self.moved = changed
        except BaseException:
            connection.close()
            raise
        self._session = session
        self._has_been_open = True
        if self.run is not None:
            self.run = replace(self.run, patience=None)  # it has its turn
        return session

    def _continue_from(self, before: ServerState, session: ServerSession, until: float) -> None:
        """See that the new session is where the last one was, or wait until it is.

        Raises ServerChangedError if it never will be, and TimeoutError if it is not yet.
        """
        run = self.run
        if session.server.is_standby and run is not None:
            if run.side == "source" and run.deletes:
                raise ServerChangedError(
                    f"a new connection leads to a standby, which may lack rows: {PRIMARY_ONLY}"
                )
            if run.may_write:
                raise TimeoutError(  # which may be promoted by the next attempt
                    "a new connection leads to a standby, which takes no writes (with several"
                    " hosts, target_session_attrs=read-write waits for none)"
                )
        while behind := bytes_behind(before, session.server):
            if time.monotonic() + _REPLAY_PAUSE >= until:
                raise TimeoutError(
                    f"a new connection leads to a standby that is {behind} bytes of the"
                    " write-ahead log behind what was read or saved before"
                )
            time.sleep(_REPLAY_PAUSE)  # a standby has no event for this before PostgreSQL 19
            session.take_answers()  # they are of a time before that
            with raised_timeouts(session.watch, session.facts.statement_timeout):
                session.server = server_state(session.query(session.facts.asked)[0])

    def call(self, work: Callable[[ServerSession], Result]) -> Result:
        """Do one call's work in the session.

        A connection that is found dead before the server answered anything is opened again, and
        the work is done again; one that breaks later is an error. Time-outs are TimeoutErrors.
        """
        session = self._session
        if session is None:
            return self._attempt(self.open(), work)
        if (why := session.death()) is None:
            session.answered = False
            try:
                return self._attempt(session, work)
            except psycopg.OperationalError as error:
                if session.answered or error.sqlstate != CONNECTION_FAILURE:
                    raise
                why = said(error)
        session = self.open()
        _log.warning("the session was found dead (%s): another one was opened", why)
        return self._attempt(session, work)

    def end_orphans(self) -> str | None:
        """End what the last attempt of a call left on the server; return what that was."""
        if self.run is None:
            return None
        with contextlib.closing(self._connect()) as connection:
            return end_last_orphans(connection, self.run)

    def close(self) -> None:
        """End the session, if there is one."""
        session, self._session = self._session, None
        if session is not None:
            self._server = session.server
            session.close()

    def _connect(self) -> psycopg.Connection[Any]:
        limit = 0.0 if self.run is None else min(_SLOTS_WAIT, 0.8 * self.run.call_timeout)
        until = time.monotonic() + limit
        while True:
            try:
                with raised_timeouts(Stopwatch(), self._statement_timeout):
                    # no prepared statements: a pooler's sessions do not share them
                    return PsycopgConnection.connect(
                        **self._parameters,
                        autocommit=True,
                        prepare_threshold=None,
                    )
            except psycopg.Error as error:
                if self.server.is_service and not known_parameters(self.server.conninfo):
                    raise PostgresError(
                        f"no connection is called {self.server.shown!r}, nor a service in libpq's"
                        " pg_service.conf, and it is neither a URI nor a list of keyword=value",
                        UNDEFINED_OBJECT,
                    ) from None
                if error.sqlstate is None and self._has_been_open:
                    error.sqlstate = UNABLE_TO_CONNECT
                is_full = error.sqlstate == TOO_MANY_CONNECTIONS
                if not is_full or time.monotonic() + _SLOTS_PAUSE >= until:
                    error.remedy = remedy_of(error)  # type: ignore[attr-defined] # see contracts.py
                    raise
            time.sleep(_SLOTS_PAUSE)

    def _attempt(self, session: ServerSession, work: Callable[[ServerSession], Result]) -> Result:
        try:
            with (
                _told_when_lost(session.connection),
                raised_timeouts(session.watch, session.facts.statement_timeout),
            ):
                return work(session)
        except TimeoutError as error:
            writes = self.run is not None and self.run.may_write
            told, remedy = session.lock_holders(writes=writes)
            timeout = TimeoutError(f"{error}{told}")
            timeout.remedy = remedy  # type: ignore[attr-defined] # see contracts.py
            raise timeout from error


@contextlib.contextmanager
def _told_when_lost(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Give the error an SQLSTATE if the connection broke and the server gave no reason."""
    try:
        yield
    except psycopg.OperationalError as error:
        if error.sqlstate is None and connection.pgconn.status != ConnStatus.OK:
            error.sqlstate = CONNECTION_FAILURE
        raise


@dataclass(frozen=True)
class Server:
    """Where to connect, without what is added for a session. Its `repr` shows no password."""

    shown: str
    """The name for messages, without a password."""
    conninfo: str
    is_service: bool = False
    """Nothing else is known by this name."""

    def __repr__(self) -> str:
        return f"Server({self.shown!r})"


def find_server(name: str, connections: Mapping[str, str]) -> Server:
    """Return the server of that name: in `connections`, a URI or conninfo, or a service."""
    text = connections.get(name, name)
    shown = shown_name(name)
    if not text.strip():
        raise PostgresError("the name of a database is empty", INVALID_PARAMETER_VALUE)
    if text.startswith(SCHEMES) or "=" in text:
        return Server(shown, text)
    return Server(shown, service_conninfo(text), is_service=True)


def parameters(server: Server, run: Session | None) -> dict[str, str]:
    """Return the connection parameters, with limits that the user did not set.

    Raises PostgresError, without a password in it, for a conninfo that can't be read.
    """
    try:
        given = {key: str(value) for key, value in conninfo_to_dict(server.conninfo).items()}
    except psycopg.ProgrammingError:
        # libpq's message may quote the text, password and all
        raise PostgresError(
            f"the connection string of {server.shown!r} can't be read:"
            " it is neither a URI nor a list of keyword=value",
            INVALID_PARAMETER_VALUE,
        ) from None
    added = {"client_encoding": "UTF8"}
    if run is not None:
        added["application_name"] = application_name(run)
        known = given | known_parameters(make_conninfo(**given))
        hosts = 1 + known.get("host", known.get("hostaddr", "")).count(",")
        limits = network_limits(run, hosts)
        # named here, since psycopg reads no service file for the connect_timeout that it applies
        given |= {name: known.get(name, limit) for name, limit in limits.items()}
    return given | added
