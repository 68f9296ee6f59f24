# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""Creates the target table like the source table, if it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg

from pipecopy.finding import Finding, problem, warning
from pipecopy.postgres.errors import ABOUT_THE_TABLE, UNIQUE_VIOLATION
from pipecopy.postgres.event_triggers import disabled, fire_for, tried
from pipecopy.postgres.lacking import lacking_names, no_place, unparsable
from pipecopy.postgres.lock import take_lock, try_lock
from pipecopy.postgres.names import literal, quoted, readings
from pipecopy.postgres.questions import ask
from pipecopy.postgres.schema import ColumnDefinition, TableDefinition, definition_of
from pipecopy.postgres.selection import Selection
from pipecopy.postgres.session import ServerSession
from pipecopy.postgres.table import find_table
from pipecopy.postgres.writable import takes_no_writes

_HAS_VIRTUAL = 180000
_KINDS = {
    "p": "is partitioned, and this one is a plain table",
    "v": "is a view, so this one has no index on its key",
    "m": "is a materialized view",
    "f": "is a foreign table",
}
_TAGS = ("CREATE SEQUENCE", "CREATE TABLE", "CREATE INDEX", "ALTER SEQUENCE")
"""Of the statements that create a table, as event triggers know them."""
_THERE_ALREADY = ("42P07", "42710", UNIQUE_VIOLATION)
"""SQLSTATEs of a table, its row type, or its entry in the catalog that another has just made."""
_MOST_NAMES = 100
_NAME_BYTES = 60
"""Of a name's start, before a number: the server cuts names at 63."""


def create(
    session: ServerSession, selection: Selection, source: Any, *, shared: bool = False
) -> list[Finding]:
    """Create the table, and take the copy's lock on it, in one transaction; `shared` with others.

    Nothing is created if the table is there, or if the source table is not known or has problems;
    one that is there may have come since the session began, so it is locked. Returns warnings of
    what is not like the source table; or problems, if the table can't be created.

    Raises TargetInUseError if another run holds the table, and psycopg's errors.
    """
    planned = plan(session, selection, source)
    if planned is None:
        _take_lock(session, selection, shared=shared)
        return []
    if planned.problems:
        return planned.problems
    try:
        lock = f"SELECT {try_lock(f'{literal(planned.sql)}::regclass::oid', shared=shared)}"
        session.ask_catalogs("; ".join([*planned.statements, lock]))
    except psycopg.Error as error:
        if error.sqlstate in _THERE_ALREADY and _take_lock(session, selection, shared=shared):
            return []
        return [planned.refused(error)]
    return planned.warnings


def _take_lock(session: ServerSession, selection: Selection, *, shared: bool) -> bool:
    timeout = session.facts.statement_timeout
    return take_lock(session.query, selection.table, timeout, shared=shared)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a table would be created; not at all if there are problems."""

    sql: str
    """The new table's name."""
    statements: tuple[str, ...] = ()
    """The expressions in them name all that is not the server's own with its schema."""
    warnings: list[Finding] = field(default_factory=list)
    problems: list[Finding] = field(default_factory=list)
    event_triggers: tuple[str, ...] = ()
    """Those that fire for these statements."""

    @property
    def shown(self) -> str:
        """The statements, for a reader; what they select is for the session alone."""
        return "; ".join(text for text in self.statements if not text.startswith("SELECT")) + ";"

    def refused(self, error: psycopg.Error) -> Finding:
        """Return the problem that the server refuses the statements; or raise what is none."""
        if not (error.sqlstate or "").startswith(ABOUT_THE_TABLE):
            raise error
        return problem(
            f"the server can't create the table {self.sql} like the source table:"
            f" {error.diag.message_primary}",
            disabled(self.event_triggers)
            if self.event_triggers
            else "create the table there by hand, without what the server refuses",
            what="create",
        )


def plan(session: ServerSession, selection: Selection, source: Any) -> Plan | None:
    """Return how the table would be created like the source table; None if it would not be."""
    definition = definition_of(source)
    if definition is None or source.problems or find_table(session, selection) is not None:
        return None
    (problems,) = ask(session.query_all, takes_no_writes(session))
    schema, name = _place(selection, definition)
    if schema is None:  # it is where the role's search path begins
        ((schema,),) = session.query("SELECT pg_catalog.current_schema()")
    sql = quoted(name) if schema is None else quoted(schema, name)
    answers = ask(
        session.query_all, no_place(schema, name), lacking_names(definition), fire_for(_TAGS)
    )
    place_problems, lacking, event_triggers = answers
    problems = [*problems, *place_problems, *lacking]
    if not lacking:
        problems += unparsable(session, definition)
    if problems or schema is None:
        return Plan(sql=sql, problems=problems)
    new = _NewTable(session, schema, name, definition)
    return Plan(
        sql=new.sql,
        statements=tuple(new.statements()),
        warnings=[warning(text, what="create") for text in new.warnings()],
        event_triggers=event_triggers,
    )


def foreseen(session: ServerSession, planned: Plan) -> list[Finding]:
    """Return what speaks against the plan, without creating anything that stays.

    Event triggers may refuse any statement: only if there are some, the statements are tried.
    """
    if planned.problems or not planned.event_triggers:
        return planned.problems
    error = tried(session, planned.statements)
    return [] if error is None else [planned.refused(error)]


def _place(selection: Selection, definition: TableDefinition) -> tuple[str | None, str]:
    """Return the schema and the name of the new table; None if no schema was named."""
    meant = readings(selection.table)
    # the source table's name was perhaps found by one of the other readings
    *schema, name = next((parts for parts in meant if parts[-1] == definition.name), meant[0])
    return (schema[0] if schema else None), name


class _NewTable:
    """The statements that make a table, and what is to be said of it."""

    def __init__(
        self, session: ServerSession, schema: str, name: str, definition: TableDefinition
    ) -> None:
        self.sql = quoted(schema, name)
        self._definition = definition
        self._virtual = session.facts.version >= _HAS_VIRTUAL
        self._sequences = {
            column.name: quoted(schema, _free_name(session, schema, column.sequence.name))
            for column in definition.columns
            if column.sequence is not None and definition.draws(column)
        }

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
        definition, new = self._definition, f"the new table {self.sql}"
        if definition.besides:
            yield (
                f"the table {self.sql} was created without what the source table has besides:"
                f" {', '.join(definition.besides)}"
            )
        if definition.kind in _KINDS:
            yield f"the source of the new table {self.sql} {_KINDS[definition.kind]}"
        for column in definition.columns:
            name = quoted(column.name)
            if column.generated == "v" and not self._virtual:
                yield f"the column {name} of {new}, VIRTUAL in the source, is STORED"
            if column.identity == "a" and self._can_be_set(column):
                yield (
                    f"the column {name} of {new}, GENERATED ALWAYS AS IDENTITY in the source, is"
                    " so BY DEFAULT: it could not be copied otherwise"
                )
        others = [(c.name, c.sequence) for c in self._others_with_sequence() if c.sequence]
        names = ", ".join(quoted(name) for name, sequence in others if sequence.may_be_read)
        if names:
            yield f"the sequences of the columns {names} of {new} begin where the source's were"
        for name, sequence in others:
            if not sequence.may_be_read:
                yield (
                    f"the sequence of the column {quoted(name)} of {new} starts over: the source's"
                    f" role may not read where {quoted(sequence.name)} is"
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
