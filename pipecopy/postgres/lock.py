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
from pipecopy.postgres.application_name import read_name, run_names_begin
from pipecopy.postgres.names import CATALOG_PATH, table_oid
from pipecopy.postgres.questions import Rows
from pipecopy.postgres.waits import session_facts, session_text

_LOCK_CLASS = 0x70697065
"""The first key of the advisory lock on a target table ("pipe"); the second is the table's oid."""
_RUN_LOCK_CLASS = 0x70697073
"""The same of that on a sharded run, for the process that drives it ("pips"); the second key is the
end of the run's id."""
LOCK_WAIT = 3.0
"""Seconds for which a copy that has just been killed may still hold the lock."""
LOCK_PAUSE = 0.1
_PATIENCE_PAUSE = 0.5
_WRITERS: Mapping[Mode | None, str] = {
    "copy": "another copy",
    "verify": "a verification that repairs",
}
_RUN_NAMES = len(run_names_begin("0" * 12))
_IS_OF_THIS_RUN = (
    f"pg_catalog.left(a.application_name, {_RUN_NAMES}) OPERATOR(pg_catalog.=) pg_catalog.left("
    f"pg_catalog.current_setting('application_name'), {_RUN_NAMES})"
)
"""SQL for whether the session `a` is of the same run as the one that asks."""

Query = Callable[[str], Rows]
"""Runs one statement, and returns its rows."""


def try_lock(oid: str, *, shared: bool) -> str:
    """Return SQL that takes the copy's lock on the table with that oid; false if it is taken.

    Those of one run share it, and keep out all others.
    """
    key = f"{_LOCK_CLASS}, ({oid})::bigint::bit(32)::int"
    if not shared:
        return f"pg_catalog.pg_try_advisory_lock({key})"
    # first taken, then looked at: of two runs that begin at once, none overlooks the other. The
    # functions, since a role may not be allowed to read the views
    of_others = (
        "SELECT FROM pg_catalog.pg_lock_status() AS l JOIN pg_catalog.pg_stat_get_activity(NULL)"
        " AS a ON a.pid OPERATOR(pg_catalog.=) l.pid"
        " WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.granted"
        " AND l.objsubid OPERATOR(pg_catalog.=) 2"
        f" AND l.classid OPERATOR(pg_catalog.=) {_LOCK_CLASS}::pg_catalog.oid"
        f" AND l.objid OPERATOR(pg_catalog.=) ({oid})::pg_catalog.oid"
        " AND l.database OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database AS d"
        " WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())"
        f" AND NOT {_IS_OF_THIS_RUN}"
    )
    return (
        f"CASE WHEN NOT pg_catalog.pg_try_advisory_lock_shared({key}) THEN false"
        f" WHEN EXISTS ({of_others}) THEN NOT pg_catalog.pg_advisory_unlock_shared({key})"
        " ELSE true END"
    )


def try_run_lock(run_id: str) -> str:
    """Return SQL that takes a sharded run, to drive it; false if another process has it."""
    return f"pg_catalog.pg_try_advisory_lock({_RUN_LOCK_CLASS}, {_run_key(run_id)}::bit(32)::int)"


def _run_key(run_id: str) -> int:
    return int(run_id, 16) & 0xFFFFFFFF


def is_shared(run: Session | None) -> bool:
    """Return whether the session shares the lock with those of other parts of its run."""
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
        return _take(query, table, find, rows, began + min(LOCK_WAIT, run.call_timeout / 2))
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
    wait = min(LOCK_WAIT, statement_timeout / 2) if statement_timeout else LOCK_WAIT
    until = time.monotonic() + wait
    find = _find(table, try_lock("oid", shared=shared))
    return _take(query, table, find, query(find), until)


def share_instead(table: str) -> str:
    """Return SQL that shares the lock on a table, which this session has alone until then."""
    alone = f"pg_catalog.pg_advisory_unlock({_LOCK_CLASS}, oid::bigint::bit(32)::int)"
    return _find(table, f"{try_lock('oid', shared=True)}, {alone}")


