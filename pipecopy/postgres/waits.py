# ruff: noqa: S608 - SQL is what this file writes; it holds nothing but numbers and names
"""Who holds what a session waits for, as far as the role may see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipecopy.postgres.names import CATALOG_PATH, literal

_AGAINST_READING = ("AccessExclusiveLock",)
_AGAINST_WRITING = (*_AGAINST_READING, "ExclusiveLock", "ShareRowExclusiveLock", "ShareLock")
_WRITING = "RowExclusiveLock"
"""Of a transaction that has written to the table, and so may have locked rows."""
_FOR_A_STANDBY = "SyncRep"


def session_facts(alias: str, since: str = "xact_start") -> str:
    """Return SQL for what a row of `pg_stat_activity` tells, as JSON: for `session_text`."""
    columns = {"pid": "pid", "user": "usename", "application": "application_name", "state": "state"}
    parts = [f"'{name}', {alias}.{column}" for name, column in columns.items()]
    since = f"pg_catalog.timezone('UTC', {alias}.{since})"
    parts.append(f"""'since', pg_catalog.to_char({since}, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')""")
    return f"pg_catalog.json_build_object({', '.join(parts)})"


def session_text(facts: Mapping[str, Any]) -> str:
    """Return who it is: `server session 12 (app, psql, idle in transaction, since …)`."""
    if facts.get("pid") is None:
        return "a prepared transaction (see pg_prepared_xacts)"
    told = [facts[name] for name in ("user", "application", "state") if facts[name]]
    if facts["since"]:
        told.append(f"since {facts['since']}")
    return f"server session {facts['pid']}" + (f" ({', '.join(told)})" if told else "")


def blockers(pid: str) -> str:
    """Return SQL for the sessions that this one waits for, as a JSON array; NULL for none."""
    return (
        f"(SELECT pg_catalog.json_agg({session_facts('b')})"
        f" FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids({pid})) AS p (pid)"
        " LEFT JOIN pg_catalog.pg_stat_activity AS b ON b.pid OPERATOR(pg_catalog.=) p.pid)"
    )


def waits_text(event: str | None, blocked_by: Iterable[Mapping[str, Any]] | None) -> str:
    """Return what a session waits for, to follow the wait event; empty if it is not known."""
    if event == _FOR_A_STANDBY:
        return " for a standby that synchronous_standby_names names, after its commit"
    return f" for {' and '.join(map(session_text, blocked_by))}" if blocked_by else ""


def keeps_waiting(mode: str, *, writes: bool) -> str:
    """Return SQL for whether a lock of a relation keeps one waiting who reads it, or writes."""
    modes = _AGAINST_WRITING if writes else _AGAINST_READING
    return f"{mode} IN ({', '.join(map(literal, modes))})"


def lock_holders(relations: Iterable[int], *, writes: bool) -> str:
    """Return SQL for the sessions whose locks on these relations keep one waiting.

    Its rows: whether it has locked a whole relation, and not perhaps some rows; the session.
    """
    oids = ", ".join(map(str, relations)) or "NULL"
    against = keeps_waiting("l.mode", writes=writes)
    rows = f" OR l.mode = {literal(_WRITING)}" if writes else ""
    return (
        f"{CATALOG_PATH}SELECT bool_or({against}) AS whole, {session_facts('a')}"
        " FROM pg_locks AS l LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid"
        f" WHERE l.granted AND l.locktype = 'relation' AND l.relation IN ({oids})"
        " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        f" AND l.pid IS DISTINCT FROM pg_backend_pid() AND ({against}{rows})"
        " GROUP BY a.pid, a.usename, a.application_name, a.state, a.xact_start"
        " ORDER BY whole DESC, a.xact_start LIMIT 3"
    )


def lock_holders_text(rows: Iterable[tuple[bool, Mapping[str, Any]]]) -> tuple[str, str | None]:
    """Return who had locked the table, to follow the error, and what to do about it.

    Empty and None if nobody is known.
    """
    held = list(rows)
    whole = [facts for is_whole, facts in held if is_whole]
    some = whole or [facts for _, facts in held]
    if not some:
        return "", None
    names = " and ".join(map(session_text, some))
    said = (
        f"{names} had locked the table" if whole else f"rows of the table may be locked by {names}"
    )
    end = " ".join(f"SELECT pg_terminate_backend({each['pid']});" for each in some if each["pid"])
    return f"; {said}", f"wait for the end of that transaction{end and f', or end it there: {end}'}"
