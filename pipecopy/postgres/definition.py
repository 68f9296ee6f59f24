"""TableDefinition: what a target needs to judge a source's types, and to make such a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipecopy.contracts import TableDescription
from pipecopy.postgres.catalog_query import NEVER_NULL
from pipecopy.postgres.connection import Line
from pipecopy.postgres.schema import TypeShape, find_shapes, shape_from_plain
from pipecopy.postgres.sequence import NEXT_VALUE
from pipecopy.postgres.table import Table, ask_catalogs

SERVER = "PostgreSQL"
"""Marks what a side tells of itself as this driver's: any other's may tell it too."""


@dataclass(frozen=True, kw_only=True)
class SequenceDefinition:
    """The sequence behind a column."""

    name: str
    options: str
    """As CREATE SEQUENCE takes them, but for the type."""
    type: str
    last: int | None
    """What it gave last; None where it gave nothing yet, or that may not be read."""
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


def define(line: Line, table: Table) -> dict[str, Any]:
    """Return the table's definition as plain values."""
    shapes = find_shapes(line, table.oid)
    ((told, columns),) = ask_catalogs(
        line,
        _DEFINITION.replace("{oid}", str(table.oid)).replace("{key}", str(table.keyed.number)),
    )
    copied = [column.name for column in table.columns]
    generated = [column.name for column in table.generated]
    wanted = [*copied, *generated]
    if not table.others:  # as it stands there, the generated ones among the others
        wanted.sort(key=list(columns).index)
    unique = table.unique_index is not None
    return {
        "server": SERVER,
        **asdict(
            TableDefinition(
                name=table.name,
                kind=table.kind,
                columns=tuple(_column(name, columns[name], shapes[name]) for name in wanted),
                key=table.keyed.name,
                key_index=("PRIMARY KEY" if told["is_primary"] else "UNIQUE") if unique else "",
                besides=tuple(_counted(told["besides"], made={"index": int(unique)})),
            )
        ),
    }


def _counted(found: Iterable[tuple[str, str, int]], made: Mapping[str, int]) -> Iterator[str]:
    for one, several, count in found:
        left = count - made.get(one, 0)
        if left > 0:
            yield f"{left} {one if left == 1 else several}"


def definition_of(source: Any) -> TableDefinition | None:
    """Return what a source's description says of its table; None where another driver made it."""
    plain = source.definition if isinstance(source, TableDescription) else None
    if not isinstance(plain, Mapping) or plain.get("server") != SERVER:
        return None
    return TableDefinition(
        name=plain["name"],
        kind=plain["kind"],
        columns=tuple(_column_from_plain(column) for column in plain["columns"]),
        key=plain["key"],
        key_index=plain["key_index"],
        besides=tuple(plain["besides"]),
    )


def source_types(source: Any) -> dict[str, TypeShape]:
    """Return the types of a source's columns by name, as far as they are known."""
    definition = definition_of(source)
    if definition is None:
        return {}
    return {column.name: column.type for column in definition.columns}


def _column(name: str, told: Mapping[str, Any], type_: TypeShape) -> ColumnDefinition:
    sequence = told["sequence"]
    return ColumnDefinition(
        name=name,
        type=type_,
        collation=told["collation"],
        not_null=told["not_null"],
        default=told["default"],
        generated=told["generated"],
        identity=told["identity"],
        sequence=None if sequence is None else SequenceDefinition(**sequence),
    )


def _column_from_plain(plain: Mapping[str, Any]) -> ColumnDefinition:
    return _column(plain["name"], plain, shape_from_plain(plain["type"]))


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
        'besides', json_build_array(
            json_build_array('index', 'indexes', (
                SELECT count(*) FROM pg_index WHERE indrelid = c.oid)),
            json_build_array('check constraint', 'check constraints', (
                SELECT count(*) FROM pg_constraint WHERE conrelid = c.oid AND contype = 'c')),
            json_build_array('foreign key', 'foreign keys', (
                SELECT count(*) FROM pg_constraint WHERE conrelid = c.oid AND contype = 'f')),
            json_build_array('trigger', 'triggers', (
                SELECT count(*) FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal)),
            json_build_array('rule', 'rules', (
                SELECT count(*) FROM pg_rewrite WHERE ev_class = c.oid AND rulename <> '_RETURN')),
            json_build_array('row-level policy', 'row-level policies', (
                SELECT count(*) FROM pg_policy WHERE polrelid = c.oid)),
            json_build_array('row-level security setting', 'row-level security settings',
                c.relrowsecurity::int + c.relforcerowsecurity::int)))
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
        'sequence', (SELECT sequence FROM sequences WHERE attnum = a.attnum LIMIT 1)
    ) ORDER BY a.attnum)
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped
)
""".replace("{never_null}", NEVER_NULL).replace("{next_value}", NEXT_VALUE.format(sequence="c.oid"))
