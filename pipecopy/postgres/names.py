# ruff: noqa: S608 - SQL is what this file writes; names are quoted
"""Names as people write them, and as SQL wants them."""

from __future__ import annotations

import re
import string

CATALOG_PATH = "SET LOCAL search_path TO pg_catalog, pg_temp; "
"""Begins a query string that looks at the catalogs alone: each name after it is the server's own.

The string is one transaction, in which each statement is parsed after those before it have run: it
takes no further round trip, and the next query has the role's own path again. If that path has
to stay in force (for the user's table, condition, triggers), every function, operator, relation,
type and collation is written with its schema. `IN`, `BETWEEN`, `LIKE`, `NULLIF`, `USING`,
`IS DISTINCT FROM` and `CASE x WHEN` can't be: they look their operators up by the path.
"""

_PART = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')
_PLAIN = re.compile(r"[^\W\d][\w$]*")  # what may stand unquoted, letters of any script included
_FOLDED = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def quoted(*parts: str) -> str:
    """Return an identifier, qualified or not, that SQL reads as exactly these parts."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def literal(text: str) -> str:
    """Return a string constant that SQL reads as exactly this text.

    What psycopg.sql makes without a connection depends on settings of the last one that there was.
    """
    doubled = text.replace("'", "''")
    if "\\" in text:
        return " E'" + doubled.replace("\\", "\\\\") + "'"
    return f"'{doubled}'"


def readings(name: str) -> list[tuple[str, ...]]:
    """Return what a name may mean, the likeliest first, as `(table,)` or `(schema, table)`.

    By psql's rules first: `schema.table`, unquoted parts in lower case. Then as it stands, so that
    `MyTable` and `my.table` need no quotes if no other table fits.
    """
    found: list[tuple[str, ...]] = []
    parts = _split(name)
    if 1 <= len(parts) <= 2:  # noqa: PLR2004 - a table, or a schema and a table
        folded = tuple(
            part.translate(_FOLDED) if _PLAIN.fullmatch(part) and not was_quoted else part
            for part, was_quoted in parts
        )
        found += [folded, tuple(part for part, _ in parts)]
    found.append((name,))
    return list(dict.fromkeys(found))


def table_oid(name: str) -> str:
    """Return SQL for the oid of the first table that the name may mean, NULL for none."""
    return f"SELECT coalesce({', '.join(_oids(name))})"


def about_table(name: str, query: str) -> str:
    """Return SQL that runs a query of the catalogs about the table that the name means.

    The role's search path finds the table; what is asked about it must not depend on the path. The
    query finds the table's oid, or nothing, in the setting `pipecopy.oid`.
    """
    return (
        "SELECT pg_catalog.set_config('pipecopy.oid',"
        f" coalesce(({table_oid(name)})::pg_catalog.text, ''), true); {CATALOG_PATH}{query}"
    )


def all_tables(name: str) -> str:
    """Return SQL for the names of all tables that the name may mean."""
    return (
        "SELECT DISTINCT pg_catalog.format('%I.%I', n.nspname, c.relname)"
        f" FROM pg_catalog.unnest(ARRAY[{', '.join(_oids(name))}]) AS meant (oid)"
        " JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) meant.oid"
        " JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
        " ORDER BY 1"
    )


def _oids(name: str) -> list[str]:
    """Return SQL for the oid by each of the name's readings, NULL for none."""
    found = []
    for parts in readings(name):
        if len(parts) == 1:  # by the search path
            found.append(f"pg_catalog.to_regclass({literal(quoted(*parts))})::pg_catalog.oid")
        else:  # by the catalog: to_regclass raises an error without the right to the schema
            schema, table = parts
            found.append(
                "(SELECT c.oid FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n"
                " ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
                f" WHERE n.nspname OPERATOR(pg_catalog.=) {literal(schema)}"
                f" AND c.relname OPERATOR(pg_catalog.=) {literal(table)} AND c.relkind"
                """ OPERATOR(pg_catalog.=) ANY ('{r,p,v,m,f}'::pg_catalog."char"[]))"""
            )
    return found


def _split(name: str) -> list[tuple[str, bool]]:
    parts: list[tuple[str, bool]] = []
    position = 0
    while match := _PART.match(name, position):
        inside, bare = match.groups()
        parts.append((inside.replace('""', '"'), True) if inside else (bare, False))
        position = match.end()
        if position == len(name):
            return parts
        if name[position] != ".":
            return []
        position += 1
    return []
