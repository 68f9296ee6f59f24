# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""ANALYZE of the target table after a copy: the planner's statistics are of its new rows too."""

from __future__ import annotations

from pipecopy.finding import Finding, warning
from pipecopy.postgres.names import quoted
from pipecopy.postgres.session import ServerSession
from pipecopy.postgres.table import NO_TABLES, Table, with_partitions

_HAS_MAINTAIN = 170000


def analyze(session: ServerSession, table: Table) -> str | None:
    """Analyze the table and its partitions; return a warning if that can't be done, or in part.

    Time-outs and broken connections are raised.
    """
    found = not_analyzed(session, table)
    said = session.run_alone(f"ANALYZE {table.sql}")
    # the server skips what the role may not analyze, with a warning of its own
    return str(found) if found is not None else "; ".join(said) or None


def not_analyzed(session: ServerSession, table: Table) -> Finding | None:
    """Return a warning of what the server would leave out: it skips it, and goes on."""
    if table.kind == "v":
        return warning(
            f"{table.sql} is {NO_TABLES[table.kind]} and has no statistics",
            "analyze its tables",
            what="analyze",
        )
    by_grant = session.info.server_version >= _HAS_MAINTAIN
    may = (
        "has_table_privilege(c.oid, 'MAINTAIN')" if by_grant else "pg_has_role(c.relowner, 'USAGE')"
    )
    rows = session.ask_catalogs(
        "SELECT format('%I.%I', n.nspname, c.relname), current_user::text,"
        " pg_get_userbyid(c.relowner)::text FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_database d ON d.datname = current_database()"
        f" WHERE c.oid IN ({with_partitions(table)})"
        f" AND NOT ({may} OR pg_has_role(d.datdba, 'USAGE')) ORDER BY 1"
    )
    if not rows:
        return None
    names = ", ".join(name for name, _, _ in rows)
    _, role, owner = rows[0]
    return warning(
        f"the role {role} may not analyze {names}",
        f"GRANT MAINTAIN ON {names} TO {quoted(role)};"
        if by_grant
        else f"have the owner, {owner}, run ANALYZE {names};",
        what="analyze",
    )
