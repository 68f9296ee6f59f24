# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""A table made like the source's: what that is like, and how it is made if it is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import psycopg

from pipecopy.postgres.errors import (
    UNDEFINED_OBJECT,
    UNDEFINED_SCHEMA,
    UNIQUE_VIOLATION,
    PostgresError,
)
from pipecopy.postgres.names import literal, quoted, readings
from pipecopy.postgres.schema import (
    SERVER,
    ColumnDefinition,
    SequenceDefinition,
    TableDefinition,
    definition_of,
)
from pipecopy.postgres.sequence import NEXT_VALUE
from pipecopy.postgres.session import Line
from pipecopy.postgres.settings import take_lock, try_lock
from pipecopy.postgres.table import (
    NEVER_NULL,
    Selection,
    Table,
    TableColumn,
    ask_catalogs,
    find_table,
)

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


def define(line: Line, table: Table) -> dict[str, Any]:
    """Return what the table is like as plain values, for `definition_of`."""
    ((told, columns),) = ask_catalogs(
        line,
        _DEFINITION.replace("{oid}", str(table.oid)).replace("{key}", str(table.keyed.number)),
    )
    wanted = [*table.columns, *table.generated]
    if not table.others:  # as it stands there, the generated ones among the others
        wanted.sort(key=lambda column: column.number)
    unique = table.unique_index is not None
    besides = (
        (one, several, count - int(unique and one == "index"))
        for one, several, count in told["besides"]
    )
    definition = TableDefinition(
        name=table.name,
        kind=table.kind,
        columns=tuple(_column(column, columns[column.name]) for column in wanted),
        key=table.keyed.name,
        key_index=("PRIMARY KEY" if told["is_primary"] else "UNIQUE") if unique else "",
        besides=tuple(f"{n} {one if n == 1 else several}" for one, several, n in besides if n > 0),
    )
    return {"server": SERVER, **asdict(definition)}


def _column(column: TableColumn, told: Mapping[str, Any]) -> ColumnDefinition:
    sequence = told["sequence"] and SequenceDefinition(**told["sequence"])
    return ColumnDefinition(
        **{**told, "name": column.name, "type": column.shape, "sequence": sequence}
    )


def create(line: Line, selection: Selection, source: Any) -> str | None:
    """Make the table, and take the copy's lock on it, in one transaction.

    Nothing is made where the table is there, or where the source's is not known or has problems
    of its own; one that is there may have come since the session began, so it is locked. Returns
    sentences on what is not like the source's, None where all is.

    Raises PostgresError for a schema, type, collation or whatever else the definition needs and
    the target has not, and where another copy holds the table; and psycopg's errors.
    """
    made = _made(line, selection, source)
    if made is None:
        take_lock(line.query, selection.table, line.facts.statement_timeout)
        return None
    try:
        # the expressions name all that is not the server's own with its schema
        ask_catalogs(line, "; ".join(made.statements()))
    except psycopg.Error as error:
        if error.sqlstate in _THERE_ALREADY and take_lock(
            line.query, selection.table, line.facts.statement_timeout
        ):
            return None
        if error.sqlstate is None or not error.sqlstate.startswith(_ABOUT_THE_TABLE):
            raise
        raise PostgresError(
            f"the target can't make the table {made.sql} like the source's:"
            f" {error.diag.message_primary}",
            error.sqlstate,
        ) from error
    return " ".join(made.remarks()) or None


def foretell(line: Line, selection: Selection, source: Any) -> tuple[str, str, list[str]] | None:
    """Return what `create` would do: the table's schema, the SQL, and what it would say.

    None where it would do nothing; raises what it would raise before it writes.
    """
    made = _made(line, selection, source)
    if made is None:
        return None
    # what it selects is for the session alone
    statements = (text for text in made.statements() if not text.startswith("SELECT"))
    return made.schema, "; ".join(statements) + ";", [*made.remarks()]


def _made(line: Line, selection: Selection, source: Any) -> _Made | None:
    definition = definition_of(source)
    if definition is None or source.problems or find_table(line, selection) is not None:
        return None
    schema, name = _place(line, selection, definition)
    _refuse_unknown_types(line, definition)
    return _Made(line, schema, name, definition)


