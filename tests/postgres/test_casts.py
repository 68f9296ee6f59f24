"""Types that differ go by text: the exact ones silently, others with a warning or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from pipecopy.contracts import Column, TableDescription
from pipecopy.errors import DatabaseError, TableMismatchError
from pipecopy.postgres import PostgresPool
from tests.support.databases import TemporaryDatabase
from tests.support.opened import opened
from tests.support.runs import copy, lines

pytestmark = pytest.mark.server

BOTH = "source source and target target"
OWN_TYPES = """
    CREATE TYPE mood AS ENUM ({moods});
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE DOMAIN several AS int[];
    CREATE TYPE pair AS (x int, y mood);
"""
SOURCE = """
    CREATE TABLE profiles (
        id int PRIMARY KEY, small smallint, big bigint, amount numeric(10,2), ratio real,
        note varchar(20), code char(3), at date, address cidr, document jsonb, m mood, ms mood[],
        p positive, duo pair, few several, flag text, kind oid, same text
    );
    INSERT INTO profiles VALUES
        (1, -32768, 9007199254740993, 12.30, 0.1, 'ünï\\', 'a', '2024-02-29', '10.0.0.0/8',
         '{{"b": 1, "a": null}}', 'sad', '{{sad,NULL}}', 7, '(1,sad)', '{{1,NULL}}', 'yes', 1, 'x'),
        (2, NULL, NULL, 'NaN', 'infinity', '', '', 'infinity', NULL, 'null', NULL, '{{}}', NULL,
         NULL, NULL, NULL, NULL, NULL);
    INSERT INTO profiles (id, same) SELECT i, 'row ' || i FROM generate_series(3, 30) AS i
"""
TARGET = """
    CREATE TABLE profiles (
        id bigint {key}, small bigint, big numeric, amount numeric(12,4), ratio float8,
        note text, code char(5), at timestamp, address inet, document text, m mood, ms text[],
        p bigint, duo text, few bigint[], flag boolean, kind bigint, same text
    )
