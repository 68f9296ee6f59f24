"""A table as the server's catalogs describe it, in one query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipecopy.contracts import Column
from pipecopy.postgres.catalog_query import COLUMNS
from pipecopy.postgres.chosen import chosen, column_named
from pipecopy.postgres.connection import Line
from pipecopy.postgres.errors import PostgresError
from pipecopy.postgres.names import CATALOG_PATH, about_table, literal, quoted
from pipecopy.postgres.selection import Selection
from pipecopy.postgres.sqlstates import UNDEFINED_COLUMN

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
    """Stands for the column where rows are read, and raises at such a value: see forms.py."""
    what: str
    """Which values, and why."""


@dataclass(frozen=True, kw_only=True)
class TableColumn:
    """One column."""

    name: str
    type: str
    definition: str
    """What the type is, with all types within; empty for the server's own types."""
    layout: str
    """The type, with what it is made of but for the labels of enums."""
    labels: Mapping[str, tuple[str, ...]]
    """Those of the enums within, in their order, by each type's oid."""
    type_oid: int
    """The type's; for a domain its base type's, and for an enum text, as which it is sent."""
    number: int
    not_null: bool
    needs_value: bool
    """An insert that leaves it out fails: it may not be NULL, and has no default."""
    always_identity: bool
    """GENERATED ALWAYS AS IDENTITY: an UPDATE can't set it."""
    is_integer: bool
    portable: bool
    """Its binary form is the same on any server: no foreign OIDs in it."""
    has_names: bool
    """Its text holds names of objects (the reg* types): as short as the search path allows."""
    versioned: tuple[str, ...]
    """The types in it of which some value is another one on other versions: see forms.py."""
    send: str
    """The function that makes its binary form; empty where there is none."""
    expression: str | None
    """What the server computes it by, so that no COPY takes it; None for any other column."""
    odd: OddValues | None = None

    @property
    def spelled(self) -> str:
        """The type, with what it is made of if it is not one of the server's own."""
        return _spelled(self.type, self.definition)


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
    """One sentence for each chosen column that can't be one."""
    where: str | None
    """The condition that the rows meet which are read; see `sql.condition`."""
    generated: tuple[TableColumn, ...]
    """Those that the server computes; none where columns were chosen."""
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
    types: tuple[int, ...] = ()
    """The users' types within its columns' types."""
    types_token: str = ""
    """The versions of what those are made of; empty if there are none."""
    as_text: bool = False
    """The rows go in the text format, since the other side's types or server may differ."""

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
        return not self.as_text and all(column.portable for column in self.columns)

    @property
    def has_names(self) -> bool:
        """Whether a row's text holds names that depend on the search path."""
        return any(column.has_names for column in self.columns)

    @property
    def takes_direct(self) -> bool:
        """Whether rows may be copied into it without a table in between: see saving.py."""
        return not (self.before_triggers or self.has_names)

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
        return tuple(map(_described, (*self.columns, *self.generated)))


def with_partitions(table: Table) -> str:
    """Return SQL, for a query of the catalogs, for the oids of the table and its partitions."""
    return f"SELECT {table.oid}::oid UNION SELECT relid FROM pg_partition_tree({table.oid})"  # noqa: S608 - numbers


def fires(enabled: str) -> str:
    """Return SQL, for a query of the catalogs, for whether a trigger or a rule fires here."""
    return (
        f"{enabled} IN ('A', CASE current_setting('session_replication_role')"
        " WHEN 'replica' THEN 'R' ELSE 'O' END)"
    )


def ask_catalogs(line: Line, sql: str) -> list[tuple[Any, ...]]:
    """Run a query of the catalogs, whose names are the server's own under any search path."""
    return line.query(CATALOG_PATH + sql)


def find_table(line: Line, selection: Selection) -> Table | None:
    """Return the table of that name, None where there is none, in one round trip."""
    rows = line.query(about_table(selection.table, COLUMNS))
    if not rows:
        return None
    oid, schema, table, kind, database_oid, *facts, indexes = rows[0][:9]
    has_children, is_temporary, before_triggers = facts
    every = [_column(row) for row in rows if row[9] is not None]
    columns = tuple(column for column in every if column.expression is None)
    generated = tuple(column for column in every if column.expression is not None)
    by_name = {column.name: column for column in columns}
    key_name = column_named(selection.key, by_name)
    copied, misnamed = chosen(
        selection.columns,
        quoted(schema, table),
        columns=by_name,
        generated=[column.name for column in generated],
        key=key_name,
    )
    found = None if key_name is None else by_name[key_name]
    unique, ordered = indexes.get(str(found.number), (None, False)) if found else (None, False)
    return Table(
        oid=oid,
        schema=schema,
        name=table,
        kind=kind,
        columns=tuple(by_name[name] for name in copied),
        others=tuple(column for column in columns if column.name not in copied),
        misnamed=misnamed,
        where=selection.where,
        generated=generated if selection.columns is None else (),
        key=found,
        # an index of the table alone says nothing about the rows of those that inherit from it
        unique_index=unique if isinstance(unique, str) and not has_children else None,
        ordered_index=bool(ordered),
        database_oid=database_oid,
        has_children=has_children,
        is_temporary=is_temporary,
        before_triggers=before_triggers,
        types=tuple(rows[0][24]),
        types_token=rows[0][25] if rows[0][24] else "",
    )


def _column(row: tuple[Any, ...]) -> TableColumn:
    return TableColumn(
        name=row[9],
        type=row[10],
        type_oid=row[11],
        number=row[12],
        not_null=row[13],
        always_identity=row[14],
        is_integer=row[15],
        portable=row[16],
        has_names=row[17],
        definition=_definition(row[18], row[20] or {}),
        layout=f"{row[10]} {_definition(row[18], row[20] or {}, labels=False)}".strip(),
        labels={
            oid: tuple(label for _, label, _, _ in parts or ())
            for oid, (kind, parts) in (row[20] or {}).items()
            if kind == "e"
        },
        expression=row[19],
        needs_value=row[21],
        versioned=tuple(row[22]),
        send=row[23] or "",
    )


def _described(column: TableColumn) -> Column:
    type_ = column.spelled
    if column.expression is not None:
        type_ += f" GENERATED ALWAYS AS ({column.expression})"
    return Column(name=column.name, type=type_)


def _definition(oid: int, own_types: dict[str, list[Any]], *, labels: bool = True) -> str:
    """Return what a type is, from the catalogs' parts of it and of the types within.

    Without `labels`, of an enum only that it is one.
    """
    kind, parts = own_types.get(str(oid), ("b", []))
    inner = [
        (name, _spelled(type_, _definition(inner_oid, own_types, labels=labels)), inner_oid)
        for _, name, type_, inner_oid in parts or []
    ]
    if kind == "d":
        return f"domain over {inner[0][1]}"
    if kind in "rm":
        return f"{'range' if kind == 'r' else 'multirange'} over {inner[0][1]}"
    if kind == "c":
        return "composite: " + ", ".join(f"{quoted(name)} {type_}" for name, type_, _ in inner)
    if kind == "e":
        listed = ", ".join(literal(name) for name, _, _ in inner) or "no values"
        return f"enum: {listed}" if labels else "enum"
    if kind == "a":  # it has no more to it than its elements' type
        return _definition(inner[0][2], own_types, labels=labels)
    return ""


def _spelled(type_: str, definition: str) -> str:
    return f"{type_} ({definition})" if definition else type_
