"""A table of every type that a server has from the start arrives equal in one made like it."""

from __future__ import annotations

from itertools import zip_longest

import pytest

from pipecopy.postgres import PostgresPool
from tests.postgres.samples import NOT_SAMPLED, SAMPLES
from tests.support.databases import TemporaryDatabase
from tests.support.opened import opened
from tests.support.runs import copy, verify

pytestmark = pytest.mark.server

COLUMN_TYPES = """
    SELECT t.typname, format_type(t.oid, -1), t.typdelim, t.typarray <> 0
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE t.oid < 16384 AND t.typtype IN ('b', 'd', 'e', 'm', 'r')
      AND t.typoutput <> 'array_out'::regproc
    ORDER BY 1
"""
"""Those left out are arrays, which come with their elements, pseudo-types and rows of catalogs."""
AS_TEXT = ("aclitem", "int2vector", "oidvector", "reg", "tsquery")
"""How the names of types begin for which the whole table goes in the text format."""


def test_every_type_is_sampled_or_has_a_reason(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    for database in (source_db, target_db):
        there = {name for name, *_ in database.query(COLUMN_TYPES)}
        assert there - SAMPLES.keys() - NOT_SAMPLED.keys() == set()


@pytest.mark.parametrize("format_", ["text", "binary"])
def test_values_of_every_type_arrive(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, format_: str
) -> None:
    columns = columns_of_every_type(source_db)
    if format_ == "binary":  # one of the others is enough for text
        columns = [column for column in columns if not column.name.startswith(AS_TEXT)]
    rows = fill(source_db, columns)
    with opened(target_db, "target", table="every") as target:
        other = target.describe()  # of no table yet
    with opened(source_db, "source", table="every", other=other) as database:
        assert database.load_rows(0, 2).format == format_
    pool = PostgresPool(
        {"source": source_db.uri, "target": target_db.uri}, table="every", create=True
    )
    report = copy(pool, batch_size=4)
    assert (report.rows, report.warnings) == (rows, ())
    assert dumped(target_db) == dumped(source_db)
    assert definitions(target_db) == definitions(source_db)
    assert verify(pool).equal
    assert copy(pool).rows == rows  # over themselves
    assert dumped(target_db) == dumped(source_db)


class Column:
    """One of the table, with its values as the server writes them."""

    def __init__(self, name: str, type_: str, values: list[str | None]) -> None:
        self.name = name
        self.type = type_
        self.values = values


def columns_of_every_type(database: TemporaryDatabase) -> list[Column]:
    """Return a column of each type, and one of arrays of it."""
    columns = []
    for name, type_, delimiter, has_array in database.query(COLUMN_TYPES):
        if name in NOT_SAMPLED or (name == "xml" and not has_xml(database)):
            continue
        values = SAMPLES[name]
        columns.append(Column(name, type_, [*values, None]))
        if has_array:
            columns.append(Column(f"{name} several", f"{type_}[]", arrays(values, delimiter)))
    return columns


def has_xml(database: TemporaryDatabase) -> bool:
    """Tell whether the server was built with libxml: without it, it reads no xml."""
    options: str = database.value("SELECT setting FROM pg_config WHERE name = 'CONFIGURE'")
    return "--with-libxml" in options


def arrays(values: tuple[str, ...], delimiter: str) -> list[str | None]:
    """Return arrays of these values: of one, with NULL, in two dimensions, from 0 on, empty."""
    quoted = ['"' + v.replace("\\", "\\\\").replace('"', '\\"') + '"' for v in values]
    every = delimiter.join(quoted)
    return [
        *("{" + one + "}" for one in quoted),
        "{" + every + delimiter + "NULL}",
        "{{" + every + "}" + delimiter + "{" + every + "}}",
        "[0:1]={" + quoted[0] + delimiter + "NULL}",
        "{}",
        None,
    ]


def fill(database: TemporaryDatabase, columns: list[Column]) -> int:
    """Make the table, with each value of each column, and return how many rows it has."""
    definitions_ = ", ".join(f'"{column.name}" {column.type}' for column in columns)
    names = ", ".join(f'"{column.name}"' for column in columns)
    database.execute(f"CREATE TABLE every (id bigserial PRIMARY KEY, {definitions_})")
    rows = list(zip_longest(*(column.values for column in columns)))
    with (
        database.connect() as connection,
        connection.cursor().copy(f"COPY every ({names}) FROM STDIN") as lines,
    ):
        for row in rows:
            lines.write_row(row)
    return len(rows)


def dumped(database: TemporaryDatabase) -> bytes:
    with (
        database.connect() as connection,
        connection.cursor().copy("COPY (SELECT * FROM every ORDER BY id) TO STDOUT") as lines,
    ):
        return b"".join(bytes(line) for line in lines)


def definitions(database: TemporaryDatabase) -> list[tuple[object, ...]]:
    return database.query(
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull, attcollation,"
        " (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef"
        "  WHERE adrelid = attrelid AND adnum = attnum)"
        " FROM pg_attribute WHERE attrelid = 'every'::regclass AND attnum > 0 ORDER BY attnum"
    )
