# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""Orphans: what killed workers left on the server is told by its name, and ended."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg

from pipecopy.contracts import Session
from pipecopy.postgres.application_name import application_name, part_names_begin, run_names_begin
from pipecopy.postgres.limits import MILLISECONDS_MAX, statement_limit
from pipecopy.postgres.names import literal
from pipecopy.postgres.questions import rows_of_each
from pipecopy.postgres.waits import blockers, waits_text
from pipecopy.units import seconds_text

_LAST_ORPHANS = 2.0
"""Seconds: half of them is waited for the end of what the last attempt left."""

_log = logging.getLogger(__name__)


def is_direct_sql(connection: psycopg.Connection[Any]) -> str:
    """Return SQL for whether this is the session itself: a pooler made up the process id."""
    return f"pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) {connection.info.backend_pid}"


def end_orphans(run: Session, direct: str) -> str:
    """End the sessions that a killed worker of this copy's side left, and wait for their end.

    Those of all attempts of a shard, as long as this one has not claimed it. As the role that
    logged in, since one that ALTER ROLE … SET role puts in its place may not.
    """
    patience = min(int(500 * run.call_timeout), MILLISECONDS_MAX)
    return (
        "SET LOCAL ROLE none;"
        " SELECT pid, state, wait_event_type, wait_event, extract(epoch FROM"
        " pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) query_start)::double precision,"
        f" {blockers('a.pid')}, pg_catalog.pg_terminate_backend(pid, {max(1, patience)})"
        " FROM pg_catalog.pg_stat_activity AS a"
        f" WHERE {_is_orphan(run)}"
        " AND usename OPERATOR(pg_catalog.=) session_user"
        f" AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid() AND {direct};"
        " SET LOCAL role TO DEFAULT"
    )


def _is_orphan(run: Session) -> str:
    part = run.part
    if part is not None and part.role == "shard" and part.attempt is None:
        begin = literal(part_names_begin(run, part))
        return f"pg_catalog.starts_with(application_name, {begin})"
    return f"application_name OPERATOR(pg_catalog.=) {literal(application_name(run))}"


def end_run(run_id: str) -> str:
    """End all sessions of a run but this one, and do not wait for their end."""
    return _end(f"pg_catalog.starts_with(application_name, {literal(run_names_begin(run_id))})")


def end_other_attempts(run: Session) -> str:
    """End the sessions of all other attempts of the shard, and do not wait for their end."""
    begin = "" if run.part is None else part_names_begin(run, run.part)
    return _end(
        f"pg_catalog.starts_with(application_name, {literal(begin)})"
        f" AND application_name OPERATOR(pg_catalog.<>) {literal(application_name(run))}"
    )


def _end(which: str) -> str:
    return (
        "SET LOCAL ROLE none;"
        " SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity"
        f" WHERE {which} AND usename OPERATOR(pg_catalog.=) session_user"
        " AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid();"
        " SET LOCAL role TO DEFAULT"
    )


def report_orphans(connection: psycopg.Connection[Any], orphans: list[tuple[Any, ...]]) -> None:
    """Log what was ended. Raises TimeoutError if a session is still there."""
    for what, is_gone in _orphans_told(connection, orphans):
        if not is_gone:
            raise TimeoutError(f"the {what} does not end")
        _log.warning("ended the %s", what)


def _orphans_told(
    connection: psycopg.Connection[Any], orphans: list[tuple[Any, ...]]
) -> Iterator[tuple[str, bool]]:
    """Yield what each session was and waited for, and whether it is gone."""
    still_there = set()
    if not all(ended for *_, ended in orphans):
        # pg_terminate_backend also returns false for one that had ended by itself
        with connection.cursor() as cursor:
            cursor.execute("SELECT pid FROM pg_catalog.pg_stat_activity")
            still_there = {pid for (pid,) in cursor}
    for pid, state, wait_type, wait_event, age, blocked_by, ended in orphans:
        waiting = ""
        if wait_event:
            waiting = f", waiting on {wait_type}/{wait_event}{waits_text(wait_event, blocked_by)}"
        since = "" if age is None else f", its query {seconds_text(age)} old"
        what = f"server session {pid} that a killed worker left ({state}{since}{waiting})"
        yield what, ended or pid not in still_there


def end_last_orphans(connection: psycopg.Connection[Any], run: Session) -> str | None:
    """End what the last attempt of a call left; return what that was, None for nothing."""
    # which no longer counts once this worker is killed in turn
    short = replace(run, call_timeout=min(run.call_timeout, _LAST_ORPHANS))
    limit = f"SET LOCAL statement_timeout = {statement_limit(run)}"
    with connection.cursor() as cursor:
        cursor.execute(f"{limit}; {end_orphans(short, is_direct_sql(connection))}".encode())
        (orphans,) = rows_of_each(cursor)
    told = [
        f"ended the {what}" if is_gone else f"the {what} does not end, and holds the target table"
        for what, is_gone in _orphans_told(connection, orphans)
    ]
    return "; ".join(told) or None