def _place(line: Line, selection: Selection, definition: TableDefinition) -> tuple[str, str]:
    """Return the schema and the name of the new table."""
    meant = readings(selection.table)
    # the source's name was perhaps found by one of the other readings
    parts = next((parts for parts in meant if parts[-1] == definition.name), meant[0])
    *given, name = parts
    if not given:  # where the role's search path begins
        ((schema,),) = line.query("SELECT pg_catalog.current_schema()")
        if schema is None:
            raise PostgresError(
                f"the search path has no schema in which the table {name} could be made",
                UNDEFINED_SCHEMA,
            )
        return schema, name
    schema = given[0]
    if not ask_catalogs(line, f"SELECT 1 FROM pg_namespace WHERE nspname = {literal(schema)}"):
        raise PostgresError(
            f"there is no schema {schema} in which the table {name} could be made.",
            UNDEFINED_SCHEMA,
            f"CREATE SCHEMA {quoted(schema)};",
        )
    return schema, name


def _refuse_unknown_types(line: Line, definition: TableDefinition) -> None:
    types = ", ".join(dict.fromkeys(f"({literal(c.type.name)})" for c in definition.columns))
    collations = ", ".join(
        dict.fromkeys(f"({literal(c.collation or '')})" for c in definition.columns)
    )
    missing = [
        f"the {what} {name}"
        for what, name in ask_catalogs(
            line,
            f"SELECT 'type', name FROM (VALUES {types}) AS types (name)"
            " WHERE to_regtype(name) IS NULL UNION ALL"
            f" SELECT 'collation', name FROM (VALUES {collations}) AS collations (name)"
            " WHERE name <> '' AND to_regcollation(name) IS NULL",
        )
    ]
    if missing:
        raise PostgresError(
            f"the target lacks what the source's table has: {', '.join(missing)}", UNDEFINED_OBJECT
        )


class _Made:
    """The statements that make a table, and what is to be said of it."""

    def __init__(self, line: Line, schema: str, name: str, definition: TableDefinition) -> None:
        self.sql = quoted(schema, name)
        self.schema = schema
        self._definition = definition
        self._virtual = line.facts.version >= _HAS_VIRTUAL
        self._sequences = {
            column.name: quoted(schema, _free_name(line, schema, column.sequence.name))
            for column in definition.columns
            if column.sequence is not None and self._has_own_sequence(column)
        }

    def _has_own_sequence(self, column: ColumnDefinition) -> bool:
        """Tell whether a sequence is made for the column's default."""
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
        """Tell whether the column is to take values given: no UPDATE could, if it were ALWAYS."""
        return column.identity == "d" or column.name != self._definition.key

    def _others_with_sequence(self) -> list[ColumnDefinition]:
        """Return the columns whose sequence no `finish` sets past what was copied."""
        return [
            column
            for column in self._definition.columns
            if column.name != self._definition.key
            and (column.identity or column.name in self._sequences)
        ]

    def remarks(self) -> Iterator[str]:
        definition = self._definition
        if definition.besides:
            yield (
                f"The table {self.sql} was made without what the source's has besides:"
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
                    f"The sequence of its column {quoted(name)} begins anew: the source's role may"
                    f" not read where {quoted(sequence.name)} is."
                )


def _free_name(line: Line, schema: str, name: str) -> str:
    """Return the name, with a number after it where something else is called so."""
    start = name.encode()[:_NAME_BYTES].decode(errors="ignore")  # no half of a character
    names = [name, *(f"{start}{number}" for number in range(1, _MOST_NAMES))]
    values = ", ".join(f"({number}, {literal(one)})" for number, one in enumerate(names))
    ((free,),) = ask_catalogs(
        line,
        f"SELECT name FROM (VALUES {values}) AS names (number, name) WHERE NOT EXISTS ("
        " SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        f" WHERE nspname = {literal(schema)} AND relname = name) ORDER BY number LIMIT 1",
    )
    return str(free)


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
