# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""The user's condition: seen to be one expression before it stands in any statement."""

from __future__ import annotations

import psycopg

from pipecopy.contracts import HELP
from pipecopy.postgres.connection import Line
from pipecopy.postgres.errors import PostgresError
from pipecopy.postgres.names import literal, quoted
from pipecopy.postgres.sqlstates import UNDEFINED_COLUMN, UNDEFINED_PARAMETER
from pipecopy.postgres.table import Table, ask_catalogs

_ABOUT_THE_TEXT = ("0A", "22", "42", "54")
"""Classes of SQLSTATE of what a server says of a statement that it can't parse."""


def check_where(line: Line, table: Table) -> None:
    """Raise PostgresError where the condition is not one boolean expression over the table.

    The server only parses it, by the extended protocol, which takes a single statement. Without
    parentheses around it, one that closes more than it opens is an error; with them, all but an
    expression is. So no text that passes both can reach out of the parentheses it is used in.
    """
    if table.where is None:
        return
    begin = f"SELECT FROM {table.sql} WHERE"
    try:
        line.parse(f"{begin}\n{table.where}\n")
        parameters = line.parse(f"{begin} (\n{table.where}\n)")
    except psycopg.Error as error:
        if error.sqlstate is None or not error.sqlstate.startswith(_ABOUT_THE_TEXT):
            raise
        message = error.diag.message_primary or type(error).__name__
        raise PostgresError(_sentence(table, message), error.sqlstate) from error
    if parameters:
        raise PostgresError(_sentence(table, "it has a parameter"), UNDEFINED_PARAMETER)


def columns_not_copied(line: Line, table: Table) -> list[str]:
    """Return a sentence where the condition needs columns that are not copied, else none.

    The two sides may have other values there, and so would never agree on which rows are compared.
    A condition that names the table with its schema can't be seen through. It is one expression.
    """
    if table.where is None:
        return []
    others = ", ".join(literal(column.name) for column in table.others)
    ((names,),) = ask_catalogs(
        line,
        "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute"
        f" WHERE attrelid = {table.oid} AND attnum > 0 AND NOT attisdropped"
        f" AND attname NOT IN ({others})",
    )
    rest = f"(SELECT {names} FROM {table.sql}) AS {quoted(table.name)}"
    try:
        line.parse(f"SELECT FROM {rest} WHERE (\n{table.where}\n)")
    except psycopg.Error as error:
        if error.sqlstate != UNDEFINED_COLUMN:
            if error.sqlstate is None or not error.sqlstate.startswith(_ABOUT_THE_TEXT):
                raise
            return []
        return [
            (
                f"where needs a column of {table.sql} that is not copied, and may have other values"
                f" on the other side ({error.diag.message_primary})."
                f"{HELP}name that column too (columns)."
            )
        ]
    return []


def _sentence(table: Table, reason: str) -> str:
    return f"where is not a condition on the rows of {table.sql}: {reason}."
