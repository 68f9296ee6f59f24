# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""What speaks against a copy, seen before the first row."""

from __future__ import annotations

from collections.abc import Iterable

from pipecopy.contracts import HELP, Session, Side, TableDescription
from pipecopy.postgres.checksums import ways
from pipecopy.postgres.connection import Line
from pipecopy.postgres.create import define
from pipecopy.postgres.errors import PostgresError
from pipecopy.postgres.failover import PRIMARY_ONLY
from pipecopy.postgres.forms import server_of
from pipecopy.postgres.names import all_tables, literal, quoted, readings
from pipecopy.postgres.sql import also
from pipecopy.postgres.table import NOT_READ, Selection, Table, TableColumn, ask_catalogs
from pipecopy.postgres.transactions import ids_out_of_order
from pipecopy.postgres.where import check_where, columns_not_copied
from pipecopy.postgres.writing import problems_of_writing, warnings_of_writing

_OIDS = (26, 1028)
"""The types oid and oid[], by their own OIDs; `lo`, an extension's, is a domain over oid."""
_INTEGERS = "an integer (smallint, integer or bigint)"


def describe(
    line: Line,
    selection: Selection,
    table: Table | None,
    session: Session | None,
) -> TableDescription:
    """Return the table as a value; all problems at once. Without a session: what any needs."""
    name, key = selection.table, selection.key
    side = None if session is None else session.side
    verified = session is not None and session.mode == "verify"
    if table is None:
        return TableDescription(
            table=name, key=key, problems=(_no_table(name, side),), server=server_of(line)
        )
    if table.kind in NOT_READ:
        what = f"{table.sql} is {NOT_READ[table.kind]}, not a table."
        return TableDescription(table=table.sql, key=key, problems=(what,))
    written = session is not None and side == "target" and (session.writes or not verified)
    problems = [*_ambiguous(line, name), *_shape(table, key), *table.misnamed]
    deletes = session is not None and session.deletes
    if side == "source" and deletes and line.server.is_standby:
        problems.append(
            f"The server is a standby, which may lack rows of its primary: {PRIMARY_ONLY}."
        )
    warnings = [*_no_encoding(line)]
    compared = table.generated if verified else ()
    problems += missing_rights(
        line, table, written=written, deletes=written and deletes, compared=compared
    )
    problems += _hidden_rows(line, table)
    problems += _temporary(table)
    if side is not None and not written:
        warnings += _no_ordered_index(table, side)
    if side is not None and (side == "source" or verified):
        problems += _where(line, table, verified=verified)
    if side == "source":
        warnings += _large_objects(line, table)
    if side == "source" and not problems:  # on a verified target those rows count as surplus
        problems += _bad_keys(line, table)
        warnings += ids_out_of_order(line, table)
    if written:
        problems += problems_of_writing(line, table, deletes=deletes)
        warnings += warnings_of_writing(line, table, deletes=deletes)
    return TableDescription(
        table=table.sql,
        key=key if table.key is None else table.key.name,
        columns=table.described(),
        identity=_identity(line, table),
        problems=tuple(problems),
        warnings=tuple(warnings),
        checksums=ways(line),
        definition=None if side == "target" or not _is_whole(table) else define(line, table),
        server=server_of(line),
    )


def _ambiguous(line: Line, name: str) -> list[str]:
    """Refuse a name by which each side could mean another table."""
    if len(readings(name)) == 1:
        return []
    tables = [str(table) for (table,) in line.query(all_tables(name))]
    if len(tables) == 1:
        return []
    return [f"The name {name} may mean {' or '.join(tables)}.{HELP}put the one meant in quotes."]


def _no_encoding(line: Line) -> list[str]:
    if line.info.parameter_status("server_encoding") != "SQL_ASCII":
        return []
    return [
        (
            "The database has the encoding SQL_ASCII, so nobody knows what its texts mean: they are"
            " taken for UTF-8."
        )
    ]


def _is_whole(table: Table) -> bool:
    return table.key is not None and not table.misnamed


def _no_table(name: str, side: Side | None) -> str:
    help_ = "put right its name, with its schema"
    if side == "target":
        help_ += ", or have it made like the source's (create)"
    return f"There is no table {name}, or not for this role.{HELP}{help_}."


def _where(line: Line, table: Table, *, verified: bool) -> list[str]:
    try:
        check_where(line, table)
    except PostgresError as error:
        return [str(error)]
    return columns_not_copied(line, table) if verified and table.others else []


def _no_ordered_index(table: Table, side: Side) -> list[str]:
    if table.kind not in "rpm" or table.key is None or table.ordered_index:
        return []
    return [
        (
            f"The {side} table {table.sql} has no index that begins with"
            f" {table.key_sql}: every batch reads the whole table."
            f"{HELP}CREATE INDEX ON {table.sql} ({table.key_sql});"
        )
    ]


