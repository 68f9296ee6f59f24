"""A table as the server's catalogs describe it, in one query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipecopy.contracts import Column
from pipecopy.postgres.link import Line
from pipecopy.postgres.names import literal, quoted, readings, table_oid
from pipecopy.postgres.refusal import PostgresError
from pipecopy.postgres.sqlstates import UNDEFINED_COLUMN


@dataclass(frozen=True, kw_only=True)
class TableColumn:
    """One column that can be copied: not a generated one."""

    name: str
    type: str
    definition: str
    """What the type is, with all types within; empty for the server's own types."""
    type_oid: int
    """The type's; for a domain its base type's, and for an enum text, as which it is sent."""
    number: int
    not_null: bool
    always_identity: bool
    """GENERATED ALWAYS AS IDENTITY: an UPDATE can't set it."""
    is_json: bool
    is_integer: bool
    portable: bool
    """Its binary form is the same on any server of this version: no foreign OIDs in it."""
    has_names: bool
    """Its text holds names of objects (the reg* types): as short as the search path allows."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table, with the key by which it is copied."""

    oid: int
    schema: str
    name: str
    kind: str
    """pg_class.relkind: r, p (partitioned), v, m, f."""
    columns: tuple[TableColumn, ...]
    generated: tuple[Column, ...]
    """The columns that the server computes, which no COPY takes; the expression is in the type."""
    key: TableColumn | None
    unique_index: str | None
    """A valid, whole, immediate unique index on the key alone, on which a conflict is decided."""
    ordered_index: bool
    """There is an index that begins with the key."""
    database_oid: int
    has_children: bool
    """Tables inherit from it, whose rows it shows; a partitioned table's partitions are none."""
    is_temporary: bool
    before_triggers: bool
    """It, or a partition, has triggers that may drop rows before they are written."""

    @property
    def sql(self) -> str:
        """The name as SQL reads it."""
        return quoted(self.schema, self.name)

    @property
    def key_sql(self) -> str:
        """The key's name as SQL reads it."""
        return quoted(self.keyed.name)

    @property
    def keyed(self) -> TableColumn:
        """The key column; raises PostgresError where it is missing."""
        if self.key is None:
            raise PostgresError(f"the table {self.sql} lacks the key column", UNDEFINED_COLUMN)
        return self.key

    @property
    def portable(self) -> bool:
        """Whether the rows can go in the binary format."""
        return all(column.portable for column in self.columns)

    @property
    def has_names(self) -> bool:
        """Whether a row's text holds names that depend on the search path."""
        return any(column.has_names for column in self.columns)

    def described(self) -> tuple[Column, ...]:
        """Return the columns for the comparison with the other side's, the generated ones last."""
        copied = (
            Column(name=column.name, type=_spelled(column.type, column.definition))
            for column in self.columns
        )
        return (*copied, *self.generated)


def find_table(line: Line, name: str, key: str) -> Table | None:
    """Return the table of that name, None where there is none, in one round trip."""
    # the types' names must not depend on the search path; the table's own does
    rows = line.query(
        f"SELECT set_config('pipecopy.oid', coalesce(({table_oid(name)})::text, ''), true);"
        " SELECT set_config('search_path', '', true);" + _COLUMNS
    )
    if not rows:
        return None
    oid, schema, table, kind, database_oid, *facts, indexes = rows[0][:9]
    has_children, is_temporary, before_triggers = facts
    columns = tuple(
        TableColumn(
            name=row[9],
            type=row[10],
            type_oid=row[11],
            number=row[12],
            not_null=row[13],
            always_identity=row[14],
            is_json=row[15],
            is_integer=row[16],
            portable=row[17],
            has_names=row[18],
            definition=_definition(row[19], row[21] or {}),
        )
        for row in rows
        if row[9] is not None and row[20] is None
    )
    generated = tuple(
        Column(
            name=row[9],
            type=_spelled(row[10], _definition(row[19], row[21] or {}))
            + f" GENERATED ALWAYS AS ({row[20]})",
        )
        for row in rows
        if row[20] is not None
    )
    by_name = {column.name: column for column in columns}
    keys = [by_name[parts[0]] for parts in readings(key) if len(parts) == 1 and parts[0] in by_name]
    found = keys[0] if keys else None
    unique, ordered = indexes.get(str(found.number), (None, False)) if found else (None, False)
    return Table(
        oid=oid,
        schema=schema,
        name=table,
        kind=kind,
        columns=columns,
        generated=generated,
        key=found,
        # an index of the table alone says nothing about the rows of those that inherit from it
        unique_index=unique if isinstance(unique, str) and not has_children else None,
        ordered_index=bool(ordered),
        database_oid=database_oid,
        has_children=has_children,
        is_temporary=is_temporary,
        before_triggers=before_triggers,
    )


