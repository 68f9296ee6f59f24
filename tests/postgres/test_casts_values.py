"""What is said of types that differ is true of the values: exact, or warned of, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from pipecopy.postgres.casts import EXACT, Conversion, conversion
from pipecopy.postgres.selection import Selection
from pipecopy.postgres.table import find_table
from pipecopy.postgres.types import TypeShape
from tests.postgres.samples import SAMPLES
from tests.support.databases import TemporaryDatabase
from tests.support.opened import opened

pytestmark = pytest.mark.server

READ_AS = """
    CREATE FUNCTION read_as(value text, VARIADIC types text[]) RETURNS text LANGUAGE plpgsql AS $$
    DECLARE
        result text;
    BEGIN  -- the text that the type's input function makes of the first, cast on to the others
        EXECUTE format('SELECT format(''%%s'', %L::%s)', value, array_to_string(types, '::'))
        INTO result;
        RETURN result;
    EXCEPTION WHEN OTHERS THEN
        RETURN NULL;
    END $$
"""
WRITTEN_OTHERWISE = {
    "boolean": "integer",
    "money": "numeric",
    "macaddr8": "macaddr",
    **{
        f"reg{kind}": "oid"
        for kind in (
            *("class", "collation", "config", "dictionary", "namespace"),
            *("oper", "operator", "proc", "procedure", "role", "type"),
        )
    },
}
"""Types whose text the source's type does not read: there it is to be what a cast by way of this
one gives."""


def shapes_of(database: TemporaryDatabase, columns: dict[str, str]) -> dict[str, TypeShape]:
    names = ", ".join(f'"{name}" {type_}' for name, type_ in columns.items())
    database.execute(f"CREATE TABLE shaped ({names})")
    with opened(database, table="shaped") as connected:
        table = connected._connection.call(
            lambda session: find_table(session, Selection(table="shaped"))
        )
    assert table is not None
    return {column.name: column.shape for column in (*table.columns, *table.others)}


def test_what_is_called_exact_comes_back(target_db: TemporaryDatabase) -> None:
    types = dict(
        target_db.query(
            "SELECT typname, format_type(oid, -1) FROM pg_type WHERE typname = ANY(%s)",
            [[name for name in SAMPLES if name != "xml"]],
        )
    )
    shapes = shapes_of(target_db, types)
    judged = {
        (one, other): conversion(shapes[one], shapes[other])
        for one in types
        for other in types
        if one != other
    }
    target_db.execute(READ_AS)
    wrong, read = [], set()
    for one, other, value, there, back in tried(target_db, types, judged):
        if there is None:
            continue  # an error
        read.add((one, other))
        if judged[one, other].losses or value == "-0":  # which no other type tells from 0
            continue
        if is_text(shapes[one]) and not is_text(shapes[other]):
            continue  # parsed: one value may have many texts
        if back != value:
            wrong.append(f"{value!r} of {one} is {there!r} in {other}, and {back!r} back")
    assert not wrong
    never = {pair for pair, found in judged.items() if found.works} - read
    assert {pair for pair in never if not any(is_text(shapes[name]) for name in pair)} == set()


def is_text(type_: TypeShape) -> bool:
    """Tell whether its values may be anything: there is a text for every type."""
    return type_.category == "S" or type_.name == '"char"' or type_.kind == "d"


def tried(
    database: TemporaryDatabase, types: dict[str, str], judged: dict[tuple[str, str], Conversion]
) -> list[tuple[Any, ...]]:
    """Return for each value that may be read what it becomes, and what that is back again."""
    with database.connect() as connection:
        connection.execute("CREATE TEMPORARY TABLE tried (one text, other text, value text)")
        with connection.cursor().copy("COPY tried FROM STDIN") as lines:
            for (one, other), found in judged.items():
                for value in SAMPLES[one] if found.works else ():
                    lines.write_row((one, other, value))
        connection.execute("CREATE TEMPORARY TABLE types (name text, type text, via text)")
        with connection.cursor().copy("COPY types FROM STDIN") as lines:
            for name, type_ in types.items():
                lines.write_row((name, type_, WRITTEN_OTHERWISE.get(type_)))
        return connection.execute(
            """
            WITH written AS MATERIALIZED (
                SELECT one, other, a.type AS a, b.type AS b, b.via, read_as(value, a.type) AS value
                FROM tried JOIN types a ON a.name = one JOIN types b ON b.name = other
            ), there AS MATERIALIZED (SELECT *, read_as(value, b) AS there FROM written)
            SELECT one, other, value, there, CASE
                WHEN via IS NULL OR value = there THEN read_as(there, a)
                WHEN there = read_as(value, a, via, b) THEN value
                END
            FROM there
            """
        ).fetchall()


def shape(database: TemporaryDatabase, *columns: str) -> list[TypeShape]:
    return list(
        shapes_of(database, {str(number): type_ for number, type_ in enumerate(columns)}).values()
    )


LOSSES = [
    ("numeric(10,4)", "numeric(12,4)", ""),
    ("numeric(10,2)", "numeric(12,4)", ""),
    ("numeric(10,4)", "numeric(12,2)", "more than 2 digits"),
    ("numeric", "numeric(12,2)", "more than 2 digits"),
    ("numeric(10,4)", "numeric", ""),
    ("bigint", "numeric(5,2)", ""),
    ("bigint", "numeric(5,-2)", "last 2 digits before"),
    ("float8", "numeric(5,2)", "more than 2 digits"),
    ("float8", "float4", "digits are rounded"),
    ("float4", "float8", ""),
    ("integer", "float8", ""),
    ("integer", "float4", "digits are rounded"),
    ("bigint", "float8", "digits are rounded"),
    ("timestamp", "timestamptz", "UTC is assumed"),
    ("timestamptz", "timestamp", "UTC is assumed"),
    ("timestamp", "date", "time of day is cut"),
    ("timestamp", "timestamp(3)", "more than 3 digits"),
    ("timestamp(2)", "timestamp(3)", ""),
    ("date", "timestamp(0)", ""),
    ("time(3)", "time(1)", "more than 1 digits"),
    ("interval", "interval(2)", "cut down"),
    ("interval hour", "interval", ""),
    ("varchar(10)", "varchar(20)", ""),
    ("varchar(20)", "varchar(10)", "blanks at the end, beyond 10"),
    ("text", "varchar(10)", "blanks at the end, beyond 10"),
    ("integer", "varchar(10)", ""),
    ("text", "char(10)", "padded"),
    ("char(10)", "text", "the blanks that pad it"),
    ("char(10)", "char(5)", ""),
    ("text", "name", "63 bytes"),
    ("text", '"char"', "first byte"),
    ("json", "jsonb", "keys"),
    ("jsonb", "json", ""),
    ("numeric(5,2)[]", "numeric(7,3)[]", ""),
    ("numeric(5,2)[]", "numeric(7,1)[]", "more than 1 digits"),
    ("text", "timestamptz", "UTC"),
    ("text", "jsonb[]", "keys"),
    ("mood", "wider", ""),
    ("mood", "text", ""),
    ("text", "mood", ""),
    ("mood[]", "wider[]", ""),
    ("positive", "bigint", ""),
    ("integer", "positive", ""),
    ("integer", "cents", ""),
    ("numeric", "cents", "more than 2 digits"),
    ("pair", "same_pair", ""),
    ("pair", "text", ""),
    ("rng", "same_rng", ""),
    ("int4range", "text", ""),
]
REFUSALS = [
    ("bigint", "bit(8)"),  # they cast, by their binary digits
    ("boolean", "integer"),
    ("box", "polygon"),
    ("box[]", "point[]"),
    ("money", "numeric"),
    ("integer", "uuid"),
    ("integer", "date"),
    ("integer", '"char"'),
    ("xid8", "oid"),
    ("jsonb", "bytea"),
    ("int4range", "int8range"),
    ("int4range", "int4multirange"),
    ("integer", "integer[]"),
    ("wider", "mood"),
    ("mood", "integer"),
    ("integer", "mood"),
    ("pair", "other_pair"),
    ("pair", "renamed_pair"),
    ("rng", "other_rng"),
    ("pair", "integer"),
]
OWN_TYPES = """
    CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE TYPE wider AS ENUM ('ok', 'glad', 'sad');
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE DOMAIN cents AS numeric(10,2);
    CREATE TYPE pair AS (x int, y mood);
    CREATE TYPE same_pair AS (x int, y mood);
    CREATE TYPE other_pair AS (x int, y wider);
    CREATE TYPE renamed_pair AS (x int, z mood);
    CREATE TYPE rng AS RANGE (subtype = int);
    CREATE TYPE same_rng AS RANGE (subtype = int);
    CREATE TYPE other_rng AS RANGE (subtype = bigint);