def _shape(table: Table, key: str) -> list[str]:
    if table.key is None:
        return [f"The table {table.sql} has no column {key} that could be the key."]
    if not table.key.is_integer:
        return [
            (
                f"The key {table.key_sql} of the table {table.sql} is of the type"
                f" {table.key.type}, not {_INTEGERS}."
            )
        ]
    return []


def _large_objects(line: Line, table: Table) -> list[str]:
    """Tell of the columns whose oids may stand for large objects, in a database that has some."""
    columns = [quoted(column.name) for column in table.columns if column.type_oid in _OIDS]
    if not columns:
        return []
    ((some,),) = line.query("SELECT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata)")
    if not some:
        return []
    return [
        (
            f"Only the oids in {', '.join(columns)} are copied and compared, not the large"
            f" objects that they may stand for.{HELP}copy those with pg_dump -b, or keep their"
            " bytes in a column of the type bytea."
        )
    ]


def _temporary(table: Table) -> list[str]:
    if table.is_temporary:
        return [f"The table {table.sql} is temporary: it belongs to one session, and ends with it."]
    return []


def missing_rights(
    line: Line,
    table: Table,
    *,
    written: bool,
    deletes: bool = False,
    compared: Iterable[TableColumn] = (),
) -> list[str]:
    """Rights to the columns that are copied; a right to the table holds for each column.

    `deletes`: surplus rows are removed too. `compared`: columns that are only read.
    """
    needed = ["SELECT"]
    if written:
        needed += ["INSERT", "UPDATE"]
        if deletes or table.unique_index is None:
            needed.append("DELETE")
    checks = []
    for right in needed:
        touched = (*table.columns, *(compared if right == "SELECT" else ()))
        columns = ", ".join(str(column.number) for column in touched) or "NULL"
        if right == "DELETE":
            checks.append(f"has_table_privilege({table.oid}, 'DELETE')")
        else:
            checks.append(
                f"(SELECT bool_and(has_column_privilege({table.oid}, attnum, '{right}'))"
                f" FROM pg_attribute WHERE attrelid = {table.oid} AND attnum IN ({columns}))"
            )
    ((usage, temporary, role, database, *granted),) = ask_catalogs(
        line,
        f"SELECT has_schema_privilege({literal(quoted(table.schema))}::regnamespace, 'USAGE'),"
        " has_database_privilege(current_database(), 'TEMP'), current_user::text,"
        f" current_database()::text, {', '.join(checks)}",
    )
    problems = []
    if not usage:
        problems.append(
            f"The role {role} has no USAGE right on the schema {table.schema}."
            f"{HELP}GRANT USAGE ON SCHEMA {quoted(table.schema)} TO {quoted(role)};"
        )
    missing = [right for right, has in zip(needed, granted, strict=True) if has is False]
    if missing:
        rights = ", ".join(missing)
        problems.append(
            f"The role {role} has no {rights} right on {table.sql}."
            f"{HELP}GRANT {rights} ON {table.sql} TO {quoted(role)};"
        )
    if written and not temporary:
        problems.append(no_temp(role, database))
    return problems


def no_temp(role: str, database: str) -> str:
    """Return the sentence that says so."""
    return (
        f"The role {role} has no TEMP right on the database {database}."
        f"{HELP}GRANT TEMP ON DATABASE {quoted(database)} TO {quoted(role)};"
    )


def _hidden_rows(line: Line, table: Table) -> list[str]:
    ((hidden,),) = ask_catalogs(line, f"SELECT row_security_active({table.oid})")
    if hidden:
        return [
            (
                f"Row-level security of {table.sql} hides rows from this role, or refuses them."
                f"{HELP}connect as a role with BYPASSRLS, or as the table's owner."
            )
        ]
    return []


def _bad_keys(line: Line, table: Table) -> list[str]:
    key = table.key_sql
    never_null = table.keyed.not_null and not table.has_children  # a child may have dropped it
    ((null, negative),) = line.query(
        f"SELECT {'false' if never_null else _exists(table, f'{key} IS NULL')},"
        f" {_exists(table, f'{key} OPERATOR(pg_catalog.<) 0')}"
    )
    found = [("NULL", null), ("negative", negative)]
    return [
        f"The source table {table.sql} has rows whose key {key} is {what}; those can't be copied."
        f"{HELP}leave them out (where {key} >= 0)."
        for what, there in found
        if there
    ]


def _exists(table: Table, condition: str) -> str:
    return f"EXISTS (SELECT FROM {table.sql} WHERE {condition}{also(table)})"


def _identity(line: Line, table: Table) -> str:
    """Return what tells this table from all others; a standby's begins its primary's.

    The start of the server tells it from a clone of its files, which has all the rest.
    """
    started = ""
    if not line.server.is_standby:
        ((started,),) = line.query(
            "SELECT extract(epoch FROM pg_catalog.pg_postmaster_start_time())::pg_catalog.text"
        )
    system = "" if line.server.system is None else line.server.system
    return f"{system}/{table.database_oid}/{table.oid}/{started}"
