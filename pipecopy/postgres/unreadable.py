"""Which value of the source the server could not send: the id of its row, and its column."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import psycopg
from psycopg import errors

from pipecopy.arguments import argument
from pipecopy.finding import as_written
from pipecopy.postgres.errors import PostgresError
from pipecopy.postgres.names import quoted
from pipecopy.postgres.table import Table, TableColumn

Fails = Callable[[Sequence[TableColumn]], bool]
"""Returns whether these columns of a row can't be read, for the same reason."""


def unreadable(
    error: psycopg.Error, table: Table, found: int, fails: Fails, encoding: str
) -> PostgresError:
    """Return an error that names the value; `encoding` is that of the database."""
    column = failing_column(table.columns, fails)
    row = f"the row with the id {found}"
    what = row if column is None else f"the column {quoted(column.name)} of {row}"
    ways = ["change the value"]
    if encoding == "SQL_ASCII" and isinstance(error, errors.CharacterNotInRepertoire):
        ways.append(
            "create the target database with the encoding SQL_ASCII too, which takes any bytes as"
            " they are"
        )
    if column is not None and column != table.key:
        ways.append(f"leave out the column ({argument(exclude=[as_written(column.name)])})")
    leave_out = f"leave out the row ({argument(where=f'{table.key_sql} <> {found}')})"
    return PostgresError(
        f"{what} can't be read: {error.diag.message_primary}",
        error.sqlstate,
        f"{', '.join(ways)}, or {leave_out}",
    )


def failing_column(columns: Sequence[TableColumn], fails: Fails) -> TableColumn | None:
    """Return the first column that can't be read, by halves: a table has up to 1,600."""
    while len(columns) > 1:
        half = columns[: len(columns) // 2]
        columns = half if fails(half) else columns[len(half) :]
    return columns[0] if fails(columns) else None
