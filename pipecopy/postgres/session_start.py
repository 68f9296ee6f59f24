# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""How a server session begins: its settings, the end of orphans, the lock on the target table.

All of it goes in one round trip, since a session that replaces a killed one is opened within the
same limit as the call that it is for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg

from pipecopy.contracts import Session
from pipecopy.postgres import failover
from pipecopy.postgres.errors import (
    FEATURE_NOT_SUPPORTED,
    INTERNAL_ERROR,
    PostgresError,
)
from pipecopy.postgres.failover import ServerState
from pipecopy.postgres.limits import session_limits, statement_limit
from pipecopy.postgres.lock import first_try, wait_for_lock
from pipecopy.postgres.names import literal
from pipecopy.postgres.orphans import end_orphans, is_direct_sql, report_orphans
from pipecopy.postgres.questions import Rows, rows_of_each

_MOST_STARTS = 5
"""Of one session: a statement_timeout of 1 ms struck one of ten before it was set (measured)."""

# both sides must write and read every value alike, whatever the role or the database has set
_SAMENESS = {
    "client_encoding": "UTF8",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "array_nulls": "on",  # else a NULL in an array's text is read as the word
    "standard_conforming_strings": "on",  # else a backslash in an expression is an escape
    "xmloption": "content",  # else a text that is not a document is refused
    "quote_all_identifiers": "off",  # else the same type has another name on one side
    "row_security": "off",  # hidden rows are an error then, instead of missing
    # else a statement that waited for a lock reads what was there before the wait
    "default_transaction_isolation": "read committed",
}

_MAY_NOT_ASK = ("42501", "42883", "0A000", "55000")
"""SQLSTATEs of a server that does not give its position, at all or to this role."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SessionFacts:
    """What the server said about the session."""

    version: int
    """Such as 160004."""
    statement_timeout: float
    """Seconds one statement may take, 0 for no limit."""
    commit: str
    """The `synchronous_commit` of the role, or `on` if that is weaker."""
    server: ServerState
    asked: str
    """The statement that gives a `ServerState` to this role."""
    locked: bool = False
    """The session took the lock on the target table as it began."""
    answers: list[Rows] | None = None
    """Of the questions that went along."""


def prepare(
    connection: psycopg.Connection[Any],
    *,
    run: Session | None,
    table: str,
    session_pooler: bool,
    questions: str | None = None,
) -> SessionFacts:
    """Make the session ready; returns what the server said about it.

    `questions` go along, unless they may be why the server refuses the rest. Raises PostgresError
    if a pooler is in between, or another run holds the target; and TimeoutError if an orphan of
    this copy does not end.
    """
    *states, least = failover.STATES
    for state in states:
        try:
            return _prepare(connection, run, table, state, questions, session_pooler=session_pooler)
        except psycopg.Error as error:
            if error.sqlstate == INTERNAL_ERROR and questions is not None:  # DDL struck these
                return prepare(connection, run=run, table=table, session_pooler=session_pooler)
            if error.sqlstate not in _MAY_NOT_ASK:
                raise
    return _prepare(connection, run, table, least, None, session_pooler=session_pooler)


def _prepare(
    connection: psycopg.Connection[Any],
    run: Session | None,
    table: str,
    server: str,
    questions: str | None,
    *,
    session_pooler: bool,
) -> SessionFacts:
    info = connection.info
    direct = "true" if session_pooler else is_direct_sql(connection)
    statements = [_settings(info.server_version, run, direct), server]
    if run is not None:
        # first, for the statements after it: the role's own limit may be too short for them
        statements.insert(0, f"SET LOCAL statement_timeout = {statement_limit(run)}")
        statements.append(end_orphans(run, direct))
        if run.locks_table:
            statements.append(first_try(run, table, direct))
    if questions is not None:
        statements.append(questions)  # last: they may change the search path
    began = time.monotonic()
    with connection.cursor() as cursor:

        def query_all(sql: str) -> list[Rows]:
            cursor.execute(sql.encode())
            return rows_of_each(cursor)

        _, ((is_direct, commit, statement_timeout),), (state,), *rest = _in_time(
            lambda: query_all("; ".join(statements)), 0.0 if run is None else run.call_timeout / 2
        )
        if not is_direct:
            raise PostgresError(
                "there is a connection pooler (such as PgBouncer) before the server, and a copy"
                " needs a session of its own there: connect to the server itself, or to a pool in"
                " session mode and say so (`session_pooler`)",
                FEATURE_NOT_SUPPORTED,
            )
        if run is not None:
            report_orphans(connection, rest.pop(0))
        locked = False
        if run is not None and run.locks_table:
            tried = rest.pop(0)
            locked = wait_for_lock(lambda sql: query_all(sql)[-1], run, table, tried, began)
            if locked and not tried[0][1]:
                rest.clear()  # of a time before that
    return SessionFacts(
        version=info.server_version,
        statement_timeout=float(statement_timeout) / 1000,
        commit=commit,
        server=failover.server_state(state),
        asked=server,
        locked=locked,
        answers=rest or None,
    )


def _in_time(query: Callable[[], list[Rows]], seconds: float) -> list[Rows]:
    """Run the statements that set the session's own limit; again, if the role's struck before.

    That one covers the time in which the server reads all of them, before it runs the first.
    """
    until = time.monotonic() + seconds
    for _ in range(1, _MOST_STARTS):
        try:
            return query()
        except psycopg.errors.QueryCanceled:
            if time.monotonic() >= until:
                raise
    return query()


def _settings(version: int, run: Session | None, direct: str) -> str:
    values = dict(_SAMENESS)
    if run is not None:
        values |= session_limits(run)
        if not run.may_write:
            values["default_transaction_read_only"] = "on"
    calls = [
        # local to this transaction if a pool would hand the connection to others afterwards
        f"pg_catalog.set_config({literal(name)}, {literal(value)}, NOT ({direct}))"
        for name, value in values.items()
    ]
    # each transaction sets it (see ServerSession). What is left is the removal of the temporary
    # table at the session's end: if that waited for a standby, nobody could end the session
    calls.append(f"pg_catalog.set_config('synchronous_commit', 'local', NOT ({direct}))")
    if run is not None:
        # not every system's server can watch its client
        calls.append(
            "CASE WHEN pg_catalog.version() OPERATOR(pg_catalog.!~*)"
            " 'windows|mingw|msvc|visual c' THEN"
            " pg_catalog.set_config('client_connection_check_interval', '500ms',"
            f" NOT ({direct})) END"
        )
    if version >= 170000 and run is not None:  # noqa: PLR2004 - PostgreSQL 17 brought it
        calls.append(f"pg_catalog.set_config('transaction_timeout', '0', NOT ({direct}))")
    return (
        f"SELECT {', '.join(calls)};"
        # weaker commits that the role or the database has set would lose what was reported as
        # saved. What the session has now may be what another run set in it, before a pool
        f" SELECT {direct}, CASE WHEN c.reset_val OPERATOR(pg_catalog.=) 'off' THEN 'on'"
        " ELSE c.reset_val END, t.setting"
        " FROM pg_catalog.pg_settings AS c, pg_catalog.pg_settings AS t"
        " WHERE c.name OPERATOR(pg_catalog.=) 'synchronous_commit'"
        " AND t.name OPERATOR(pg_catalog.=) 'statement_timeout'"
    )
