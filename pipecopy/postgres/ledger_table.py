# ruff: noqa: S608 - SQL is what this file writes; names are quoted
"""The table that is the ledger: its columns, how it is made, and what a role needs for that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg

from pipecopy.finding import Finding, problem
from pipecopy.postgres.errors import INSUFFICIENT_PRIVILEGE, WRONG_OBJECT_TYPE, PostgresError
from pipecopy.postgres.names import CATALOG_PATH, literal, quoted, readings
from pipecopy.postgres.session import ServerSession

DEFAULT_LEDGER = "pipecopy_shards"
_SCHEMA = "public"
"""Of a name without one: by the search path it could mean another table on each host."""
COLUMNS = {
    "run": "text",
    "table": "text",
    "shard": "integer",
    "first": "bigint",
    "last": "bigint",
    "next_id": "numeric(19,0)",  # past the greatest bigint
    "attempt": "integer",
    "rows": "bigint",
    "state": "text",
    "host": "text",
    "updated": "timestamp with time zone",
    "error": "text",
    "claim": "text",
    "plan": "jsonb",
}
"""With their types, as the server writes them. `claim` is the token of the attempt, since a
failover that loses commits may give the same number out again."""
_MADE_MEANWHILE = (
    psycopg.errors.DuplicateTable,
    psycopg.errors.DuplicateObject,
    psycopg.errors.UniqueViolation,
)
"""What strikes if another run makes it at the same moment."""
_MOST_TRIES = 5
_NULLABLE = ("host", "error", "claim", "plan")
_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True)
class LedgerTable:
    """What a server says of the ledger."""

    name: str
    """As the server writes it."""
    schema: str
    role: str
    has_schema: bool
    may_use: bool
    """The schema."""
    may_create: bool
    """In the schema."""
    kind: str | None
    """None: there is none of that name."""
    columns: Mapping[str, str]
    rights: Sequence[str]
    """That the role has to it."""

    @property
    def exists(self) -> bool:
        return self.kind is not None

    def problems(self) -> list[Finding]:
        """Return what keeps the role from keeping a ledger there, with the SQL for a DBA."""
        if self.exists:
            wrong = [name for name, type_ in COLUMNS.items() if self.columns.get(name) != type_]
            if self.kind not in ("r", "p") or wrong:
                lacks = f": it has no column {wrong[0]} {COLUMNS[wrong[0]]}" if wrong else ""
                return [_of_ledger(f"{self.name} is no ledger of pipecopy{lacks}", _ANOTHER)]
            missing = [right for right in _RIGHTS if right not in self.rights]
            if missing or not self.may_use:
                lacking = ", ".join([*([] if self.may_use else ["USAGE of its schema"]), *missing])
                what = f"the role {self.role} lacks rights to the ledger {self.name}: {lacking}"
                return [_of_ledger(what, " ".join(self._grants()))]
        elif not (self.has_schema and self.may_use and self.may_create):
            schema = [] if self.has_schema else [f"CREATE SCHEMA {quoted(self.schema)};"]
            why = "" if self.has_schema else f": there is no schema {self.schema}"
            what = f"the role {self.role} may not create the ledger {self.name}{why}"
            sql = [*schema, f"{create_sql(self.name)};", *self._grants()]
            return [_of_ledger(what, " ".join(sql))]
        return []

    def _grants(self) -> list[str]:
        to = f"TO {quoted(self.role)};"
        usage = [] if self.may_use else [f"GRANT USAGE ON SCHEMA {quoted(self.schema)} {to}"]
        return [*usage, f"GRANT {', '.join(_RIGHTS)} ON {self.name} {to}"]


_ANOTHER = "name another one (`ledger`)"


def _of_ledger(message: str, remedy: str) -> Finding:
    return problem(message, remedy, what="ledger")


def ledger_sql(name: str) -> str:
    """Return the name of the ledger as SQL reads it, the same under every search path."""
    *schema, table = readings(name)[0]
    return quoted(schema[0] if schema else _SCHEMA, table)


def create_sql(name: str) -> str:
    """Return SQL that makes the ledger, for the path of the catalogs; the name is SQL."""
    columns = ", ".join(
        f'"{column}" {type_}{"" if column in _NULLABLE else " NOT NULL"}'
        for column, type_ in COLUMNS.items()
    )
    # each save changes a row: there is room for its next version beside it
    return f'CREATE TABLE {name} ({columns}, PRIMARY KEY ("run", "shard")) WITH (fillfactor = 50)'


def look(session: ServerSession, name: str) -> LedgerTable:
    """Return what the server says of the ledger of that name."""
    *schema, table = readings(name)[0]
    rights = ", ".join(
        f"CASE WHEN has_table_privilege(c.oid, '{right}') THEN '{right}' END" for right in _RIGHTS
    )
    named = literal(schema[0] if schema else _SCHEMA)
    ((name, role, has_schema, may_use, may_create, kind, columns, has),) = session.ask_catalogs(
        f"SELECT format('%I.%I', {named}::text, {literal(table)}::text), current_user::text,"
        " n.oid IS NOT NULL, coalesce(has_schema_privilege(n.oid, 'USAGE'), false),"
        " coalesce(has_schema_privilege(n.oid, 'CREATE'), false), c.relkind::text,"
        " (SELECT json_object_agg(attname, format_type(atttypid, atttypmod)) FROM pg_attribute"
        f" WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped), ARRAY[{rights}]"
        f" FROM (SELECT) AS here LEFT JOIN pg_namespace n ON n.nspname = {named}"
        f" LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = {literal(table)}"
    )
    return LedgerTable(
        name=name,
        schema=schema[0] if schema else _SCHEMA,
        role=role,
        has_schema=has_schema,
        may_use=may_use,
        may_create=may_create,
        kind=kind,
        columns=columns or {},
        rights=[right for right in has if right],
    )


def ledger_findings(session: ServerSession, name: str) -> list[Finding]:
    """Return what keeps a sharded run from keeping its ledger there."""
    return look(session, name).problems()


def refuse_bad_ledger(session: ServerSession, name: str) -> LedgerTable:
    """Return what the server says of the ledger; raise PostgresError if that keeps none."""
    found = look(session, name)
    for each in found.problems():
        state = INSUFFICIENT_PRIVILEGE if each.remedy != _ANOTHER else WRONG_OBJECT_TYPE
        raise PostgresError(each.message, state, each.remedy)
    return found


def make_ledger(session: ServerSession, name: str) -> None:
    """Make the ledger if there is none. Raises PostgresError if the role may not."""
    tries = 0
    while not refuse_bad_ledger(session, name).exists:
        try:
            session.query(f"{CATALOG_PATH}{create_sql(ledger_sql(name))}")
        except _MADE_MEANWHILE:
            tries += 1
            if tries == _MOST_TRIES:  # a type has the name, perhaps
                raise
