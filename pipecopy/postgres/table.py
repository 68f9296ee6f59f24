# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""The table that was asked for, as the server's catalogs describe it, in one query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pipecopy.contracts import Column
from pipecopy.postgres.errors import UNDEFINED_COLUMN, PostgresError
from pipecopy.postgres.names import about_table, quoted
from pipecopy.postgres.questions import Rows
from pipecopy.postgres.selection import Selection, chosen, column_named, left_out_of
from pipecopy.postgres.session import ServerSession
from pipecopy.postgres.types import (
    GREATEST,
    INTEGERS,
    REACHED,
    TYPES,
    USERS_TYPES,
    TypeShape,
    shape_of,
    types_token,
)

NO_TABLES = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}
"""What a relation is that is none, by pg_class.relkind."""
NOT_READ = {
    "i": "an index",
    "I": "an index",
    "S": "a sequence",
    "c": "a composite type",
    "t": "a TOAST table",
}
"""The same, of what has no rows to copy."""


@dataclass(frozen=True)
class OddValues:
    """Values of a column that are not sent, since the other side would take them for other ones."""

    sql: str
    """Stands for the column when rows are read, and raises at such a value: see versions.py."""
    what: str
    """Which values, and why."""


@dataclass(frozen=True, kw_only=True)
class TableColumn:
    """One column."""

    name: str
    number: int
    shape: TypeShape
    not_null: bool
    needs_value: bool
    """An insert that leaves it out fails: it may not be NULL, and has no default."""
    always_identity: bool
    """GENERATED ALWAYS AS IDENTITY: an UPDATE can't set it."""
    expression: str | None
    """What the server computes it by, so that no COPY takes it; None for any other column."""
    odd: OddValues | None = None

    @property
    def type(self) -> str:
        """The type as SQL writes it."""
        return self.shape.text

    @property
    def type_oid(self) -> int:
        """The oid of the type as which its values are sent."""
        return self.shape.sent_as

    @property
    def is_integer(self) -> bool:
        """Whether its values are whole numbers of up to eight bytes."""
        return self.shape.base.name in INTEGERS

    @property
    def greatest(self) -> int | None:
        """The greatest value of an integer type; None for one that holds any id."""
        return GREATEST.get(self.shape.base.name)


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table, with the key by which it is copied."""

    oid: int
    schema: str
    name: str
    kind: str
    """pg_class.relkind: r, p (partitioned), v, m, f."""
    columns: tuple[TableColumn, ...]
    """Those that are copied: all, or the chosen ones in their order."""
    others: tuple[TableColumn, ...]
    """Those that could be copied and were not chosen."""
    misnamed: tuple[str, ...]
    """One line for each chosen column that can't be one."""
    not_found: tuple[str, ...]
    """The names to be left out that no column has; the other side's table may have it."""
    where: str | None
    """The condition that the rows meet which are read; see `reader.condition`."""
    generated: tuple[TableColumn, ...]
    """Those that the server computes and that were not left out; none if columns were chosen."""
    key: TableColumn | None
    unique_index: str | None
    """A valid, whole, immediate unique index on the key alone, on which a conflict is decided."""
    has_wider_unique_index: bool
    """One that begins with the key: its values may be there several times."""
    partitioned_by: tuple[str, ...]
    """Columns of the partition keys, at any level; an empty name for an expression."""
    possible_keys: tuple[str, ...]
    """Integer columns with a unique index, each on itself alone."""
    ordered_index: bool
    """There is an index that begins with the key."""
    nulls_first: bool
    """Each such index has NULLs before the first key: another order would not use it."""
    database_oid: int
    has_children: bool
    """Tables inherit from it, whose rows it shows; a partitioned table's partitions are none."""
    is_temporary: bool
    before_triggers: bool
    """It, or a partition, has triggers that may drop rows before they are written."""
    types: tuple[int, ...] = ()
    """The users' types within its columns' types."""
    types_token: str = ""
    """The versions of what those are made of; empty if there are none."""
    as_text: bool = False
    """The rows go in the text format, since the other side's types or server may differ."""

    as_bytes: bool = False
    """Texts go as they are, since neither database knows their encoding."""

    @property
    def sql(self) -> str:
        """The name as SQL reads it."""
        return quoted(self.schema, self.name)

    @property
    def key_sql(self) -> str:
        """The key's name as SQL reads it."""
        return quoted(self.keyed.name)

    def key_order(self, direction: Literal["ASC", "DESC"] = "ASC") -> str:
        """Return SQL to order rows by the key, none of which is NULL, as an index does."""
        nulls = {"ASC": " NULLS FIRST", "DESC": " NULLS LAST"} if self.nulls_first else {}
        return f"{self.key_sql} {direction}{nulls.get(direction, '')}"

    @property
    def keyed(self) -> TableColumn:
        """The key column; raises PostgresError if it is missing."""
        if self.key is None:
            raise PostgresError(f"the table {self.sql} lacks the key column", UNDEFINED_COLUMN)
        return self.key

    @property
    def may_be_unique(self) -> bool:
        """Whether there could be a unique index on the key alone: one has all partition keys."""
        return self.key is not None and set(self.partitioned_by) <= {self.key.name}

    @property
    def portable(self) -> bool:
        """Whether the rows can go in the binary format."""
        return not self.as_text and all(column.shape.portable for column in self.columns)

    @property
    def has_names(self) -> bool:
        """Whether a row's text holds names that depend on the search path."""
        return any(column.shape.has_names for column in self.columns)

    @property
    def takes_direct(self) -> bool:
        """Whether rows may be copied into it without a table in between: see writer.py."""
        return not (self.before_triggers or self.has_names)

    def copying(self, copy: str) -> str:
        """Return the COPY of its rows with the settings that it needs."""
        if not self.as_bytes:
            return copy
        return f"SET LOCAL client_encoding TO SQL_ASCII; {copy}; SET LOCAL client_encoding TO UTF8"

    def with_columns(self, names: Sequence[str]) -> Table:
        """Return the table with these columns chosen, as far as it has them."""
        by_name = {column.name: column for column in (*self.columns, *self.others)}
        return replace(
            self,
            columns=tuple(by_name[name] for name in names if name in by_name),
            others=tuple(column for name, column in by_name.items() if name not in names),
        )

    def described(self) -> tuple[Column, ...]:
        """Return the columns for the comparison with the other side's, the generated ones last."""
        return tuple(
            Column(
                name=column.name,
                type=column.shape.spelled(),
                generated=column.expression,
                needs_value=column.needs_value,
            )
            for column in (*self.columns, *self.generated)
        )


