# ruff: noqa: S608 - SQL is what this file writes; it holds nothing but other SQL
"""What a table is like, as a value that travels: for a target that makes one, or judges types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipecopy.contracts import TableDescription
from pipecopy.postgres.names import CATALOG_PATH
from pipecopy.postgres.questions import Question
from pipecopy.postgres.sequence import NEXT_VALUE
from pipecopy.postgres.table import NEVER_NULL, Table, TableColumn
from pipecopy.postgres.types import TypeShape, shape_from_plain

SERVER = "PostgreSQL"
"""Marks a description as this driver's: those of other drivers may have the same fields."""
_BESIDES = {
    "index": "pg_index WHERE indrelid = c.oid",
    "check constraint": "pg_constraint WHERE conrelid = c.oid AND contype = 'c'",
    "foreign key": "pg_constraint WHERE conrelid = c.oid AND contype = 'f'",
    "trigger": "pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal",
    "rule": "pg_rewrite WHERE ev_class = c.oid AND rulename <> '_RETURN'",
    "row-level policy": "pg_policy WHERE polrelid = c.oid",
    "row-level security setting": (
        "unnest(ARRAY[c.relrowsecurity, c.relforcerowsecurity]) AS is_set WHERE is_set"
    ),
}
"""What a table may have besides, and what is counted of it."""
_SEVERAL = {"index": "indexes", "row-level policy": "row-level policies"}


@dataclass(frozen=True, kw_only=True)
class SequenceDefinition:
    """The sequence behind a column."""

    name: str
    options: str
    """As CREATE SEQUENCE takes them, but for the type."""
    type: str
    last: int | None
    """What it gave last; None if it gave nothing yet, or that may not be read."""
    may_be_read: bool
    """The role may know what it gave last."""
    is_owned: bool
    """It goes with its column."""
    is_default: bool
    """The column's default is its next value, and nothing more."""


@dataclass(frozen=True, kw_only=True)
class ColumnDefinition:
    """One column, copied or generated."""

    name: str
    type: TypeShape
    collation: str | None
    """As SQL writes it; None for the type's own."""
    not_null: bool
    default: str | None
    """The expression; a generated column's too."""
    generated: str
    """pg_attribute.attgenerated: s (stored), v (virtual) or nothing."""
    identity: str
    """pg_attribute.attidentity: a (always), d (by default) or nothing."""
    sequence: SequenceDefinition | None
    extensions: tuple[tuple[str, str], ...]
    """Those whose types, functions, operators or collations it uses, each with its schema."""


@dataclass(frozen=True, kw_only=True)
class TableDefinition:
    """A table, as far as a copy of it is made like it."""

    name: str
    kind: str
    """pg_class.relkind."""
    columns: tuple[ColumnDefinition, ...]
    key: str
    key_index: str
    """`PRIMARY KEY` or `UNIQUE` for an index on the key alone, or nothing."""
    besides: tuple[str, ...]
    """What else there is, such as `2 indexes`."""

    def draws(self, column: ColumnDefinition) -> bool:
        """Return whether a new table needs a sequence of its own for the column's default."""
        sequence = column.sequence
        return (
            sequence is not None
            and sequence.is_default
            and not column.identity
            and (sequence.is_owned or column.name == self.key)
        )


def define(table: Table) -> Question[dict[str, Any]]:
    """Return what the table is like as plain values, for `definition_of`."""
    types = [
        f"({column.number}, {part.oid}::oid)"
        for column in (*table.columns, *table.generated)
        for part in column.shape.within
        if part.is_user_made
    ]
    sql = _DEFINITION.format(
        oid=table.oid,
        types=", ".join(types) or "(0, 0::oid)",
        key=table.keyed.number,
        never_null=NEVER_NULL,
        next_value=NEXT_VALUE.format(sequence="c.oid"),
        besides=", ".join(f"(SELECT count(*) FROM {rows})" for rows in _BESIDES.values()),
    )
    ((facts, columns),) = yield CATALOG_PATH + sql
    wanted = [*table.columns, *table.generated]
    if not table.others:  # as it stands there, the generated ones among the others
        wanted.sort(key=lambda column: column.number)
    unique = table.unique_index is not None
    besides = dict(zip(_BESIDES, facts["besides"], strict=True))
    besides["index"] -= int(unique)
    definition = TableDefinition(
        name=table.name,
        kind=table.kind,
        columns=tuple(_column(column, columns[column.name]) for column in wanted),
        key=table.keyed.name,
        key_index=("PRIMARY KEY" if facts["is_primary"] else "UNIQUE") if unique else "",
        besides=tuple(
            f"{count} {one if count == 1 else _SEVERAL.get(one, f'{one}s')}"
            for one, count in besides.items()
            if count > 0
        ),
    )
    return {"server": SERVER, **asdict(definition)}


def _column(column: TableColumn, facts: Mapping[str, Any]) -> ColumnDefinition:
    sequence = facts["sequence"] and SequenceDefinition(**facts["sequence"])
    return ColumnDefinition(
        **{**facts, "name": column.name, "type": column.shape, "sequence": sequence}
    )