"""
FIRST = (
    r"""(1,-32768,9007199254740993,12.3000,0.1,"ünï\\","a    ","2024-02-29 00:00:00","""
    r"""10.0.0.0/8,"{""a"": null, ""b"": 1}",sad,"{sad,NULL}",7,"(1,sad)","{1,NULL}",t,1,x)"""
)
SECOND = """(2,,,NaN,Infinity,"","     ",infinity,,null,,{},,,,,,)"""
ROWS = "SELECT whole::text FROM profiles AS whole WHERE id < 3 ORDER BY id"


def pool(source: TemporaryDatabase, target: TemporaryDatabase) -> PostgresPool:
    return PostgresPool({"source": source.uri, "target": target.uri})


@pytest.mark.parametrize("key", ["PRIMARY KEY", ""], ids=["upsert", "replace"])
def test_what_is_exact_arrives_without_a_word(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, key: str
) -> None:
    source_db.execute(OWN_TYPES.format(moods="'sad'") + SOURCE.format())
    target_db.execute(OWN_TYPES.format(moods="'glad', 'sad'") + TARGET.format(key=key))
    report = copy(pool(source_db, target_db), batch_size=7)
    assert report.rows == 30
    assert [warning for warning in report.warnings if "unique index" not in warning] == []
    assert target_db.query(ROWS) == [(FIRST,), (SECOND,)]
    target_db.execute("UPDATE profiles SET amount = 5, duo = NULL, same = 'stale' WHERE id % 5 = 1")
    versions = "SELECT id, xmin::text FROM profiles WHERE id % 5 <> 1 ORDER BY id"
    before = target_db.query(versions)
    copy(pool(source_db, target_db), batch_size=7)
    assert target_db.query(ROWS) == [(FIRST,), (SECOND,)]
    assert target_db.query(versions) == before  # equal rows are not written
    assert target_db.value("SELECT count(*) FROM profiles WHERE same <> 'row ' || id") == 1


def test_what_may_change_is_a_warning_that_names_both_types(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    source_db.execute(
        "CREATE TABLE profiles (id int PRIMARY KEY, a numeric, b timestamp, c json, d text);"
        "INSERT INTO profiles VALUES (1, 1.005, '2024-02-29 12:00', '{\"a\":1,\"a\":2}', 'x  ')"
    )
    target_db.execute(
        "CREATE TABLE profiles (id int PRIMARY KEY, a numeric(5,2), b date, c jsonb, d varchar(1))"
    )
    report = copy(pool(source_db, target_db))
    a, b, c, d = report.warnings
    assert a.startswith(
        f'{BOTH}: column "a" is numeric in the source and numeric(5,2) in the target: '
    )
    assert "more than 2 digits after the point are rounded" in a
    assert "its time of day is cut off" in b
    assert "the order of its keys" in c
    assert "blanks at the end, beyond 1 characters, are cut off" in d
    assert target_db.query("SELECT a::text, b::text, c::text, d FROM profiles") == [
        ("1.01", "2024-02-29", '{"a": 2}', "x")
    ]


def test_what_can_not_be_read_is_refused_all_at_once(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    source_db.execute(
        OWN_TYPES.format(moods="'sad', 'ok'")
        + "CREATE TABLE profiles (id int PRIMARY KEY, a boolean, m mood, duo pair, g int"
        " GENERATED ALWAYS AS (id + 1) STORED, fine int); INSERT INTO profiles VALUES (1)"
    )
    target_db.execute(
        OWN_TYPES.format(moods="'sad'")
        + "CREATE TABLE profiles (id int PRIMARY KEY, a int, m mood, duo pair, g int, fine bigint)"
    )
    with pytest.raises(TableMismatchError) as raised:
        copy(pool(source_db, target_db))
    a, m, duo, g = raised.value.differences
    assert a.startswith(f'{BOTH}: column "a" is boolean in the source and integer in the target')
    assert m.startswith(
        f"{BOTH}: column \"m\" is public.mood (enum: 'sad', 'ok') in the source and "
    )
    assert 'column "duo" is public.pair (composite: ' in duo
    assert g == (
        f'{BOTH}: column "g" is integer GENERATED ALWAYS AS ((id + 1)) in the source'
        " and integer in the target; leave it out (`exclude=['g']`)"
    )
    assert target_db.value("SELECT count(*) FROM profiles") == 0


@pytest.mark.parametrize(
    ("types", "value", "sqlstate"),
    [
        (("bigint", "integer"), "3000000000", "22003"),
        (("text", "varchar(2)"), "'abc'", "22001"),
    ],
)
def test_a_value_that_does_not_fit_ends_the_copy(
    source_db: TemporaryDatabase,
    target_db: TemporaryDatabase,
    types: tuple[str, str],
    value: str,
    sqlstate: str,
) -> None:
    for database, type_ in zip((source_db, target_db), types, strict=True):
        database.execute(f"CREATE TABLE profiles (id int PRIMARY KEY, v {type_})")
    source_db.execute(f"INSERT INTO profiles VALUES (1, NULL), (2, {value})")
    with pytest.raises(DatabaseError) as raised:
        copy(pool(source_db, target_db), batch_size=1)
    error = raised.value
    assert (error.side, error.call, error.sqlstate) == ("target", "save_rows", sqlstate)
    assert error.report is not None
    assert error.report.next_id == 2
    assert target_db.query("SELECT * FROM profiles") == [(1, None)]


def test_a_worker_that_replaces_another_knows_the_other_side(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    for database, type_ in ((source_db, "int"), (target_db, "text")):
        database.execute(f"CREATE TABLE profiles (id int PRIMARY KEY, v {type_})")
    source_db.execute("INSERT INTO profiles VALUES (1, 5)")
    with opened(target_db, "target") as connected:
        there = connected.describe()
    with opened(source_db, "source") as connected:
        assert connected.load_rows(0, 9).format == "binary"
        assert connected.meet(there) == []
        assert connected.load_rows(0, 9).format == "text"
        here = connected.describe()
    with opened(source_db, "source", other=there) as connected:
        assert connected.load_rows(0, 9).format == "text"
    with opened(source_db, "source", other=here) as connected:  # of the same types
        assert connected.load_rows(0, 9).format == "binary"


def test_of_another_driver_s_table_only_equal_types_fit(target_db: TemporaryDatabase) -> None:
    target_db.execute("CREATE TABLE profiles (id bigint PRIMARY KEY, v text)")
    columns: dict[str, Any] = {"id": "bigint", "v": "VARCHAR"}
    other = TableDescription(
        table="profiles",
        key="id",
        columns=tuple(Column(name=name, type=type_) for name, type_ in columns.items()),
        definition={"engine": "another"},
    )
    with opened(target_db, "target") as database:
        fit = database.meet(other)
    differ = 'column "v" is VARCHAR in the source and text in the target'
    assert lines(fit, "problem") == [f"{differ}; leave it out (`exclude=['v']`)"]
