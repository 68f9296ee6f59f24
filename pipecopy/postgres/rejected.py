# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest is the server's own
"""Which row of a batch the target has refused: its id, its column, and the row in its way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors

from pipecopy.arguments import argument, function_call
from pipecopy.finding import as_written
from pipecopy.postgres.names import CATALOG_PATH, literal, quoted
from pipecopy.postgres.questions import Question
from pipecopy.postgres.rows import CopyRows
from pipecopy.postgres.table import Table


@dataclass(frozen=True)
class Place:
    """Where in the batch it is."""

    id: int
    column: str | None = None
    other: int | None = None
    """The id of the row that has the value already."""
    is_other_new: bool = False
    """That row is in the batch too."""

    def __str__(self) -> str:
        """Return it for a message."""
        row = f"the row with the id {self.id}"
        return row if self.column is None else f"the column {quoted(self.column)} of {row}"


def place_in_copy(error: psycopg.Error, relation: str, rows: CopyRows, key: str) -> Place | None:
    """Return where a COPY of these rows stopped, None if the server does not tell.

    Its context names the relation, then the line and perhaps the column, in any language.
    """
    for line in (error.diag.context or "").splitlines():
        found = re.match(rf"(?:\S+ )?{re.escape(relation)}\D*(\d+)([^:]*)", line)
        number = int(found[1]) if found else 0
        if found is not None and 0 < number <= len(rows):
            names = [
                c.name for c in rows.columns if re.search(rf"\W{re.escape(c.name)}$", found[2])
            ]
            return Place(rows.key_of_row(number - 1, key), max(names, key=len, default=None))
    return None


def rule_of(error: psycopg.Error) -> Question[Mapping[str, Any] | None]:
    """Return what the constraint or the index is that the server names in its error."""
    diag = error.diag
    if diag.constraint_name is None or diag.table_name is None:
        return None
    of = quoted(diag.schema_name or "", diag.table_name)
    return (yield from _rule(of, diag.constraint_name))


def unique_rules(table: Table) -> Question[list[Mapping[str, Any]]]:
    """Return what each unique index and exclusion constraint is that could refuse a known key."""
    names = yield (
        f"{CATALOG_PATH}SELECT c.relname::text FROM pg_index i JOIN pg_class c"
        f" ON c.oid = i.indexrelid WHERE i.indrelid = {table.oid}"
        f" AND (i.indisunique OR i.indisexclusion) AND {table.keyed.number}"
        " <> ALL ((i.indkey::int2[])[0:i.indnkeyatts - 1])"  # those that it includes do not count
    )
    found = []
    for (name,) in names:
        rule = yield from _rule(table.sql, name)
        if rule is not None:
            found.append(rule)
    return found


def _rule(of: str, name: str) -> Question[Mapping[str, Any] | None]:
    rows = yield CATALOG_PATH + _RULE.format(name=literal(name), table=literal(of))
    return rows[0][0] if rows else None


_RULE = """
WITH rule AS (
    SELECT k.oid, k.contype, k.conrelid, k.confrelid, k.conkey, k.confkey, k.conpfeqop,
           k.conexclop, k.conbin, nullif(k.conindid, 0) AS index,
           CASE WHEN k.coninhcount > 0 THEN pg_partition_root(k.conrelid) END AS root
    FROM pg_constraint k WHERE k.conrelid = to_regclass({table}) AND k.conname = {name}
  UNION ALL
    SELECT NULL, 'u', i.indrelid, 0, NULL, NULL, NULL, NULL, NULL, i.indexrelid,
           NULL
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = to_regclass({table}) AND c.relname = {name}
    LIMIT 1
)
SELECT json_build_object(
    'kind', contype,
    'table', conrelid::regclass::text,
    'of', coalesce(root, conrelid)::regclass::text,  -- of which it can be dropped
    'is_own', confrelid IN (conrelid, root),
    'definition', pg_get_constraintdef(oid),
    'parent', CASE WHEN contype = 'f' THEN confrelid::regclass::text END,
    'check', pg_get_expr(conbin, conrelid),
    'nulls_alike', (SELECT to_jsonb(i) ->> 'indnullsnotdistinct' = 'true'  -- since 15
                    FROM pg_index i WHERE indexrelid = rule.index),
    'where', (SELECT pg_get_expr(indpred, indrelid) FROM pg_index WHERE indexrelid = rule.index),
    'parts', CASE WHEN contype = 'f' THEN (
        SELECT json_agg(json_build_array(quote_ident(a.attname),
                   format('OPERATOR(%I.%s)', n.nspname, o.oprname), quote_ident(p.attname))
                   ORDER BY i)
        FROM generate_subscripts(conkey, 1) AS i
        JOIN pg_attribute a ON a.attrelid = conrelid AND a.attnum = conkey[i]
        JOIN pg_attribute p ON p.attrelid = confrelid AND p.attnum = confkey[i]
        JOIN pg_operator o ON o.oid = conpfeqop[i] JOIN pg_namespace n ON n.oid = o.oprnamespace
    ) ELSE (
        SELECT json_agg(json_build_array(pg_get_indexdef(i.indexrelid, k, true),
                   format('OPERATOR(%I.%s)', n.nspname, o.oprname)) ORDER BY k)
        FROM pg_index i CROSS JOIN generate_series(1, i.indnkeyatts) AS k
        JOIN pg_opclass c ON c.oid = i.indclass[k - 1]
        JOIN pg_operator o ON o.oid = coalesce(conexclop[k], (
            SELECT amopopr FROM pg_amop WHERE amopfamily = c.opcfamily AND amopstrategy = 3
            AND amoplefttype = c.opcintype AND amoprighttype = c.opcintype))
        JOIN pg_namespace n ON n.oid = o.oprnamespace
        WHERE i.indexrelid = rule.index) END)
