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
    problems += _temporary(table)
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
        problems += _children(line, table)
        problems += _other_identities(table)
        problems += _cascades(line, table)
        warnings += _unlogged(line, table)
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


def _temporary(table: Table) -> list[str]:
    if table.is_temporary:
        return [f"The table {table.sql} is temporary: it belongs to one session, and ends with it."]
    return []


def _children(line: Line, table: Table) -> list[str]:
    """Refuse those: their rows would be compared and removed too, and no unique index is theirs."""
    if not table.has_children:
        return []
    ((names,),) = line.query(
        "SELECT string_agg(inhrelid::regclass::text, ', ' ORDER BY inhrelid) FROM pg_inherits"
        f" WHERE inhparent = {table.oid}"
    )
    return [f"The target {table.sql} has tables that inherit from it ({names})."]


def _unlogged(line: Line, table: Table) -> list[str]:
    """Of a partitioned table, the partitions hold the rows."""
    ((names,),) = line.query(
        "SELECT string_agg(oid::regclass::text, ', ' ORDER BY oid) FROM pg_class"
        f" WHERE relpersistence = 'u' AND relkind = 'r' AND oid IN ({_with_partitions(table)})"
    )
    if names is None:
        return []
    return [f"UNLOGGED, so emptied when the server crashes or a standby takes over: {names}."]


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
    never_null = table.keyed.not_null and not table.has_children  # a child may have dropped it
    ((null, negative),) = line.query(
        f"SELECT {'false' if never_null else _exists(table, f'{key} IS NULL')},"
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
            # those of the partitions fire too; a partition's copy of the table's own is the same
            "WITH firing AS (SELECT * FROM pg_trigger WHERE NOT tgisinternal"
            f" AND tgenabled IN ('O', 'A') AND tgrelid IN ({_with_partitions(table)}))"
            " SELECT quote_ident(tgname) ||"
            f" CASE WHEN tgrelid = {table.oid} THEN '' ELSE ' of ' || tgrelid::regclass END"
            " FROM firing WHERE tgparentid NOT IN (SELECT oid FROM firing) ORDER BY 1"
        )
    ]
    if not names:
        return []
    return [f"Triggers of the target {table.sql} fire for the copied rows: {', '.join(names)}."]


def _cascades(line: Line, table: Table) -> list[str]:
    """See what else would be removed or changed with the rows that are inserted again."""
    if table.unique_index is not None:
        return []
    return [
        f"The target {table.sql} has no valid unique index on {table.key_sql} alone, so rows that"
        " changed would be removed and inserted again, and the foreign key"
        f" {name} of {referencing} ON DELETE {action} would change the rows there."
        for name, referencing, action in line.query(
            # the copies that partitions have of a foreign key are the same
            "WITH acting AS (SELECT * FROM pg_constraint WHERE contype = 'f'"
            f" AND confdeltype IN ('c', 'n', 'd') AND confrelid IN ({_with_partitions(table)}))"
            " SELECT quote_ident(conname), conrelid::regclass::text, CASE confdeltype"
            " WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' ELSE 'SET DEFAULT' END"
            " FROM acting WHERE conparentid NOT IN (SELECT oid FROM acting) ORDER BY 1, 2"
        )
    ]


def _with_partitions(table: Table) -> str:
    return f"SELECT {table.oid}::oid UNION SELECT relid FROM pg_partition_tree({table.oid})"


def _no_unique_index(table: Table) -> list[str]:
    if table.unique_index is not None or table.key is None or table.has_children:
        return []
    return [
        (
            f"The target {table.sql} has no valid unique index on {table.key_sql} alone, so rows"
            " that changed are removed and inserted again, and each batch may read the whole"
            f" table. This would help: CREATE UNIQUE INDEX ON {table.sql} ({table.key_sql});"
        )
    ]


def _identity(line: Line, table: Table) -> str:
    """Return what tells this table from all others; a standby's begins its primary's.

    The start of the server tells it from a clone of its files, which has all the rest.
    """
    ((system, started),) = line.query(
        "SELECT CASE WHEN has_function_privilege('pg_control_system()', 'EXECUTE')"
        " THEN (SELECT system_identifier::text FROM pg_control_system()) ELSE '' END,"
        " CASE WHEN pg_is_in_recovery() THEN ''"
        " ELSE extract(epoch FROM pg_postmaster_start_time())::text END"
    )
    return f"{system}/{table.database_oid}/{table.oid}/{started}"