def with_partitions(table: Table) -> str:
    """Return SQL, for a query of the catalogs, for the oids of the table and its partitions."""
    return f"SELECT {table.oid}::oid UNION SELECT relid FROM pg_partition_tree({table.oid})"


def fires(enabled: str) -> str:
    """Return SQL, for a query of the catalogs, for whether a trigger or a rule fires here."""
    return (
        f"{enabled} IN ('A', CASE current_setting('session_replication_role')"
        " WHEN 'replica' THEN 'R' ELSE 'O' END)"
    )


def find_table(session: ServerSession, selection: Selection) -> Table | None:
    """Return the table of that name, None if there is none, in one round trip."""
    return table_from(session.query(about_table(selection.table, TABLE)), selection)


def table_from(rows: Rows, selection: Selection) -> Table | None:
    """Return what `TABLE` found."""
    if not rows:
        return None
    ((facts, column_facts, types, indexes, types_token),) = rows
    every = [_column(each, types) for each in column_facts or ()]
    columns = {column.name: column for column in every if column.expression is None}
    generated = tuple(column for column in every if column.expression is not None)
    key_name = column_named(selection.key, columns)
    left_out, not_found = left_out_of(selection.exclude, [column.name for column in every])
    copied, misnamed = chosen(
        selection.columns,
        quoted(facts["schema"], facts["name"]),
        columns=columns,
        left_out=left_out,
        generated=[column.name for column in generated],
        key=key_name,
    )
    key = None if key_name is None else columns[key_name]
    indexes = indexes or {}
    none = (None, False, False, False)
    unique, ordered, nulls_first, is_wider = indexes.get(str(key.number), none) if key else none
    partitioned_by = tuple(facts.pop("partitioned_by"))
    users_types = {t.oid for column in every for t in column.shape.within if t.is_user_made}
    return Table(
        **facts,
        columns=tuple(columns[name] for name in copied),
        others=tuple(column for name, column in columns.items() if name not in copied),
        misnamed=misnamed,
        not_found=not_found,
        where=selection.where,
        generated=tuple(
            column
            for column in generated
            if selection.columns is None and column.name not in left_out
        ),
        key=key,
        # an index of the table alone says nothing about the rows of those that inherit from it
        unique_index=None if facts["has_children"] else unique,
        has_wider_unique_index=is_wider,
        partitioned_by=partitioned_by,
        possible_keys=tuple(
            column.name
            for column in columns.values()
            if column.is_integer and indexes.get(str(column.number), none)[0] is not None
        ),
        ordered_index=ordered,
        nulls_first=nulls_first,
        types=tuple(sorted(users_types)),
        types_token=types_token if users_types else "",
    )