FROM rule
"""


def search_sql(
    error: psycopg.Error, rule: Mapping[str, Any] | None, table: Table, batch: str
) -> str | None:
    """Return SQL that finds, in the batch's table, the id that is refused, and the other's."""
    key = table.key_sql
    broken = None
    if isinstance(error, errors.NotNullViolation) and error.diag.column_name is not None:
        broken = f"{quoted(error.diag.column_name)} IS NULL"
    elif rule is None:
        return None
    elif rule["kind"] == "c":
        broken = f"NOT ({rule['check']})"
    elif rule["kind"] == "f":
        broken = _without_parent(rule, batch)
    if broken is not None:
        return f"SELECT b.{key}, NULL, false FROM {batch} AS b WHERE {broken} ORDER BY 1 LIMIT 1"
    if not rule or not rule["parts"]:
        return None
    alike = same_values(rule)
    values, there = (values_of(rule, of, table) for of in (batch, rule["table"]))
    return (
        "SELECT * FROM (SELECT b.key,"
        f" (SELECT min(o.key) FROM {there} AS o WHERE o.key <> b.key AND {alike}) AS other, false"
        f" FROM {values} AS b UNION ALL SELECT b.key, o.key, true"
        f" FROM {values} AS b JOIN {values} AS o ON b.key > o.key AND {alike}) AS found"
        f" WHERE other IS NOT NULL ORDER BY other IN (SELECT {key} FROM {batch}), 1 LIMIT 1"
    )


def values_of(rule: Mapping[str, Any], of: str, table: Table) -> str:
    """Return SQL for the keys of the rows there, and what the index has of them."""
    parts = ", ".join(f"{part} AS c{n}" for n, (part, _) in enumerate(rule["parts"]))
    where = f" WHERE {rule['where']}" if rule["where"] else ""
    return f"(SELECT {table.key_sql} AS key, {parts} FROM {of}{where})"


def same_values(rule: Mapping[str, Any]) -> str:
    """Return SQL for whether the index takes the values `b` and `o` for the same."""
    same = [f"b.c{n} {operator} o.c{n}" for n, (_, operator) in enumerate(rule["parts"])]
    if rule["nulls_alike"]:
        same = [f"({one} OR b.c{n} IS NULL AND o.c{n} IS NULL)" for n, one in enumerate(same)]
    return " AND ".join(same)


def _without_parent(rule: Mapping[str, Any], batch: str) -> str:
    given = " AND ".join(f"b.{column} IS NOT NULL" for column, _, _ in rule["parts"])
    equal = " AND ".join(f"p.{there} {op} b.{column}" for column, op, there in rule["parts"])
    parents = [rule["parent"], *([batch] if rule["is_own"] else [])]
    none = " AND ".join(f"NOT EXISTS (SELECT FROM {p} AS p WHERE {equal})" for p in parents)
    return f"{given} AND {none}"


def said_of(error: psycopg.Error, place: Place, table: Table) -> str:
    """Return what is wrong with the row."""
    primary = error.diag.message_primary
    if place.other is None:
        return f"{place} can't be saved: {primary}"
    kind, has = "unique index", "its value"
    if isinstance(error, errors.ExclusionViolation):
        kind, has = "exclusion constraint", "a value that excludes its own"
    other = f"the row with the id {place.other}"
    other += " of the same batch" if place.is_other_new else f" of the target table {table.sql}"
    return (
        f"{place} can't be saved: {other} has {has} in the {kind} {error.diag.constraint_name}"
        f" ({primary})"
    )


def remedy_of(
    error: psycopg.Error, place: Place, rule: Mapping[str, Any] | None, table: Table, encoding: str
) -> str:
    """Return what to do about it; `encoding` is that of the target."""
    diag = error.diag
    name = quoted(diag.constraint_name or "")
    leave_out = f"leave out the row ({argument(where=f'{table.key_sql} <> {place.id}')})"
    if isinstance(error, errors.NotNullViolation) and diag.column_name is not None:
        column = quoted(diag.column_name)
        allow = f"ALTER TABLE {table.sql} ALTER COLUMN {column} DROP NOT NULL;"
        return f"change the value in the source, {leave_out}, or allow it: {allow}"
    if rule is not None and rule["kind"] == "f":
        parent = rule["of"] if rule["is_own"] else rule["parent"]
        return with_parents(parent, rule["of"], name, rule["definition"])
    if rule is not None and rule["kind"] == "c":
        allow = f"ALTER TABLE {rule['of']} DROP CONSTRAINT {name};"
        return f"change the row in the source, {leave_out}, or allow it: {allow}"
    if place.other is not None and place.is_other_new:
        return f"change one of the two rows in the source, or drop {name} in the target"
    if place.other is not None:
        repair = function_call("verify_tables", repair=True)
        return (
            f"run {repair}, which writes both in one transaction if the source has both; if only"
            " the target has the other one, change the value there"
        )
    ways = ["change the value in the source"]
    shapes = [column.shape.base for column in table.columns if column.name == place.column]
    if shapes and shapes[0].kind == "e":
        ways.append(
            f"add its label to the enum in the target (ALTER TYPE {shapes[0].name} ADD VALUE)"
        )
    if isinstance(error, errors.UntranslatableCharacter) and encoding != "UTF8":
        ways.append(f"create the target database with the encoding UTF8 (it has {encoding})")
    if place.column is not None:
        ways.append(f"leave out the column ({argument(exclude=[as_written(place.column)])})")
    return f"{', '.join(ways)}, or {leave_out}"


def with_parents(parent: str, of: str, name: str, definition: str) -> str:
    """Return what to do so that the foreign key of that name finds its rows; in the parent table.

    All but its definition are names as SQL reads them.
    """
    if parent != of:
        return f"copy {parent} first"
    return (
        "copy all rows in one batch (`batch_size`, `max_batch_bytes`); or drop the constraint"
        f" before the copy, and add it again afterwards: ALTER TABLE {of} DROP CONSTRAINT {name};"
        f" ALTER TABLE {of} ADD CONSTRAINT {name} {definition};"
    )
