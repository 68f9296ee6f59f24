"""The columns that a user chose, by name."""

from __future__ import annotations

from collections.abc import Collection

from pipecopy.postgres.names import quoted, readings


def column_named(name: str, columns: Collection[str]) -> str | None:
    """Return the column that a name means by psql's rules; None where there is none."""
    return next(
        (parts[0] for parts in readings(name) if len(parts) == 1 and parts[0] in columns), None
    )


def chosen(
    names: tuple[str, ...] | None,
    table: str,
    *,
    columns: Collection[str],
    generated: Collection[str],
    key: str | None,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns that are copied, in their order, and a sentence for each that can't be.

    Without names it is all of them. The key is always copied: first, where it is not named.
    """
    if names is None:
        return tuple(columns), ()
    found: list[str] = []
    wrong: list[str] = []
    for name in names:
        column = column_named(name, columns)
        if column is None and (computed := column_named(name, generated)) is not None:
            wrong.append(
                f"The column {quoted(computed)} of the table {table} is generated: the server"
                " computes it, and it can't be copied."
            )
        elif column is None:
            wrong.append(f"The table {table} has no column {name}.")
        elif column in found:
            wrong.append(f"The column {quoted(column)} of the table {table} is named twice.")
        else:
            found.append(column)
    if key is not None and key not in found:
        found.insert(0, key)
    return tuple(found), tuple(wrong)