def _column(facts: Mapping[str, Any], types: Mapping[str, Any]) -> TableColumn:
    shape = shape_of(types, facts["type"], facts["modifier"], facts["text"])
    has_default = facts["has_default"] or shape.has_default
    return TableColumn(
        name=facts["name"],
        number=facts["number"],
        shape=shape,
        not_null=facts["never_null"],
        needs_value=(facts["not_null"] or shape.not_null) and not has_default,
        always_identity=facts["always_identity"],
        expression=facts["expression"],
    )


NEVER_NULL = """
a.attnotnull AND NOT EXISTS (  -- since 18 such a constraint may not be valid yet
    SELECT FROM pg_constraint WHERE conrelid = a.attrelid AND contype = 'n'
    AND conkey[1] = a.attnum AND NOT convalidated)
"""
"""Whether the column `a` of pg_attribute holds no NULL."""


TABLE = f"""
WITH RECURSIVE target AS (
    SELECT c.oid::bigint, n.nspname AS schema, c.relname AS name, c.relkind AS kind,
           (SELECT oid::bigint FROM pg_database WHERE datname = current_database())
               AS database_oid,
           c.relkind <> 'p' AND EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid)
               AS has_children,
           c.relpersistence = 't' AS is_temporary,
           EXISTS (SELECT FROM pg_trigger WHERE tgenabled <> 'D' AND tgtype & 3 = 3
                   AND (tgrelid = c.oid OR tgrelid IN (SELECT relid FROM pg_partition_tree(c.oid))))
               AS before_triggers,  -- bit 0: for each row; bit 1: before
           ARRAY(SELECT DISTINCT coalesce(a.attname, '')
                 FROM pg_partitioned_table p CROSS JOIN unnest(p.partattrs) AS number
                 LEFT JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = number
                 WHERE p.partrelid IN (SELECT relid FROM pg_partition_tree(c.oid)) ORDER BY 1)
               AS partitioned_by
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = nullif(current_setting('pipecopy.oid'), '')::oid
), columns AS (
    SELECT a.attname AS name, a.attnum AS number, a.atttypid AS type, a.atttypmod AS modifier,
           format_type(a.atttypid, a.atttypmod) AS text,
           a.attnotnull AS not_null, {NEVER_NULL} AS never_null,
           a.atthasdef OR a.attidentity <> '' AS has_default,
           a.attidentity = 'a' AS always_identity,
           CASE WHEN a.attgenerated <> '' THEN (
               SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef
               WHERE adrelid = a.attrelid AND adnum = a.attnum) END AS expression
    FROM pg_attribute a JOIN target ON a.attrelid = target.oid
    WHERE a.attnum > 0 AND NOT a.attisdropped
), {REACHED}, indexes AS (
    SELECT i.indkey[0] AS number,
           min(ic.relname) FILTER (WHERE i.indisunique AND i.indimmediate AND i.indnkeyatts = 1
                                   AND i.indisready) AS unique_index,
           bool_or(am.amname = 'btree') AS ordered_index,
           -- bit 0: DESC; bit 1: NULLS FIRST
           bool_or(am.amname = 'btree') AND NOT bool_or(am.amname = 'btree'
               AND (i.indoption[0] & 1 = 1) = (i.indoption[0] & 2 = 2)) AS nulls_first,
           bool_or(i.indisunique AND i.indnkeyatts > 1) AS is_wider
    FROM pg_index i
    JOIN target ON i.indrelid = target.oid
    JOIN pg_class ic ON ic.oid = i.indexrelid
    JOIN pg_am am ON am.oid = ic.relam
    WHERE i.indisvalid AND i.indpred IS NULL AND i.indkey[0] <> 0
    GROUP BY i.indkey[0]
)
SELECT row_to_json(target),
       (SELECT json_agg(json_build_object(
           'name', name, 'number', number, 'type', type::bigint, 'modifier', modifier, 'text', text,
           'not_null', not_null, 'never_null', never_null, 'has_default', has_default,
           'always_identity', always_identity, 'expression', expression) ORDER BY number)
        FROM columns),
       {TYPES},
       (SELECT json_object_agg(number, json_build_array(
           unique_index, ordered_index, nulls_first, is_wider))
        FROM indexes),
       {types_token(USERS_TYPES)}
FROM target
"""
"""SQL for the table and its columns, types and indexes, to be asked by `about_table`."""
