# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""What speaks against a copy, seen before the first row."""

from __future__ import annotations

from pipecopy.contracts import Side, TableDescription
from pipecopy.postgres.catalog import Table, find_table
from pipecopy.postgres.link import Line
from pipecopy.postgres.names import literal, quoted

_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}
_INTEGERS = "an integer (smallint, integer or bigint)"


def describe(line: Line, name: str, key: str, *, side: Side | None) -> TableDescription:
    """Return the table as a value; all problems at once. Without a side: only what both need."""
    table = find_table(line, name, key)
    if table is None:
        return TableDescription(
            table=name, key=key, problems=(f"There is no table {name}, or not for this role.",)
        )
    problems = _shape(table, key)
    warnings: list[str] = []
    rights = _missing_rights(line, table, side)
    problems += rights
    problems += _hidden_rows(line, table)
    if side == "source":
        if table.kind in "rpm" and table.key is not None and not table.ordered_index:
            warnings.append(
                f"The source table {table.sql} has no index that begins with"
                f" {table.key_sql}: every batch reads the whole table."
            )
        if not problems:
            problems += _bad_keys(line, table)
    if side == "target":
        problems += _rules(line, table)
        problems += _other_identities(table)
        warnings += _triggers(line, table)
        warnings += _no_unique_index(table)
    return TableDescription(
        table=table.sql,
        key=key if table.key is None else table.key.name,
        columns=table.described(),
        identity=_identity(line, table),
        problems=tuple(problems if side != "target" else problems + _not_a_table(table)),
        warnings=tuple(warnings),
    )


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


def _not_a_table(table: Table) -> list[str]:
    kind = _KINDS.get(table.kind)
    return [f"The target {table.sql} is {kind}, not a table."] if kind else []


def _missing_rights(line: Line, table: Table, side: Side | None) -> list[str]:
    """Rights to the columns that are copied; a right to the table holds for each column."""
    needed = ["SELECT"]
    if side == "target":
        needed += ["INSERT", "UPDATE"]
        if table.unique_index is None:
            needed.append("DELETE")
    columns = ", ".join(str(column.number) for column in table.columns) or "NULL"
    checks = []
    for right in needed:
        if right == "DELETE":
            checks.append(f"has_table_privilege({table.oid}, 'DELETE')")
        else:
            checks.append(
                f"(SELECT bool_and(has_column_privilege({table.oid}, attnum, '{right}'))"
                f" FROM pg_attribute WHERE attrelid = {table.oid} AND attnum IN ({columns}))"
            )
    ((usage, temporary, role, database, *granted),) = line.query(
        f"SELECT has_schema_privilege({literal(quoted(table.schema))}::regnamespace, 'USAGE'),"
        " has_database_privilege(current_database(), 'TEMP'), current_user::text,"
        f" current_database()::text, {', '.join(checks)}"
    )
    problems = []
    if not usage:
        problems.append(f"The role {role} has no USAGE right on the schema {table.schema}.")
    missing = [right for right, has in zip(needed, granted, strict=True) if has is False]
    if missing:
        problems.append(f"The role {role} has no {', '.join(missing)} right on {table.sql}.")
    if side == "target" and not temporary:
        problems.append(f"The role {role} has no TEMP right on the database {database}.")
    return problems


def _hidden_rows(line: Line, table: Table) -> list[str]:
    ((hidden,),) = line.query(f"SELECT row_security_active({table.oid})")
    if hidden:
        return [
            (
                f"Row-level security of {table.sql} hides rows from this role, or refuses them:"
                " use a role with BYPASSRLS, or the table's owner."
            )
        ]
    return []


def _bad_keys(line: Line, table: Table) -> list[str]:
    key = table.key_sql
    ((null, negative),) = line.query(
        f"SELECT {'false' if table.keyed.not_null else _exists(table, f'{key} IS NULL')},"
        f" {_exists(table, f'{key} < 0')}"
    )
    found = [("NULL", null), ("negative", negative)]
    return [
        f"The source table {table.sql} has rows whose key {key} is {what}; those can't be copied."
        for what, there in found
        if there
    ]


def _exists(table: Table, condition: str) -> str:
    return f"EXISTS (SELECT FROM {table.sql} WHERE {condition})"


def _rules(line: Line, table: Table) -> list[str]:
    events = {"2": "UPDATE", "3": "INSERT", "4": "DELETE"}
    if table.unique_index is not None:
        del events["4"]
    return [
        f"The target {table.sql} has the {events[event]} rule {name}, which would rewrite the copy."
        for name, event in line.query(
            f"SELECT rulename::text, ev_type::text FROM pg_rewrite WHERE ev_class = {table.oid}"
            " AND ev_enabled IN ('O', 'A') ORDER BY 1"
        )
        if event in events
    ]


def _other_identities(table: Table) -> list[str]:
    return [
        f"The target's column {quoted(column.name)} is GENERATED ALWAYS AS IDENTITY and not the"
        " key: a row that is there already could not be updated."
        for column in table.columns
        if column.always_identity and column != table.key
    ]


def _triggers(line: Line, table: Table) -> list[str]:
    names = [
        str(name)
        for (name,) in line.query(
            f"SELECT tgname::text FROM pg_trigger WHERE tgrelid = {table.oid} AND NOT tgisinternal"
            " AND tgenabled IN ('O', 'A') ORDER BY 1"
        )
    ]
    if not names:
        return []
    return [f"Triggers of the target {table.sql} fire for the copied rows: {', '.join(names)}."]


def _no_unique_index(table: Table) -> list[str]:
    if table.unique_index is not None or table.key is None:
        return []
    return [
        (
            f"The target {table.sql} has no valid unique index on {table.key_sql} alone, so rows"
            " that changed are removed and inserted again, and each batch may read the whole"
            f" table. This would help: CREATE UNIQUE INDEX ON {table.sql} ({table.key_sql});"
        )
    ]


def _identity(line: Line, table: Table) -> str:
    """Return what tells this table from all others; a standby's is the same as its primary's."""
    ((system,),) = line.query(
        "SELECT CASE WHEN has_function_privilege('pg_control_system()', 'EXECUTE')"
        " THEN (SELECT system_identifier::text FROM pg_control_system())"
        " ELSE extract(epoch FROM pg_postmaster_start_time())::text END"
    )
    return f"{system}/{table.database_oid}/{table.oid}"