def _definition(oid: int, own_types: dict[str, list[Any]]) -> str:
    """Return what a type is, from the catalogs' parts of it and of the types within."""
    kind, parts = own_types.get(str(oid), ("b", []))
    inner = [
        (name, _spelled(type_, _definition(inner_oid, own_types)), inner_oid)
        for _, name, type_, inner_oid in parts or []
    ]
    if kind == "d":
        return f"domain over {inner[0][1]}"
    if kind in "rm":
        return f"{'range' if kind == 'r' else 'multirange'} over {inner[0][1]}"
    if kind == "c":
        return "composite: " + ", ".join(f"{quoted(name)} {type_}" for name, type_, _ in inner)
    if kind == "e":
        return "enum: " + (", ".join(literal(name) for name, _, _ in inner) or "no values")
    if kind == "a":  # it has no more to it than its elements' type
        return _definition(inner[0][2], own_types)
    return ""


def _spelled(type_: str, definition: str) -> str:
    return f"{type_} ({definition})" if definition else type_


# The inner types of each column's type, since the binary form of an array, a composite or a range
# holds theirs, and since types of the same name may be different ones. Arrays and composites also
# hold the OIDs of their element types: those of user-defined ones (from 16384) differ from server
# to server. Values of reg* types are OIDs.
_COLUMNS = """
WITH RECURSIVE target AS (
    SELECT c.oid, n.nspname, c.relname, c.relkind::text,
           (SELECT oid FROM pg_database WHERE datname = current_database()) AS database_oid,
           c.relkind <> 'p' AND EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid)
               AS has_children,
           c.relpersistence = 't' AS is_temporary,
           EXISTS (SELECT FROM pg_trigger WHERE tgenabled <> 'D' AND tgtype & 3 = 3
                   AND (tgrelid = c.oid OR tgrelid IN (SELECT relid FROM pg_partition_tree(c.oid))))
               AS before_triggers  -- bit 0: for each row; bit 1: before
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = nullif(current_setting('pipecopy.oid'), '')::oid
), inner_types (attnum, oid, holds_oid, outer_oid, number, name, type) AS (
    SELECT attnum, atttypid, false, 0::oid, 0, ''::name, ''
    FROM pg_attribute JOIN target ON attrelid = target.oid
    WHERE attnum > 0 AND NOT attisdropped
  UNION
    SELECT i.attnum, part.oid, part.holds_oid, t.oid, part.number, part.name, part.type
    FROM inner_types i JOIN pg_type t ON t.oid = i.oid
    CROSS JOIN LATERAL (
        SELECT t.typbasetype AS oid, i.holds_oid AS holds_oid, 0 AS number, ''::name AS name,
               format_type(t.typbasetype, t.typtypmod) AS type WHERE t.typtype = 'd'
      UNION ALL
        SELECT t.typelem, true, 0, '', ''
        WHERE t.typelem <> 0 AND t.typsubscript = 'array_subscript_handler'::regproc
      UNION ALL
        SELECT a.atttypid, true, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod)
        FROM pg_attribute a
        WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
      UNION ALL
        SELECT r.rngsubtype, false, 0, '', format_type(r.rngsubtype, NULL)
        FROM pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
    ) AS part
), own_types AS (  -- those that the server does not have from the start
    SELECT i.attnum, json_object_agg(i.oid, json_build_array(
        CASE WHEN t.typsubscript = 'array_subscript_handler'::regproc THEN 'a'
             ELSE t.typtype::text END,
        CASE WHEN t.typtype = 'e' THEN (
            SELECT jsonb_agg(jsonb_build_array(0, enumlabel, '', 0) ORDER BY enumsortorder)
            FROM pg_enum WHERE enumtypid = t.oid
        ) ELSE (
            SELECT jsonb_agg(DISTINCT jsonb_build_array(p.number, p.name, p.type, p.oid::bigint))
            FROM inner_types p WHERE p.attnum = i.attnum AND p.outer_oid = i.oid
        ) END
    )) AS definitions
    FROM (SELECT DISTINCT attnum, oid FROM inner_types WHERE oid >= 10000) i
    JOIN pg_type t ON t.oid = i.oid
    GROUP BY i.attnum
), portable AS (
    SELECT attnum, bool_and(
        t.typsend <> 0 AND t.typreceive <> 0
        AND NOT (holds_oid AND t.oid >= 16384)
        AND n.oid IS NULL
        -- 'infinity' came with 17: the binary forms of the greatest and least mean another value
        AND t.oid <> 'interval'::regtype
    ) AS portable, bool_or(n.oid IS NOT NULL) AS has_names
    FROM inner_types i JOIN pg_type t ON t.oid = i.oid
    LEFT JOIN pg_type n ON n.oid = t.oid AND n.typname LIKE 'reg%'
        AND n.typnamespace = 'pg_catalog'::regnamespace
    GROUP BY attnum
), base_types (attnum, oid) AS (
    SELECT attnum, atttypid FROM pg_attribute JOIN target ON attrelid = target.oid
    WHERE attnum > 0 AND NOT attisdropped
  UNION ALL
    SELECT b.attnum, t.typbasetype FROM base_types b JOIN pg_type t ON t.oid = b.oid
    WHERE t.typtype = 'd'
), indexes AS (
    SELECT i.indkey[0] AS attnum,
           min(ic.relname) FILTER (WHERE i.indisunique AND i.indimmediate AND i.indnkeyatts = 1
                                   AND i.indisready) AS unique_index,
           bool_or(am.amname = 'btree') AS ordered_index
    FROM pg_index i
    JOIN target ON i.indrelid = target.oid
    JOIN pg_class ic ON ic.oid = i.indexrelid
    JOIN pg_am am ON am.oid = ic.relam
    WHERE i.indisvalid AND i.indpred IS NULL AND i.indkey[0] <> 0
    GROUP BY i.indkey[0]
)
SELECT target.*,
       (SELECT coalesce(json_object_agg(attnum, json_build_array(unique_index, ordered_index)),
                        '{}') FROM indexes),
       a.attname, format_type(a.atttypid, a.atttypmod),
       (SELECT CASE t.typtype WHEN 'e' THEN 'text'::regtype ELSE b.oid END
        FROM base_types b JOIN pg_type t ON t.oid = b.oid
        WHERE b.attnum = a.attnum AND t.typtype <> 'd'), a.attnum,
       a.attnotnull, a.attidentity = 'a',
       EXISTS (SELECT FROM base_types b WHERE b.attnum = a.attnum
               AND b.oid IN ('json'::regtype, 'jsonb'::regtype)),
       EXISTS (SELECT FROM base_types b WHERE b.attnum = a.attnum
               AND b.oid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)),
       portable.portable, portable.has_names, a.atttypid,
       CASE WHEN a.attgenerated <> '' THEN (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef
                                            WHERE adrelid = target.oid AND adnum = a.attnum) END,
       own_types.definitions
FROM target
LEFT JOIN pg_attribute a ON a.attrelid = target.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN portable ON portable.attnum = a.attnum
LEFT JOIN own_types ON own_types.attnum = a.attnum
ORDER BY a.attnum
"""
