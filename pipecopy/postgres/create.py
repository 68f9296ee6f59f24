# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""Creates the target table like the source table, if it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg

from pipecopy.postgres.errors import (
    UNDEFINED_OBJECT,
    UNDEFINED_SCHEMA,
    UNIQUE_VIOLATION,
    PostgresError,
)
from pipecopy.postgres.names import literal, quoted, readings
from pipecopy.postgres.schema import ColumnDefinition, TableDefinition, definition_of
from pipecopy.postgres.selection import Selection
from pipecopy.postgres.session import ServerSession
from pipecopy.postgres.session_start import take_lock, try_lock
from pipecopy.postgres.table import find_table

_HAS_VIRTUAL = 180000
_KINDS = {
    "p": "is partitioned, and this one is a plain table",
    "v": "is a view, so this one has no index on its key",
    "m": "is a materialized view",
    "f": "is a foreign table",
}
_ABOUT_THE_TABLE = ("0A", "22", "42")
"""Classes of SQLSTATE of what a server says of a definition that it can't take."""
_THERE_ALREADY = ("42P07", "42710", UNIQUE_VIOLATION)
"""SQLSTATEs of a table, its row type, or its entry in the catalog that another has just made."""
_MOST_NAMES = 100
_NAME_BYTES = 60
"""Of a name's start, before a number: the server cuts names at 63."""


def create(session: ServerSession, selection: Selection, source: Any) -> str | None:
    """Create the table, and take the copy's lock on it, in one transaction.

    Nothing is created if the table is there, or if the source table is not known or has problems;
    one that is there may have come since the session began, so it is locked. Returns warnings of
    what is not like the source table, None if all is.

    Raises PostgresError for a schema, type, collation or whatever else the definition needs and
    the target has not, and if another copy holds the table; and psycopg's errors.
    """
    new = _new_table(session, selection, source)
    if new is None:
        take_lock(session.query, selection.table, session.facts.statement_timeout)
        return None
    try:
        # the expressions name all that is not the server's own with its schema
        session.ask_catalogs("; ".join(new.statements()))
    except psycopg.Error as error:
        if error.sqlstate in _THERE_ALREADY and take_lock(
            session.query, selection.table, session.facts.statement_timeout
        ):
            return None
        if error.sqlstate is None or not error.sqlstate.startswith(_ABOUT_THE_TABLE):
            raise
        raise PostgresError(
            f"the target can't create the table {new.sql} like the source table:"
            f" {error.diag.message_primary}",
            error.sqlstate,
        ) from error
    return " ".join(new.warnings()) or None


def plan(
    session: ServerSession, selection: Selection, source: Any
) -> tuple[str, str, list[str]] | None:
    """Return what `create` would do: the table's schema, the SQL, and the warnings.

    None if it would do nothing; raises what it would raise before it writes.
    """
    new = _new_table(session, selection, source)
    if new is None:
        return None
    # what it selects is for the session alone
    statements = (text for text in new.statements() if not text.startswith("SELECT"))
    return new.schema, "; ".join(statements) + ";", [*new.warnings()]


def _new_table(session: ServerSession, selection: Selection, source: Any) -> _NewTable | None:
    definition = definition_of(source)
    if definition is None or source.problems or find_table(session, selection) is not None:
        return None
    schema, name = _place(session, selection, definition)
    _refuse_unknown_types(session, definition)
    return _NewTable(session, schema, name, definition)


def _place(
    session: ServerSession, selection: Selection, definition: TableDefinition
) -> tuple[str, str]:
    """Return the schema and the name of the new table."""
    meant = readings(selection.table)
    # the source table's name was perhaps found by one of the other readings
    parts = next((parts for parts in meant if parts[-1] == definition.name), meant[0])
    *given, name = parts
    if not given:  # it is where the role's search path begins
        ((schema,),) = session.query("SELECT pg_catalog.current_schema()")
        if schema is None:
            raise PostgresError(
                f"the search path has no schema in which the table {name} could be created",
                UNDEFINED_SCHEMA,
            )
        return schema, name
    schema = given[0]
    if not session.ask_catalogs(f"SELECT 1 FROM pg_namespace WHERE nspname = {literal(schema)}"):
        raise PostgresError(
            f"there is no schema {schema} in which the table {name} could be created.",
            UNDEFINED_SCHEMA,
            f"CREATE SCHEMA {quoted(schema)};",
        )
    return schema, name


def _refuse_unknown_types(session: ServerSession, definition: TableDefinition) -> None:
    types = ", ".join(dict.fromkeys(f"({literal(c.type.name)})" for c in definition.columns))
    collations = ", ".join(
        dict.fromkeys(f"({literal(c.collation or '')})" for c in definition.columns)
    )
    missing = [
        f"the {what} {name}"
        for what, name in session.ask_catalogs(
            f"SELECT 'type', name FROM (VALUES {types}) AS types (name)"
            " WHERE to_regtype(name) IS NULL UNION ALL"
            f" SELECT 'collation', name FROM (VALUES {collations}) AS collations (name)"
            " WHERE name <> '' AND to_regcollation(name) IS NULL",
        )
    ]
    if missing:
        raise PostgresError(
            f"the target lacks what the source table has: {', '.join(missing)}", UNDEFINED_OBJECT
        )


