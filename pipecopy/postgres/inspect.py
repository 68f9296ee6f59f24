# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""What a check shows of one side, besides the problems and warnings of `describe`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg

from pipecopy.contracts import Side, Survey, TableDescription
from pipecopy.finding import Finding, problem, warning
from pipecopy.postgres import create, estimate
from pipecopy.postgres.analyze import not_analyzed
from pipecopy.postgres.casts import differing
from pipecopy.postgres.errors import PostgresError
from pipecopy.postgres.lock import held
from pipecopy.postgres.names import quoted
from pipecopy.postgres.questions import ask
from pipecopy.postgres.reader import BIGGEST
from pipecopy.postgres.rejected import with_parents
from pipecopy.postgres.rights import missing_rights
from pipecopy.postgres.rows import CopyFormat
from pipecopy.postgres.selection import Selection
from pipecopy.postgres.sequence import KeySequence, find_key_sequences
from pipecopy.postgres.session import ServerSession
from pipecopy.postgres.table import NO_TABLES, Table, find_table, fires, with_partitions
from pipecopy.postgres.versions import for_other
from pipecopy.postgres.waits import keeps_waiting
from pipecopy.postgres.where import check_where


def survey(
    session: ServerSession,
    selection: Selection,
    other: Any,
    ids: tuple[int, int | None],
    *,
    side: Side,
    creates: bool,
    analyzes: bool,
) -> Survey:
    """Return what a check shows, for a copy of the ids `[min_id, max_id)`.

    Nothing is changed, and no one's lock is waited for long.
    """
    findings = [*_server(session)]
    table = find_table(session, selection)
    first, past_last = ids
    last = None if past_last is None else past_last - 1
    found: Survey = {}
    if table is None:
        made = _creation(session, selection, other) if creates else None
        if made is not None:
            findings += made
            direct = ("direct", "the table is created, and has no rows")
            methods = {"new": direct, "known": direct}
            found = {"creates": True, "has_rows": False, "methods": methods}
    elif table.key is not None and table.key.is_integer:
        findings += _rights(session, table, side)
        findings.append(_kind(session, table))
        findings += _key(table, side)
        findings += _locks_of_others(session, table, side)
        until = BIGGEST if last is None else last
        if side == "target":
            findings += _other_copies(session, table)
            findings += _target(session, table, last)
            if analyzes:
                lacking = not_analyzed(session, table)
                findings.append(lacking or _ok("analyze", "after the last batch"))
            found["has_rows"] = estimate.has_rows(session, table, first, until)
            found["methods"] = _methods(table)
        else:
            found = _source(session, table, other, first, until)
    found["findings"] = findings
    return found


def _source(session: ServerSession, table: Table, other: Any, first: int, last: int) -> Survey:
    names = [column.name for column, _ in differing(table, other)]
    table = for_other(session, table, other, side="source")
    form, reason = _format(table, names)
    found: Survey = {"format": form, "format_reason": reason}
    if _may_read(session, table):
        found["row_bytes"] = estimate.row_bytes_of(session, table, form, first, last)
        found["rows"] = estimate.rows_of(session, table, first, last)
    return found


def _ok(what: str, message: str) -> Finding:
    return Finding(what=what, mark="ok", message=message)


def _server(session: ServerSession) -> Iterator[Finding]:
    """Say where the session is."""
    ((version, standby, role, pid),) = session.ask_catalogs(
        "SELECT split_part(current_setting('server_version'), ' ', 1), pg_is_in_recovery(),"
        " current_user::text, pg_backend_pid()",
    )
    info = session.info
    pooler = ""
    if pid != info.backend_pid:
        pooler = ", through a connection pooler that is said to be in session mode"
    yield _ok("connect", f"{info.dbname} at {info.host}:{info.port} as {role}{pooler}")
    yield _ok("encryption", _encryption(session))
    yield _ok("server", f"PostgreSQL {version}{', a standby' if standby else ''}")


def _encryption(session: ServerSession) -> str:
    """Return how the session is encrypted, as this end of it knows; the cipher is the server's."""
    pgconn = session.connection.pgconn
    if session.info.host.startswith(("/", "@")):
        return "none: a Unix socket of this machine"
    if pgconn.used_gssapi and not pgconn.ssl_in_use:
        ((encrypted,),) = session.ask_catalogs(
            "SELECT coalesce(bool_or(encrypted), false) FROM pg_stat_gssapi"
            " WHERE pid = pg_backend_pid()"
        )
        return "GSSAPI" if encrypted else "none: GSSAPI for the log-in alone"
    if not pgconn.ssl_in_use:
        return "none: all goes over the network as it is (sslmode=verify-full asks for TLS)"
    rows = session.ask_catalogs(
        "SELECT version, cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl"
    )
    # a pooler's connection to the server has settings of its own
    return ", ".join(rows[0]) if rows else "TLS, as far as the connection pooler"