"""


def test_what_may_be_lost_is_told(target_db: TemporaryDatabase) -> None:
    target_db.execute(OWN_TYPES)
    shapes = shape(target_db, *(type_ for one, other, _ in LOSSES for type_ in (one, other)))
    for (one, other, loss), source, target in zip(LOSSES, shapes[::2], shapes[1::2], strict=True):
        found = conversion(source, target)
        assert found.works, f"{one} to {other}"
        told = "; ".join(found.losses)
        assert (loss in told) if loss else (not told), f"{one} to {other}: {told}"


def test_what_no_text_can_carry_is_refused(target_db: TemporaryDatabase) -> None:
    target_db.execute(OWN_TYPES)
    shapes = shape(target_db, *(type_ for pair in REFUSALS for type_ in pair))
    for (one, other), source, target in zip(REFUSALS, shapes[::2], shapes[1::2], strict=True):
        assert not conversion(source, target).works, f"{one} to {other}"


def test_an_extension_s_type_is_the_same_in_any_schema(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    source_db.execute("CREATE EXTENSION vector")
    target_db.execute("CREATE SCHEMA ext; CREATE EXTENSION vector SCHEMA ext")
    (here,) = shape(source_db, "vector(3)")
    there, shorter, text = shape(target_db, "ext.vector(3)", "ext.vector(2)", "text")
    assert here.name != there.name
    assert conversion(here, there) == conversion(here, text) == EXACT
    assert conversion(here, shorter).losses