def take_run(query: Query, run_id: str, statement_timeout: float) -> None:
    """Take a sharded run until the session ends, to drive it.

    Raises TargetInUseError if another process does that.
    """
    wait = min(LOCK_WAIT, statement_timeout / 2) if statement_timeout else LOCK_WAIT
    until = time.monotonic() + wait
    while not query(f"SELECT {try_run_lock(run_id)}")[0][0]:
        if time.monotonic() >= until:
            raise _driven(query, run_id)
        time.sleep(LOCK_PAUSE)


def _driven(query: Query, run_id: str) -> TargetInUseError:
    """Return the error of a run that another process drives."""
    holder: Holder | None = None
    message = f"another process drives the sharded run {run_id}"
    try:
        for (facts,) in query(_holder(_RUN_LOCK_CLASS, _run_key(run_id))):
            holder = _holder_of(facts)
    except psycopg.errors.InsufficientPrivilege:
        pass
    return TargetInUseError(
        f"{message}{'' if holder is None else f': {holder}'}",
        _remedy(holder, wait="wait for its end"),  # not each call that takes a run can be told to
        holder=holder,
    )


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
        time.sleep(LOCK_PAUSE)
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
        holders = [facts for (facts,) in query(_holder(_LOCK_CLASS, oid))]
    except psycopg.errors.InsufficientPrivilege:
        lock = f"{_LOCK_CLASS}, ({oid})::bigint::bit(32)::int"
        ((free,),) = query(f"SELECT pg_catalog.pg_try_advisory_xact_lock_shared({lock})")
        holders = [] if free else [None]
    for facts in holders:
        ((table,),) = query(f"{CATALOG_PATH}SELECT {oid}::regclass::text")
        yield _in_use(table, facts)


def _holder(lock_class: int, key: int) -> str:
    """Return SQL for the session that holds a lock; of those who share it, the first."""
    return (
        f"{CATALOG_PATH}SELECT {session_facts('a', 'backend_start')}"
        " FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
        " WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2"
        f" AND l.classid = {lock_class} AND l.objid = {key} AND l.pid <> pg_backend_pid()"
        " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        f" AND NOT (l.mode = 'ShareLock' AND {_IS_OF_THIS_RUN})"
        # who drives a sharded run, before its shards
        " ORDER BY a.application_name NOT LIKE '%/target..%', a.backend_start, a.pid LIMIT 1"
    )


def _in_use(table: str, facts: Mapping[str, Any] | None) -> TargetInUseError:
    """Return the error that names a session by these facts."""
    if facts is None:
        unknown = f"another run is writing {table}; which one is not known"
        return TargetInUseError(unknown, _remedy(None))
    named, holder = read_name(facts["application"]), _holder_of(facts)
    if named is None:
        message = f"another program holds pipecopy's lock on {table}: {holder}"
    else:
        writer = _WRITERS.get(named.mode, "another run")
        message = f"{writer} is writing {table}: {holder}"
    return TargetInUseError(message, _remedy(holder), holder=holder)


def _holder_of(facts: Mapping[str, Any]) -> Holder:
    """Return who a session is, by these facts."""
    named, session = read_name(facts["application"]), session_text(facts)
    if named is None:
        return Holder(who=session, since=facts["since"], session=facts["pid"])
    kind = "range" if named.mode == "verify" else "shard"
    of_part = "" if named.number is None else f"{kind} {named.number} of "
    who, since = f"{of_part}pipecopy run {named.run_id}", facts["since"]
    if named.started is None:
        who = f"{who}, {session}"
    else:
        who = f"{who} on host {named.host}, pid {named.pid}, since {named.started:%F %T} UTC"
        since = f"{named.started:%FT%TZ}"
    return Holder(
        who=who,
        run_id=named.run_id,
        host=named.host,
        pid=named.pid,
        since=since,
        session=facts["pid"],
    )


def _remedy(holder: Holder | None, wait: str = "wait for its end (`wait`)") -> str:
    if holder is None:
        return wait
    end = f"run SELECT pg_terminate_backend({holder.session});"
    if holder.pid is None:
        return f"{wait}, or {end}"
    # the session alone would be opened again by a run that goes on
    stop = f"stop it: kill {holder.pid} on host {holder.host}"
    return f"{wait}, or {stop}; if that host is gone, {end}"
