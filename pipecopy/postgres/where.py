# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""The user's condition on the rows: whether it is one, and what it needs."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from pipecopy.finding import Finding, problem
from pipecopy.postgres.errors import (
    ABOUT_THE_TEXT,
    UNDEFINED_COLUMN,
    UNDEFINED_PARAMETER,
    PostgresError,
)
from pipecopy.postgres.names import literal, quoted
from pipecopy.postgres.session import ServerSession
from pipecopy.postgres.table import Table


def check_where(session: ServerSession, table: Table) -> None:
    """Raise PostgresError if the user's condition is not one boolean expression over the table.

    The server only parses it, by the extended protocol, which takes a single statement. Without
    parentheses around it, one that closes more than it opens is an error; with them, all but an
    expression is. So no text that passes both can reach out of the parentheses it is used in.
    """
    if table.where is None:
        return
    begin = f"SELECT FROM {table.sql} WHERE"
    refused = f"`where` is not a condition on the rows of {table.sql}"
    try:
        session.parse(f"{begin}\n{table.where}\n")
        parameters = session.parse(f"{begin} (\n{table.where}\n)")
    except psycopg.Error as error:
        if not (error.sqlstate or "").startswith(ABOUT_THE_TEXT):
            raise
        message = error.diag.message_primary or type(error).__name__
        raise PostgresError(f"{refused}: {message}", error.sqlstate) from error
    if parameters:
        raise PostgresError(f"{refused}: it has a parameter", UNDEFINED_PARAMETER)


def against_where(session: ServerSession, table: Table, *, verified: bool) -> Iterator[Finding]:
    try:
        check_where(session, table)
    except PostgresError as error:
        yield problem(error.message, error.remedy)
        return
    if verified and table.others and table.where is not None:
        yield from _columns_not_copied(session, table, table.where)


def _columns_not_copied(session: ServerSession, table: Table, where: str) -> Iterator[Finding]:
    """Refuse a condition that needs columns that are not copied.

    The two sides may have other values there, and so would never agree on which rows are compared.
    A condition that names the table with its schema can't be seen through. It is one expression.
    """
    others = ", ".join(literal(column.name) for column in table.others)
    ((names,),) = session.ask_catalogs(
        "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute"
        f" WHERE attrelid = {table.oid} AND attnum > 0 AND NOT attisdropped"
        f" AND attname NOT IN ({others})",
    )
    rest = f"(SELECT {names} FROM {table.sql}) AS {quoted(table.name)}"
    try:
        session.parse(f"SELECT FROM {rest} WHERE (\n{where}\n)")
    except psycopg.Error as error:
        if not (error.sqlstate or "").startswith(ABOUT_THE_TEXT):
            raise
        if error.sqlstate == UNDEFINED_COLUMN:
            yield problem(
                f"`where` needs a column of {table.sql} that is not copied, and may have other"
                f" values on the other side ({error.diag.message_primary})",
                "name that column too (`columns`)",
            )