def definition_of(source: Any) -> TableDefinition | None:
    """Return what a source's description says of its table; None if another driver made it.

    It travels as `dataclasses.asdict` of it, with the kind of server.
    """
    plain = source.definition if isinstance(source, TableDescription) else None
    if not isinstance(plain, Mapping) or plain.get("server") != SERVER:
        return None
    facts = {name: value for name, value in plain.items() if name != "server"}
    columns = tuple(map(_column_from_plain, plain["columns"]))
    return TableDefinition(**{**facts, "columns": columns, "besides": tuple(plain["besides"])})


def source_types(source: Any) -> dict[str, TypeShape]:
    """Return the types of a source's columns by name, as far as they are known."""
    definition = definition_of(source)
    return {c.name: c.type for c in definition.columns} if definition is not None else {}


def _column_from_plain(plain: Mapping[str, Any]) -> ColumnDefinition:
    sequence = plain["sequence"] and SequenceDefinition(**plain["sequence"])
    return ColumnDefinition(
        **{
            **plain,
            "type": shape_from_plain(plain["type"]),
            "sequence": sequence,
            "extensions": tuple((name, schema) for name, schema in plain["extensions"]),
        }
    )


_DEFINITION = """
WITH behind AS (  -- the sequence of an identity, and the one that a default draws from
    SELECT refobjsubid AS attnum, objid AS oid FROM pg_depend
    WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass
      AND refobjid = {oid} AND deptype = 'i' AND refobjsubid > 0
  UNION
    SELECT a.adnum, d.refobjid FROM pg_attrdef a
    JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid
                    AND d.refclassid = 'pg_class'::regclass
    WHERE a.adrelid = {oid}
), needed (attnum, classid, objid) AS (
    SELECT a.adnum, d.refclassid, d.refobjid FROM pg_attrdef a
    JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid
    WHERE a.adrelid = {oid}
  UNION
    SELECT attnum, 'pg_type'::regclass, oid FROM (VALUES {types}) AS types (attnum, oid)
  UNION
    SELECT attnum, 'pg_collation'::regclass, attcollation FROM pg_attribute WHERE attrelid = {oid}
), sequences AS (
    SELECT behind.attnum, json_build_object(
        'name', c.relname,
        'type', format_type(s.seqtypid, NULL),
        'options', format(
            'INCREMENT BY %s MINVALUE %s MAXVALUE %s START WITH %s CACHE %s %s',
            s.seqincrement, s.seqmin, s.seqmax, s.seqstart, s.seqcache,
            CASE WHEN s.seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END),
        'is_owned', EXISTS (
            SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid
            AND refobjid = {oid} AND refobjsubid = behind.attnum AND deptype IN ('a', 'i')),
        'is_default', EXISTS (
            SELECT FROM pg_attrdef WHERE adrelid = {oid} AND adnum = behind.attnum
            AND pg_get_expr(adbin, adrelid) = {next_value}),
        'may_be_read', readable.is_so,
        'last', CASE WHEN readable.is_so THEN pg_sequence_last_value(c.oid) END
    ) AS sequence
    FROM behind
    JOIN pg_class c ON c.oid = behind.oid AND c.relkind = 'S'
    JOIN pg_sequence s ON s.seqrelid = c.oid
    CROSS JOIN LATERAL (SELECT has_sequence_privilege(c.oid, 'SELECT, USAGE')
        -- a standby has no unlogged ones
        AND (c.relpersistence = 'p' OR c.relpersistence = 'u' AND NOT pg_is_in_recovery())
    ) AS readable (is_so)
)
SELECT (
    SELECT json_build_object(
        'is_primary', EXISTS (
            SELECT FROM pg_index WHERE indrelid = c.oid AND indisprimary AND indnkeyatts = 1
            AND indkey[0] = {key}),
        'besides', json_build_array({besides}))
    FROM pg_class c WHERE c.oid = {oid}
), (
    SELECT json_object_agg(a.attname, json_build_object(
        'collation', CASE WHEN a.attcollation <> t.typcollation
                          THEN a.attcollation::regcollation::text END,
        'not_null', {never_null},
        'default', (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef
                    WHERE adrelid = a.attrelid AND adnum = a.attnum),
        'generated', a.attgenerated,
        'identity', a.attidentity,
        'sequence', (SELECT sequence FROM sequences WHERE attnum = a.attnum LIMIT 1),
        'extensions', (
            SELECT coalesce(json_agg(DISTINCT jsonb_build_array(e.extname, n.nspname)), '[]')
            FROM needed JOIN pg_depend d USING (classid, objid)
            JOIN pg_extension e ON e.oid = d.refobjid
            JOIN pg_namespace n ON n.oid = e.extnamespace
            WHERE needed.attnum = a.attnum AND d.deptype = 'e')
    ) ORDER BY a.attnum)
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped
)
"""
