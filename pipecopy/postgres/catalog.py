# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""A table as the server's catalogs describe it, in one query."""

from __future__ import annotations

from dataclasses import dataclass

from pipecopy.contracts import Column
from pipecopy.postgres.link import Line
from pipecopy.postgres.names import literal, quoted, readings
from pipecopy.postgres.refusal import PostgresError

UNDEFINED_TABLE = "42P01"
UNDEFINED_COLUMN = "42703"


@dataclass(frozen=True, kw_only=True)
class TableColumn:
    """One column that can be copied: not a generated one."""

    name: str
    type: str
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


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table, with the key by which it is copied."""

    oid: int
    schema: str
    name: str
    kind: str
    """pg_class.relkind: r, p (partitioned), v, m, f."""
    columns: tuple[TableColumn, ...]
    key: TableColumn | None
    unique_index: str | None
    """A valid, whole, immediate unique index on the key alone, on which a conflict is decided."""
    ordered_index: bool
    """There is an index that begins with the key."""
    database_oid: int

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

    def described(self) -> tuple[Column, ...]:
        """Return the columns for the comparison with the other side's."""
        return tuple(Column(name=column.name, type=column.type) for column in self.columns)


def find_table(line: Line, name: str, key: str) -> Table | None:
    """Return the table of that name, None where there is none, in one round trip."""
    # the types' names must not depend on the search path; the table's own does
    rows = line.query(
        f"SELECT set_config('pipecopy.oid', coalesce(({_oid(name)})::text, ''), true);"
        " SELECT set_config('search_path', '', true);" + _COLUMNS
    )
    if not rows:
        return None
    head = rows[0]
    columns = tuple(
        TableColumn(
            name=row[6],
            type=row[7],
            type_oid=row[8],
            number=row[9],
            not_null=row[10],
            always_identity=row[11],
            is_json=row[12],
            is_integer=row[13],
            portable=row[14],
        )
        for row in rows
        if row[6] is not None
    )
    by_name = {column.name: column for column in columns}
    keys = [by_name[parts[0]] for parts in readings(key) if len(parts) == 1 and parts[0] in by_name]
    found = keys[0] if keys else None
    indexes: dict[str, list[str | bool]] = head[5] if found else {}
    unique, ordered = indexes.get(str(found.number), [None, False]) if found else (None, False)
    return Table(
        oid=head[0],
        schema=head[1],
        name=head[2],
        kind=head[3],
        columns=columns,
        key=found,
        unique_index=unique if isinstance(unique, str) else None,
        ordered_index=bool(ordered),
        database_oid=head[4],
    )


def _oid(name: str) -> str:
    """Return SQL for the oid of the first table that the name may mean."""
    found = []
    for parts in readings(name):
        if len(parts) == 1:  # by the search path
            found.append(f"to_regclass({literal(quoted(*parts))})::oid")
        else:  # by the catalog: to_regclass raises an error without the right to the schema
            schema, table = parts
            found.append(
                "(SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                f" WHERE nspname = {literal(schema)} AND relname = {literal(table)}"
                " AND relkind IN ('r', 'p', 'v', 'm', 'f'))"
            )
    return f"SELECT coalesce({', '.join(found)})"


# The inner types of each column's type, since the binary form of an array, a composite or a range
# holds theirs. Arrays and composites also hold the OIDs of their element types: those of
# user-defined ones (from 16384) differ from server to server. Values of reg* types are OIDs.
_COLUMNS = """
WITH RECURSIVE target AS (
    SELECT c.oid, n.nspname, c.relname, c.relkind::text,
           (SELECT oid FROM pg_database WHERE datname = current_database()) AS database_oid
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = nullif(current_setting('pipecopy.oid'), '')::oid
), inner_types (attnum, oid, holds_oid) AS (
    SELECT attnum, atttypid, false FROM pg_attribute JOIN target ON attrelid = target.oid
    WHERE attnum > 0 AND NOT attisdropped
  UNION
    SELECT i.attnum, part.oid, part.holds_oid
    FROM inner_types i JOIN pg_type t ON t.oid = i.oid
    CROSS JOIN LATERAL (
        SELECT t.typbasetype AS oid, i.holds_oid AS holds_oid WHERE t.typtype = 'd'
      UNION ALL
        SELECT t.typelem, true
        WHERE t.typelem <> 0 AND t.typsubscript = 'array_subscript_handler'::regproc
      UNION ALL
        SELECT a.atttypid, true FROM pg_attribute a
        WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
      UNION ALL
        SELECT r.rngsubtype, false FROM pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
    ) AS part
), portable AS (
    SELECT attnum, bool_and(
        t.typsend <> 0 AND t.typreceive <> 0
        AND NOT (holds_oid AND t.oid >= 16384)
        AND t.oid NOT IN (SELECT oid FROM pg_type WHERE typname LIKE 'reg%'
                          AND typnamespace = 'pg_catalog'::regnamespace)
    ) AS portable
    FROM inner_types i JOIN pg_type t ON t.oid = i.oid GROUP BY attnum
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
SELECT target.oid, target.nspname, target.relname, target.relkind, target.database_oid,
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
       portable.portable
FROM target
LEFT JOIN pg_attribute a ON a.attrelid = target.oid AND a.attnum > 0 AND NOT a.attisdropped
    AND a.attgenerated = ''
LEFT JOIN portable ON portable.attnum = a.attnum
ORDER BY a.attnum
"""
