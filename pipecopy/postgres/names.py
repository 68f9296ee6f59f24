# ruff: noqa: S608 - SQL is what this file writes; names are quoted
"""Names as people write them, and as SQL wants them."""

from __future__ import annotations

import re
import string

_PART = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')
_PLAIN = re.compile(r"[^\W\d][\w$]*")  # what may stand unquoted, letters of any script included
_FOLDED = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def quoted(*parts: str) -> str:
    """Return an identifier, qualified or not, that SQL reads as exactly these parts."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def literal(text: str) -> str:
    """Return a string constant that SQL reads as exactly this text."""
    doubled = text.replace("'", "''")
    if "\\" in text:
        return " E'" + doubled.replace("\\", "\\\\") + "'"
    return f"'{doubled}'"


def readings(name: str) -> list[tuple[str, ...]]:
    """Return what a name may mean, the likeliest first, as `(table,)` or `(schema, table)`.

    By psql's rules first: `schema.table`, unquoted parts in lower case. Then as it stands, so that
    `MyTable` and `my.table` need no quotes where no other table fits.
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


def all_tables(name: str) -> str:
    """Return SQL for the names of all tables that the name may mean."""
    return (
        f"SELECT DISTINCT oid::regclass::text FROM unnest(ARRAY[{', '.join(_oids(name))}]) AS oid"
        " WHERE oid IS NOT NULL ORDER BY 1"
    )


def _oids(name: str) -> list[str]:
    """Return SQL for the oid by each of the name's readings, NULL for none."""
    found = []
    for parts in readings(name):
        if len(parts) == 1:  # by the search path
            found.append(f"to_regclass({literal(quoted(*parts))})::oid")
        else:  # by the catalog: to_regclass raises an error without the right to the schema
            schema, table = parts
            found.append(
                "(SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                f" WHERE nspname = {literal(schema)} AND relname = {literal(table)}"
                " AND relkind IN ('r', 'p', 'v', 'm', 'f'))"
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