def _rights(session: ServerSession, table: Table, side: Side) -> list[Finding]:
    """Say that the role has the rights it needs, or which it lacks."""
    missing: list[Finding]
    (missing,) = ask(session.query_all, missing_rights(table, written=side == "target"))
    if missing:
        return missing
    if side == "source":
        return [_ok("rights", "SELECT")]
    also = ", DELETE" if table.unique_index is None else ""
    return [_ok("rights", f"SELECT, INSERT, UPDATE{also}; TEMP on the database")]


def _kind(session: ServerSession, table: Table) -> Finding:
    """Say what the table is, and how big."""
    ((partitions,),) = session.ask_catalogs(
        f"SELECT count(*) FROM pg_partition_tree({table.oid}) WHERE isleaf AND level > 0",
    )
    parts = [table.sql]
    if table.kind == "p":
        parts.append(f"{partitions} partition{'' if partitions == 1 else 's'}")
    elif table.kind in NO_TABLES:
        parts.append(NO_TABLES[table.kind])
    size = estimate.size_of(session, table) if table.kind in "rpm" else None
    if size is not None:
        parts.append(f"{size / 1_000_000:,.1f} MB" if size else "empty")
    return _ok("table", ", ".join(parts))


def _key(table: Table, side: Side) -> Iterator[Finding]:
    """Say what the key is; what is wrong with it, `describe` has said."""
    name = f"{table.key_sql} {table.keyed.type}"
    if table.unique_index is not None:
        yield _ok("key", f"{name}, unique index {quoted(table.unique_index)}")
    elif side == "source" and table.ordered_index:
        yield _ok("key", f"{name}, with an index")
    elif side == "source" and table.kind in "vf":
        yield _ok("key", name)


def _locks_of_others(session: ServerSession, table: Table, side: Side) -> Iterator[Finding]:
    """Name the sessions that would keep a copy waiting if it began now."""
    query = (
        "SELECT l.pid, a.application_name, min(l.mode) FROM pg_locks l"
        " LEFT JOIN pg_stat_activity a USING (pid) WHERE l.granted"
        f" AND l.relation IN ({with_partitions(table)}) AND l.database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())"
        f" AND {keeps_waiting('l.mode', writes=side == 'target')}"
        " AND l.pid IS DISTINCT FROM pg_backend_pid() GROUP BY 1, 2 ORDER BY 1"
    )
    try:
        locks = session.ask_catalogs(query)
    except psycopg.errors.InsufficientPrivilege as error:
        yield warning(
            "the role may not see who has locked the table, and whether a copy would wait for it"
            f" ({error.diag.message_primary})",
            what="locks",
        )
        return
    for pid, name, mode in locks:
        who = f"the server session {pid}{f' ({name})' if name else ''}"
        yield warning(
            f"{'a prepared transaction' if pid is None else who} has locked {table.sql} ({mode}):"
            " a copy would wait for it",
            _end_of(pid),
            what="locks",
        )


def _end_of(pid: int | None) -> str:
    """Return what to do about a session that is in the way; None for a prepared transaction."""
    return "wait for its end" + (f", or run SELECT pg_terminate_backend({pid});" if pid else "")


def _format(table: Table, differing_names: list[str]) -> tuple[CopyFormat, str]:
    """Return how the rows go, and why; and at which values the copy would end."""
    form: CopyFormat = "binary" if table.portable else "text"
    if table.portable:
        reason = "every column has the same binary form on both sides"
    elif differing_names:
        names = ", ".join(quoted(name) for name in differing_names)
        reason = f"the two sides have different types of {names}"
    else:
        odd = [c for c in table.columns if not c.shape.portable] or [
            c for c in table.columns if c.shape.versioned
        ]
        names = ", ".join(f"{quoted(column.name)} ({column.type})" for column in odd)
        reason = f"the binary form of {names} may differ on the other side"
    refused = [column.odd.what for column in table.columns if column.odd is not None]
    return (
        form,
        f"{reason}; the copy would end at {'; or at '.join(refused)}" if refused else reason,
    )


def _may_read(session: ServerSession, table: Table) -> bool:
    """Return whether the condition may stand in a query; `describe` says what is wrong with it."""
    try:
        check_where(session, table)
    except PostgresError:
        return False
    return not table.misnamed


def _methods(table: Table) -> dict[str, tuple[str, str]]:
    """Return how the target saves a batch, and why: see `Survey.methods`."""
    if table.unique_index is not None:
        known = (
            "upsert",
            "the target already has some of these ids; only changed rows are written",
        )
    else:
        known = (
            "replace",
            "the target already has rows, and no unique index on the key to update them by",
        )
    if not table.takes_direct:
        why = "values hold names (reg* types), which are read before a trigger fires"
        if table.before_triggers:
            why = "a BEFORE trigger may drop rows, which no other way would notice"
        return {"new": (known[0], why), "known": (known[0], why)}
    return {"new": ("direct", "the target has none of these ids"), "known": known}


