# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""What a check shows of either side: the server, the rights, the table, who has locked it."""

from __future__ import annotations

from collections.abc import Iterator

from pipecopy.contracts import HELP, Finding, Side
from pipecopy.postgres import estimate
from pipecopy.postgres.connection import Line
from pipecopy.postgres.describe import missing_rights
from pipecopy.postgres.names import literal, quoted
from pipecopy.postgres.table import NO_TABLES, Table, ask_catalogs, with_partitions
from pipecopy.report import Cause, Mark


def finding(what: str, message: str, mark: Mark = "ok", remedy: str | None = None) -> Finding:
    return {"what": what, "mark": mark, "message": message, "remedy": remedy}


def told(what: str, sentence: str, mark: Mark = "problem", cause: Cause = "unfit") -> Finding:
    """Return the finding for a sentence, with what helps apart from it."""
    message, _, remedy = sentence.partition(HELP)
    return {**finding(what, message, mark, remedy or None), "cause": cause}


def server(line: Line, side: Side) -> Iterator[Finding]:
    """Say where the session is, and whether it may write there."""
    ((version, standby, read_only, role, pid),) = ask_catalogs(
        line,
        "SELECT split_part(current_setting('server_version'), ' ', 1), pg_is_in_recovery(),"
        # what a session has that does not set it, as this one does
        " (SELECT reset_val = 'on' FROM pg_settings WHERE name = 'default_transaction_read_only'),"
        " current_user::text, pg_backend_pid()",
    )
    info = line.info
    pooler = ""
    if pid != info.backend_pid:
        pooler = ", through a connection pooler that is said to be in session mode"
    yield finding("connect", f"{info.dbname} at {info.host}:{info.port} as {role}{pooler}")
    yield finding("server", f"PostgreSQL {version}{', a standby' if standby else ''}")
    if side == "target" and standby:
        yield finding(
            "standby",
            "The target is a standby, which takes no writes.",
            "problem",
            "Name the primary; of several hosts, target_session_attrs=read-write finds it.",
        )
    elif side == "target" and read_only:
        yield finding(
            "read-only",
            f"All transactions of the role {role} are read-only (default_transaction_read_only).",
            "problem",
            f"ALTER ROLE {quoted(role)} IN DATABASE {quoted(info.dbname)}"
            " SET default_transaction_read_only = off;",
        )


def rights(line: Line, table: Table, side: Side) -> list[Finding]:
    """Say that the role has the rights it needs, or which it lacks."""
    missing = missing_rights(line, table, written=side == "target")
    if missing:
        return [told("rights", sentence) for sentence in missing]
    if side == "source":
        return [finding("rights", "SELECT")]
    also = ", DELETE" if table.unique_index is None else ""
    return [finding("rights", f"SELECT, INSERT, UPDATE{also}; TEMP on the database")]


def kind(line: Line, table: Table) -> Finding:
    """Say what the table is, and how big."""
    ((partitions,),) = ask_catalogs(
        line,
        f"SELECT count(*) FROM pg_partition_tree({table.oid}) WHERE isleaf AND level > 0",
    )
    parts = [table.sql]
    if table.kind == "p":
        parts.append(f"{partitions} partition{'' if partitions == 1 else 's'}")
    elif table.kind in NO_TABLES:
        parts.append(NO_TABLES[table.kind])
    size = estimate.size_of(line, table) if table.kind in "rpm" else None
    if size is not None:
        parts.append(f"{size / 1_000_000:,.1f} MB" if size else "empty")
    return finding("table", ", ".join(parts))


def key(table: Table, side: Side) -> Iterator[Finding]:
    """Say what the key is; what is wrong with it, `describe` has said."""
    name = f"{table.key_sql} {table.keyed.type}"
    if table.unique_index is not None:
        yield finding("key", f"{name}, unique index {quoted(table.unique_index)}")
    elif side == "source" and table.ordered_index:
        yield finding("key", f"{name}, with an index")
    elif side == "source" and table.kind in "vf":
        yield finding("key", name)


def others_locks(line: Line, table: Table, side: Side) -> list[Finding]:
    """Name the sessions that would keep a copy waiting if it began now."""
    modes = ["AccessExclusiveLock"]
    if side == "target":
        modes += ["ExclusiveLock", "ShareRowExclusiveLock", "ShareLock"]
    return [
        finding(
            "locks",
            f"The server session {pid}{f' ({name})' if name else ''} has locked {table.sql}"
            f" ({mode}): a copy would wait for it.",
            "warning",
            f"Wait for its end, or: SELECT pg_terminate_backend({pid});",
        )
        for pid, name, mode in ask_catalogs(
            line,
            "SELECT l.pid, a.application_name, min(l.mode) FROM pg_locks l"
            " LEFT JOIN pg_stat_activity a USING (pid) WHERE l.granted"
            f" AND l.relation IN ({with_partitions(table)}) AND l.database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())"
            f" AND l.mode IN ({', '.join(literal(mode) for mode in modes)})"
            " AND l.pid <> pg_backend_pid() GROUP BY 1, 2 ORDER BY 1",
        )
    ]