class _NewTable:
    """The statements that make a table, and what is to be said of it."""

    def __init__(
        self, session: ServerSession, schema: str, name: str, definition: TableDefinition
    ) -> None:
        self.sql = quoted(schema, name)
        self.schema = schema
        self._definition = definition
        self._virtual = session.facts.version >= _HAS_VIRTUAL
        self._sequences = {
            column.name: quoted(schema, _free_name(session, schema, column.sequence.name))
            for column in definition.columns
            if column.sequence is not None and self._has_own_sequence(column)
        }

    def _has_own_sequence(self, column: ColumnDefinition) -> bool:
        """Return whether a sequence is made for the column's default."""
        sequence = column.sequence
        return (
            sequence is not None
            and sequence.is_default
            and not column.identity
            and (sequence.is_owned or column.name == self._definition.key)
        )

    def statements(self) -> Iterator[str]:
        definition = self._definition
        for column in definition.columns:
            if column.name in self._sequences and column.sequence is not None:
                yield (
                    f"CREATE SEQUENCE {self._sequences[column.name]} AS {column.sequence.type}"
                    f" {column.sequence.options}"
                )
        parts = [self._column(column) for column in definition.columns]
        if definition.key_index == "PRIMARY KEY":
            parts.append(f"PRIMARY KEY ({quoted(definition.key)})")
        yield f"CREATE TABLE {self.sql} ({', '.join(parts)})"
        if definition.key_index == "UNIQUE":
            yield f"CREATE UNIQUE INDEX ON {self.sql} ({quoted(definition.key)})"
        for name, sequence in self._sequences.items():
            yield f"ALTER SEQUENCE {sequence} OWNED BY {self.sql}.{quoted(name)}"
        for column in self._others_with_sequence():
            if column.sequence is not None and column.sequence.last is not None:
                yield (
                    f"SELECT setval(pg_get_serial_sequence({literal(self.sql)},"
                    f" {literal(column.name)}), {column.sequence.last})"
                )
        yield f"SELECT {try_lock(f'{literal(self.sql)}::regclass::oid')}"

    def _column(self, column: ColumnDefinition) -> str:
        words = [quoted(column.name), column.type.text]
        if column.collation is not None:
            words.append(f"COLLATE {column.collation}")
        if column.not_null:
            words.append("NOT NULL")
        if column.generated:
            how = "VIRTUAL" if column.generated == "v" and self._virtual else "STORED"
            words.append(f"GENERATED ALWAYS AS ({column.default}) {how}")
        elif column.identity and column.sequence is not None:
            when = "BY DEFAULT" if self._can_be_set(column) else "ALWAYS"
            words.append(f"GENERATED {when} AS IDENTITY ({column.sequence.options})")
        elif column.name in self._sequences:
            words.append(f"DEFAULT nextval({literal(self._sequences[column.name])}::regclass)")
        elif column.default is not None and self._definition.kind != "v":
            words.append(f"DEFAULT {column.default}")
        return " ".join(words)

    def _can_be_set(self, column: ColumnDefinition) -> bool:
        """Return whether it takes given values: no UPDATE could set it, if it were ALWAYS."""
        return column.identity == "d" or column.name != self._definition.key

    def _others_with_sequence(self) -> list[ColumnDefinition]:
        """Return the columns whose sequence no `finish` sets past what was copied."""
        return [
            column
            for column in self._definition.columns
            if column.name != self._definition.key
            and (column.identity or column.name in self._sequences)
        ]

    def warnings(self) -> Iterator[str]:
        definition = self._definition
        if definition.besides:
            yield (
                f"The table {self.sql} was created without what the source table has besides:"
                f" {', '.join(definition.besides)}."
            )
        if definition.kind in _KINDS:
            yield f"The source of the new table {self.sql} {_KINDS[definition.kind]}."
        for column in definition.columns:
            name = quoted(column.name)
            if column.generated == "v" and not self._virtual:
                yield f"Its column {name}, VIRTUAL in the source, is STORED."
            if column.identity == "a" and self._can_be_set(column):
                yield (
                    f"Its column {name}, GENERATED ALWAYS AS IDENTITY in the source, is so BY"
                    " DEFAULT: it could not be copied otherwise."
                )
        others = [(c.name, c.sequence) for c in self._others_with_sequence() if c.sequence]
        names = ", ".join(quoted(name) for name, sequence in others if sequence.may_be_read)
        if names:
            yield f"The sequences of its columns {names} begin where the source's were."
        for name, sequence in others:
            if not sequence.may_be_read:
                yield (
                    f"The sequence of its column {quoted(name)} starts over: the source's role may"
                    f" not read where {quoted(sequence.name)} is."
                )


def _free_name(session: ServerSession, schema: str, name: str) -> str:
    """Return the name, with a number after it if something else is called so."""
    start = name.encode()[:_NAME_BYTES].decode(errors="ignore")  # no half of a character
    names = [name, *(f"{start}{number}" for number in range(1, _MOST_NAMES))]
    values = ", ".join(f"({number}, {literal(one)})" for number, one in enumerate(names))
    ((free,),) = session.ask_catalogs(
        f"SELECT name FROM (VALUES {values}) AS names (number, name) WHERE NOT EXISTS ("
        " SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        f" WHERE nspname = {literal(schema)} AND relname = name) ORDER BY number LIMIT 1",
    )
    return str(free)
