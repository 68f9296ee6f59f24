# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""The lock on the target table: two runs that write it can't mix. Who holds it is told by name.

It is an advisory lock of the server, of the writer's session: with that, it ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psycopg

from pipecopy.contracts import Mode, Session, TargetInUseError
from pipecopy.errors import Holder
from pipecopy.postgres.application_name import read_name
from pipecopy.postgres.names import CATALOG_PATH, table_oid
from pipecopy.postgres.questions import Rows
from pipecopy.postgres.waits import session_facts, session_text

_LOCK_CLASS = 0x70697065
"""The first key of the advisory lock on a target table ("pipe"); the second is the table's oid."""
_LOCK_WAIT = 3.0
"""Seconds for which a copy that has just been killed may still hold the lock."""
_LOCK_PAUSE = 0.1
_PATIENCE_PAUSE = 0.5
_WRITERS: Mapping[Mode | None, str] = {
    "copy": "another copy",
    "verify": "a verification that repairs",
}

Query = Callable[[str], Rows]
"""Runs one statement, and returns its rows."""


def try_lock(oid: str, *, shared: bool) -> str:
    """Return SQL that takes the copy's lock on the table with that oid; false if it is taken.

    Those who share it keep out only those who do not.
    """
    take = "pg_try_advisory_lock_shared" if shared else "pg_try_advisory_lock"
    return f"pg_catalog.{take}({_LOCK_CLASS}, ({oid})::bigint::bit(32)::int)"


def is_shared(run: Session | None) -> bool:
    """Return whether the session shares the lock: those of all parts of sharded runs do."""
    return run is not None and run.part is not None


def first_try(run: Session, table: str, direct: str) -> str:
    """Return SQL for the first try to take the lock, for `wait_for_lock`; no row for no such table.

    `direct` is SQL for whether there is no pooler, which would keep the lock.
    """
    taken = f"CASE WHEN {direct} THEN {try_lock('oid', shared=is_shared(run))} END"
    return _find(table, "false" if run.patience else taken)


def wait_for_lock(query: Query, run: Session, table: str, rows: Rows, began: float) -> bool:
    """Wait for what the first try, begun then, did not get; return False for no such table.

    Raises TargetInUseError if another run holds the table, and what `query` does.
    """
    find = _find(table, try_lock("oid", shared=is_shared(run)))
    if run.patience is None:
        return _take(query, table, find, rows, began + min(_LOCK_WAIT, run.call_timeout / 2))
    if run.patience and rows:
        until = began + min(run.patience, run.call_timeout / 2)
        while (left := until - time.monotonic()) > 0:
            _refuse_held(query, rows[0][0])
            time.sleep(min(left, _PATIENCE_PAUSE))
        rows = query(find)
    return _take(query, table, find, rows, began)


def take_lock(query: Query, table: str, statement_timeout: float, *, shared: bool) -> bool:
    """Take the lock on the target table; returns False if there is no such table.

    A session that has it already takes it once more, and gives up both as it ends. `query` is
    what runs a statement, and `statement_timeout` the seconds that one may take, 0 for no limit.
    Raises TargetInUseError if another run holds the table, and what `query` does.
    """
    wait = min(_LOCK_WAIT, statement_timeout / 2) if statement_timeout else _LOCK_WAIT
    until = time.monotonic() + wait
    find = _find(table, try_lock("oid", shared=shared))
    return _take(query, table, find, query(find), until)


def _find(table: str, took: str) -> str:
    """Return SQL for the table's oid, and whether the lock on it was taken."""
    return (
        # AND may evaluate both of its sides
        f"SELECT oid, {took} FROM ({table_oid(table)} AS oid) AS target WHERE oid IS NOT NULL"
    )


def _take(query: Query, table: str, find: str, rows: Rows, until: float) -> bool:
    """Try until the lock is taken, given what the first try returned; False for no such table."""
    while rows and not rows[0][1]:
        if time.monotonic() >= until:
            _refuse_held(query, rows[0][0])
            raise _in_use(table, None)  # until a moment ago
        time.sleep(_LOCK_PAUSE)
        rows = query(find)
    return bool(rows)


def _refuse_held(query: Query, oid: int) -> None:
    """Raise TargetInUseError if a session holds the lock on the table with that oid."""
    for error in held(query, oid):
        raise error


def held(query: Query, oid: int) -> Iterator[TargetInUseError]:
    """Yield an error for the session that holds the lock on the table with that oid.

    If the role may not see who holds it, the lock is taken for one statement, shared with others.
    """
    holders: list[Mapping[str, Any] | None]
    try:
        holders = [facts for (facts,) in query(_holder(oid))]
    except psycopg.errors.InsufficientPrivilege:
        lock = f"{_LOCK_CLASS}, ({oid})::bigint::bit(32)::int"
        ((free,),) = query(f"SELECT pg_catalog.pg_try_advisory_xact_lock_shared({lock})")
        holders = [] if free else [None]
    for facts in holders:
        ((table,),) = query(f"{CATALOG_PATH}SELECT {oid}::regclass::text")
        yield _in_use(table, facts)


def _holder(oid: int) -> str:
    return (
        f"{CATALOG_PATH}SELECT {session_facts('a', 'backend_start')}"
        " FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
        " WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2"
        f" AND l.classid = {_LOCK_CLASS} AND l.objid = {oid}"
        " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )


def _in_use(table: str, facts: Mapping[str, Any] | None) -> TargetInUseError:
    """Return the error that names a session by these facts."""
    if facts is None:
        unknown = f"another run is writing {table}; which one is not known"
        return TargetInUseError(unknown, _remedy(None))
    named, session = read_name(facts["application"]), session_text(facts)
    if named is None:
        holder = Holder(who=session, since=facts["since"], session=facts["pid"])
        message = f"another program holds pipecopy's lock on {table}: {session}"
        return TargetInUseError(message, _remedy(holder), holder=holder)
    who, since = f"pipecopy run {named.run_id}", facts["since"]
    if named.started is None:
        who = f"{who}, {session}"
    else:
        who = f"{who} on host {named.host}, pid {named.pid}, since {named.started:%F %T} UTC"
        since = f"{named.started:%FT%TZ}"
    holder = Holder(
        who=who,
        run_id=named.run_id,
        host=named.host,
        pid=named.pid,
        since=since,
        session=facts["pid"],
    )
    writer = _WRITERS.get(named.mode, "another run")
    return TargetInUseError(f"{writer} is writing {table}: {who}", _remedy(holder), holder=holder)


def _remedy(holder: Holder | None) -> str:
    wait = "wait for its end (`wait`)"
    if holder is None:
        return wait
    end = f"run SELECT pg_terminate_backend({holder.session});"
    if holder.pid is None:
        return f"{wait}, or {end}"
    # the session alone would be opened again by a run that goes on
    stop = f"stop it: kill {holder.pid} on host {holder.host}"
    return f"{wait}, or {stop}; if that host is gone, {end}"
