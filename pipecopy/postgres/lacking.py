# ruff: noqa: S608 - SQL is what this file writes; names are quoted
"""What the target lacks of what a table like the source table would need, and what helps."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

import psycopg

from pipecopy.finding import Finding, leaving_out, problem
from pipecopy.postgres.errors import ABOUT_THE_TABLE
from pipecopy.postgres.names import CATALOG_PATH, literal, quoted
from pipecopy.postgres.questions import Question
from pipecopy.postgres.rights import no_right
from pipecopy.postgres.schema import ColumnDefinition, TableDefinition
from pipecopy.postgres.session import ServerSession


def no_place(schema: str | None, name: str) -> Question[list[Finding]]:
    """Return why the table could not be created in that schema; None: the path has none."""
    if schema is None:
        message = f"the search path has no schema in which the table {name} could be created"
        return [problem(message, "name the table with its schema", what="create")]
    oid = f"(SELECT oid FROM pg_namespace WHERE nspname = {literal(schema)})"
    ((is_there, may_create, may_temp, role, database),) = yield (
        f"{CATALOG_PATH}SELECT {oid} IS NOT NULL, has_schema_privilege({oid}, 'CREATE'),"
        " has_database_privilege(current_database(), 'TEMP'),"
        " current_user::text, current_database()::text"
    )
    found = []
    if not is_there:
        found.append(
            problem(
                f"there is no schema {schema} in which the table {name} could be created",
                f"CREATE SCHEMA {quoted(schema)};",
                what="create",
            )
        )
    elif not may_create:
        found.append(no_right(role, "CREATE", f"schema {schema}", f"SCHEMA {quoted(schema)}"))
    if not may_temp:
        found.append(no_right(role, "TEMP", f"database {database}", f"DATABASE {quoted(database)}"))
    return found


def lacking_names(definition: TableDefinition) -> Question[list[Finding]]:
    """Return a problem for each type and each collation that the target has not."""
    users: dict[tuple[str, str], list[ColumnDefinition]] = {}
    for column in definition.columns:
        users.setdefault(("type", column.type.name), []).append(column)
        if column.collation is not None:
            users.setdefault(("collation", column.collation), []).append(column)
    values = ", ".join(f"({literal(what)}, {literal(name)})" for what, name in users)
    rows = yield (
        f"{CATALOG_PATH}SELECT what, name, ARRAY(SELECT extname::text FROM pg_extension)"
        f" FROM (VALUES {values}) AS needed (what, name) WHERE CASE what"
        " WHEN 'type' THEN to_regtype(name) IS NULL ELSE to_regcollation(name) IS NULL END"
    )
    return [
        problem(
            f"the database lacks the {what} {name} of the source's {_columns(users[what, name])}",
            _remedy(users[what, name], installed),
            what="create",
        )
        for what, name, installed in rows
    ]


def unparsable(session: ServerSession, definition: TableDefinition) -> Iterator[Finding]:
    """Yield a problem for each expression that the database can't read: the server parses them."""
    row = ", ".join(f"NULL::{c.type.name} AS {quoted(c.name)}" for c in definition.columns)
    computed = [
        column
        for column in definition.columns
        if column.default is not None
        and not column.identity
        and not (column.generated == "" and (definition.kind == "v" or definition.draws(column)))
    ]

    def parse(columns: Iterable[ColumnDefinition]) -> psycopg.Error | None:
        expressions = ", ".join(str(column.default) for column in columns)
        try:
            session.parse(f"SELECT {expressions} FROM (SELECT {row}) AS one_row")
        except psycopg.Error as error:
            if not (error.sqlstate or "").startswith(ABOUT_THE_TABLE):
                raise
            return error
        return None

    if not computed or parse(computed) is None:
        return
    ((installed,),) = session.ask_catalogs("SELECT ARRAY(SELECT extname::text FROM pg_extension)")
    for column in computed:
        if (error := parse([column])) is not None:
            yield problem(
                f"the database can't read {column.default}, by which the source computes the"
                f" {_columns([column])}: {error.diag.message_primary}",
                _remedy([column], installed),
                what="create",
            )


def _columns(columns: Sequence[ColumnDefinition]) -> str:
    names = ", ".join(f'"{column.name}"' for column in columns)
    return f"column {names}" if len(columns) == 1 else f"columns {names}"


def _remedy(columns: Sequence[ColumnDefinition], installed: Collection[str]) -> str:
    """Return what to do about what these columns use and the target has not."""
    extensions = dict.fromkeys(each for column in columns for each in column.extensions)
    missing = [each for each in extensions if each[0] not in installed]
    if missing:
        return " ".join(
            f"CREATE EXTENSION {quoted(name)} WITH SCHEMA {quoted(schema)};"
            for name, schema in missing
        )
    leave_out = leaving_out(*(column.name for column in columns))
    return f"create it there as it is in the source, or {leave_out}"
