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
