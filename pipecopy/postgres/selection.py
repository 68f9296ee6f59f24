# ruff: noqa: S608 - SQL is what this file writes; names are quoted
"""What of a table is copied, as the user names it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pipecopy.finding import did_you_mean
from pipecopy.postgres.names import CATALOG_PATH, literal, quoted, readings
from pipecopy.postgres.questions import Question

_MOST_COMPARED = 2000
_MOST_SIMILAR = 3


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What of one side's database is read or written, as the user names it."""

    table: str
    key: str = "id"
    columns: tuple[str, ...] | None = None
    """The columns that are copied; None for all."""
    exclude: tuple[str, ...] = ()
    """Columns that are not; no name may be in both."""
    where: str | None = None
    """A condition in SQL that the rows meet which are read; rows are written whatever it says."""


def column_named(name: str, columns: Collection[str]) -> str | None:
    """Return the column that a name means by psql's rules; None if there is none."""
    return next(
        (parts[0] for parts in readings(name) if len(parts) == 1 and parts[0] in columns), None
    )


def left_out_of(
    names: tuple[str, ...], columns: Collection[str]
) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the columns that are left out, and the names that no column has."""
    found = {name: column_named(name, columns) for name in names}
    left_out = frozenset(column for column in found.values() if column is not None)
    return left_out, tuple(name for name, column in found.items() if column is None)


def chosen(
    names: tuple[str, ...] | None,
    table: str,
    *,
    columns: Collection[str],
    left_out: Collection[str],
    generated: Collection[str],
    key: str | None,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns that are copied, in their order, and a line for each that can't be.

    Without names it is all but those left out. The key is always copied: first, if it is not named.
    """
    if names is None:
        every = tuple(name for name in columns if name == key or name not in left_out)
        if key is None or key not in left_out:
            return every, ()
        return every, (f"the key {quoted(key)} of the table {table} can't be left out (`exclude`)",)
    found: list[str] = []
    wrong: list[str] = []
    for name in names:
        column = column_named(name, columns)
        if column is None and (computed := column_named(name, generated)) is not None:
            wrong.append(
                f"the column {quoted(computed)} of the table {table} is generated: the server"
                " computes it, and it can't be copied"
            )
        elif column is None:
            like = did_you_mean(name, columns, quoted)
            wrong.append(f"the table {table} has no column {name}{like}")
        elif column in found:
            wrong.append(f"the column {quoted(column)} of the table {table} is named twice")
        else:
            found.append(column)
    if key is not None and key not in found:
        found.insert(0, key)
    return tuple(found), tuple(wrong)


def similar_tables(name: str) -> Question[list[str]]:
    """Return the tables that the name may have been meant for, such as one in another schema."""
    from difflib import get_close_matches  # noqa: PLC0415 - takes 3 ms: seldom needed

    table = readings(name)[0][-1].lower()
    rows = yield (
        f"{CATALOG_PATH}SELECT lower(relname), format('%I.%I', nspname, relname)"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND nspname <> 'information_schema'"
        f" AND nspname !~ '^pg_' ORDER BY lower(relname) <> {literal(table)}, 2"
        f" LIMIT {_MOST_COMPARED}"
    )
    like = get_close_matches(table, dict.fromkeys(each for each, _ in rows), _MOST_SIMILAR, 0.75)
    found = [full for each in like for name_, full in rows if name_ == each]
    return found[:_MOST_SIMILAR]
