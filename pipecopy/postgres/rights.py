# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""The rights that a role needs for what a run does with a table."""

from __future__ import annotations

from collections.abc import Iterable

from pipecopy.finding import Finding, problem
from pipecopy.postgres.names import CATALOG_PATH, literal, quoted
from pipecopy.postgres.questions import Question
from pipecopy.postgres.table import Table, TableColumn


def missing_rights(
    table: Table,
    *,
    written: bool,
    deletes: bool = False,
    compared: Iterable[TableColumn] = (),
) -> Question[list[Finding]]:
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
    types = ", ".join(str(oid) for oid in table.types) or "NULL"
    ((usage, temporary, unusable, role, database, *granted),) = yield (
        f"{CATALOG_PATH}SELECT"
        f" has_schema_privilege({literal(quoted(table.schema))}::regnamespace, 'USAGE'),"
        " has_database_privilege(current_database(), 'TEMP'),"
        f" ARRAY(SELECT format_type(oid, NULL) FROM pg_type WHERE oid IN ({types})"
        " AND NOT has_type_privilege(oid, 'USAGE') ORDER BY 1), current_user::text,"
        f" current_database()::text, {', '.join(checks)}"
    )
    lacking = []
    if not usage:
        lacking.append(("USAGE", f"schema {table.schema}", f"SCHEMA {quoted(table.schema)}"))
    missing = [right for right, has in zip(needed, granted, strict=True) if has is False]
    if missing:
        lacking.append((", ".join(missing), table.sql, table.sql))
    if written and not temporary:
        lacking.append(("TEMP", f"database {database}", f"DATABASE {quoted(database)}"))
    if written:  # its temporary table has columns of these types
        lacking += [("USAGE", f"type {name}", f"TYPE {name}") for name in unusable]
    return [no_right(role, *each) for each in lacking]


def no_right(role: str, right: str, on: str, on_sql: str) -> Finding:
    """Return the problem that a role lacks a right."""
    the = "" if on == on_sql else "the "
    return problem(
        f"the role {role} has no {right} right on {the}{on}",
        f"GRANT {right} ON {on_sql} TO {quoted(role)};",
        what="rights",
    )
