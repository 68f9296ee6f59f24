# ruff: noqa: S608 - SQL is what this file writes; names and patterns are literals
"""Tables by name and by pattern, as psql's commands find them; and what refers to what."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from pipecopy.contracts import ForeignKey, ListedTable
from pipecopy.postgres.errors import INVALID_PARAMETER_VALUE, PostgresError
from pipecopy.postgres.names import CATALOG_PATH, literal, quoted, table_oid
from pipecopy.postgres.session import ServerSession

_PART = re.compile(r'"(?:[^"]|"")*"?|.', re.DOTALL)
_SPECIAL = frozenset("|*+?()[]{}.^$\\")
_FOLDED = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_VISIBLE = "pipecopy.visible"
_KEY = """(
    SELECT format('%I', a.attname) FROM pg_index i
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    JOIN pg_type t ON t.oid = a.atttypid
    WHERE i.indrelid = c.oid AND i.indnkeyatts = 1 AND i.indisunique AND i.indisvalid
    AND i.indimmediate AND i.indpred IS NULL AND a.attnotnull
    AND coalesce(nullif(t.typbasetype, 0), t.oid) IN (20, 21, 23)
    ORDER BY i.indisprimary DESC, a.attname = 'id' DESC, a.attnum LIMIT 1)"""
"""SQL for the column by which a table is copied: int8, int2 or int4, or a domain over one."""
_BYTES = """CASE WHEN c.relkind = 'p'
    THEN (SELECT sum(pg_table_size(relid))::bigint FROM pg_partition_tree(c.oid))
    WHEN c.relkind IN ('r', 'm') THEN pg_table_size(c.oid) END"""
_FOUND = f"format('%I.%I', n.nspname, c.relname), {_KEY}, {_BYTES}"
_OF_EXTENSION = """EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass
    AND objid = c.oid AND deptype = 'e')"""


def find_tables(
    session: ServerSession, patterns: Sequence[str], names: Sequence[str], ledger: str
) -> list[list[ListedTable]]:
    """Return the tables that each pattern means, and then each name; see contracts.py.

    A pattern means no `ledger`: the database may be the target of other runs.
    """
    wanted = [f"({number}, {_regexes(one)})" for number, one in enumerate(patterns)]
    named = [f"({table_oid(name)})" for name in names]
    oids = f"ARRAY[{', '.join(named)}]::pg_catalog.oid[]"
    *_, rows = session.query_all(
        f"SELECT {_set(_VISIBLE, _visible())}, {_set('pipecopy.named', oids)};"
        f" {CATALOG_PATH}SELECT number, {_FOUND} FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace JOIN ("
        "SELECT c.oid, number FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        f" JOIN (VALUES {', '.join(wanted) or '(NULL::integer, NULL, NULL)'})"
        " AS wanted (number, of_schema, of_table)"
        " ON c.relname ~ (of_table COLLATE pg_catalog.default) AND CASE WHEN of_schema IS NULL"
        f" THEN c.oid = ANY (current_setting('{_VISIBLE}')::oid[])"
        " ELSE n.nspname ~ (of_schema COLLATE pg_catalog.default) END"
        " WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND nspname !~ '^pg_'"
        " AND nspname <> 'information_schema'"
        " AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid)"
        f" AND NOT {_OF_EXTENSION} AND relname <> {literal(ledger)}"
        f" UNION ALL SELECT oid, {len(patterns)} + (number - 1)::integer"
        " FROM unnest(current_setting('pipecopy.named')::oid[]) WITH ORDINALITY"
        " AS named (oid, number)"
        ") AS found (oid, number) ON found.oid = c.oid ORDER BY 1, 2"
    )
    found: list[list[ListedTable]] = [[] for _ in (*patterns, *names)]
    for number, name, key, size in rows:
        found[number].append(ListedTable(name=name, key=key, bytes=size))
    return found


def foreign_keys(session: ServerSession, names: Sequence[str]) -> list[ForeignKey]:
    """Return those that are enforced between these tables, which are named as the server does."""
    oids = ", ".join(f"to_regclass({literal(name)})" for name in names)
    rows = session.ask_catalogs(
        f"WITH these (oid) AS (SELECT unnest(ARRAY[{oids}]::oid[]))"
        " SELECT format('%I', conname), ARRAY[n.nspname, c.relname]::text[],"
        " ARRAY[of.nspname, r.relname]::text[]"
        " FROM pg_constraint"
        " JOIN pg_class c ON c.oid = conrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_class r ON r.oid = confrelid JOIN pg_namespace of ON of.oid = r.relnamespace"
        " WHERE contype = 'f' AND conrelid IN (SELECT oid FROM these)"
        " AND confrelid IN (SELECT oid FROM these)"
        " AND coalesce((to_jsonb(pg_constraint) ->> 'conenforced')::boolean, true)"
        " AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgconstraint = pg_constraint.oid"
        " AND tgrelid = conrelid AND tgenabled = 'D') ORDER BY 2, 1"
    )
    return [
        ForeignKey(name=name, table=quoted(*here), refers_to=quoted(*there))
        for name, here, there in rows
    ]


def _set(name: str, value: str) -> str:
    return f"pg_catalog.set_config('{name}', ({value})::pg_catalog.text, true)"


def _visible() -> str:
    """Return SQL for the tables that the role finds without their schemas."""
    return (
        "SELECT coalesce(pg_catalog.array_agg(c.oid), ARRAY[]::pg_catalog.oid[])"
        " FROM pg_catalog.pg_class AS c WHERE c.relkind OPERATOR(pg_catalog.=)"
        """ ANY ('{r,p}'::pg_catalog."char"[]) AND pg_catalog.pg_table_is_visible(c.oid)"""
    )


def _regexes(pattern: str) -> str:
    """Return SQL for the regular expressions of the schema, NULL for none, and of the table.

    As psql has it: unquoted letters in lower case, `*` for any characters and `?` for one, what
    is in double quotes as it stands; all else is a regular expression.
    """
    parts = [""]
    for match in _PART.finditer(pattern):
        piece = match[0]
        if piece.startswith('"'):
            inside = piece[1:].removesuffix('"').replace('""', '"')
            parts[-1] += "".join(f"\\{one}" if one in _SPECIAL else one for one in inside)
        elif piece == ".":
            parts.append("")
        else:
            meant = {"*": ".*", "?": ".", "$": "\\$"}
            parts[-1] += meant.get(piece, piece.translate(_FOLDED))
    if len(parts) > 2 or not all(parts):  # noqa: PLR2004 - a schema and a table
        raise PostgresError(
            f"{pattern} is not a pattern such as orders_* or public.*", INVALID_PARAMETER_VALUE
        )
    schema, table = parts if len(parts) > 1 else (None, parts[0])
    of_schema = "NULL" if schema is None else literal(f"^({schema})$")
    return f"{of_schema}, {literal(f'^({table})$')}"