def _other_copies(session: ServerSession, table: Table) -> Iterator[Finding]:
    """Say that another run holds the table; which one, if the role may see it."""
    held_by = [*held(session.query, table.oid)]
    if not held_by:
        yield _ok("lock", "no other run holds the table")
    for error in held_by:
        yield replace(problem(str(error), error.remedy, what="lock"), cause="busy")


def _target(session: ServerSession, table: Table, last: int | None) -> Iterator[Finding]:
    """Say what may stand in the way of rows that are saved, up to this id."""
    yield from _surroundings(session, table)
    (sequences,) = ask(session.query_all, find_key_sequences(table))
    if not sequences:
        yield _ok("sequence", "none is behind the key")
    for sequence in sequences:
        yield sequence.why_left(last) or _sequence(session, sequence)


def _surroundings(session: ServerSession, table: Table) -> Iterator[Finding]:
    """Return what there is of the other unique indexes, the triggers and the foreign keys."""
    ((unique, are_there, references),) = session.ask_catalogs(
        "SELECT (SELECT coalesce(json_agg(ic.relname ORDER BY ic.relname), '[]')"
        " FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid"
        f" WHERE i.indrelid = {table.oid} AND (i.indisunique OR i.indisexclusion)"
        f" AND NOT (i.indnkeyatts = 1 AND i.indkey[0] = {table.keyed.number}"
        " AND i.indpred IS NULL)),"
        f" EXISTS (SELECT FROM pg_trigger WHERE NOT tgisinternal AND {fires('tgenabled')}"
        f" AND tgrelid IN ({with_partitions(table)})),"
        f" ({_REFERENCES.format(oid=table.oid, tables=with_partitions(table))})",
    )
    names = ", ".join(quoted(name) for name in unique)
    other = f"a row must also fit {names}" if names else "none but the key's could refuse a row"
    yield _ok("indexes", other)
    if not are_there:
        yield _ok("triggers", "none fires for the copied rows")
    if not references:
        yield _ok("foreign keys", "none asks for rows of other tables")
    for name, of, referenced, definition in references:
        asks = f"a row of {referenced} for each copied row"
        if of == referenced:
            asks = "rows of the table itself: one that refers to a row of a later batch is refused"
        yield warning(
            f"the foreign key {name} of {of} asks for {asks}",
            with_parents(referenced, of, name, definition),
            what="foreign keys",
        )


_REFERENCES = """
WITH keys AS (
    SELECT k.*, confrelid IN ({tables} UNION SELECT relid FROM pg_partition_ancestors({oid}))
        AS is_own
    FROM pg_constraint k WHERE contype = 'f' AND conrelid IN ({tables})
    AND coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true)  -- since 18
)
SELECT coalesce(json_agg(json_build_array(
    quote_ident(conname), conrelid::regclass::text,
    (CASE WHEN is_own THEN conrelid ELSE confrelid END)::regclass::text,
    pg_get_constraintdef(oid)) ORDER BY conname, conrelid), '[]')
FROM keys WHERE conparentid NOT IN (SELECT oid FROM keys)
"""


def _sequence(session: ServerSession, sequence: KeySequence) -> Finding:
    """Say where the sequence is, or that the role may not set it."""
    ((role, may_set, at),) = session.ask_catalogs(
        "SELECT current_user::text,"
        " has_sequence_privilege(oid, 'SELECT') AND has_sequence_privilege(oid, 'UPDATE'),"
        " CASE WHEN has_sequence_privilege(oid, 'SELECT') THEN pg_sequence_last_value(oid) END"
        f" FROM pg_class WHERE oid = {sequence.oid}",
    )
    if not may_set:
        return warning(
            f"the role {role} may not set the sequence {sequence.sql} past the copied ids",
            f"GRANT SELECT, UPDATE ON SEQUENCE {sequence.sql} TO {quoted(role)};",
            what="sequence",
        )
    return _ok("sequence", f"{sequence.sql}, {'not used yet' if at is None else f'at {at}'}")


def _creation(session: ServerSession, selection: Selection, source: Any) -> list[Finding] | None:
    """Say how `create` would create a table like the source table; None if it could not."""
    if source is None or (isinstance(source, TableDescription) and source.problems):
        return [_ok("create", "would be created like the source table, once that is in order")]
    planned = create.plan(session, selection, source)
    if planned is None:
        return None
    if problems := create.foreseen(session, planned):
        return problems
    return [_ok("create", f"would be created: {planned.shown}"), *planned.warnings]
