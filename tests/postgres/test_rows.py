"""Rows of any driver are saved too."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from pipecopy.postgres import PostgresError
from tests.support.databases import TemporaryDatabase
from tests.support.opened import opened
from tests.support.profiles import TABLE


def test_values_of_every_common_type(target_db: TemporaryDatabase) -> None:
    target_db.execute(
        "CREATE TABLE profiles (flag boolean, n integer, x double precision, d numeric, t text,"
        " b bytea, day date, at timestamptz, span interval, u uuid, tags text[],"
        " id bigint PRIMARY KEY, twice integer GENERATED ALWAYS AS (n * 2) STORED)"
    )
    row = (
        True, -5, 0.1, Decimal("1.50"), "a\tb\nc\\d\\N", b"\x00\xff\\", dt.date(2024, 2, 3),
        dt.datetime(2024, 2, 3, 4, 5, 6, 7, tzinfo=dt.UTC), dt.timedelta(days=1, seconds=2),
        uuid.UUID(int=7), ["x", None, 'y "z"', "\\"], 1,
    )  # fmt: skip
    nothing = (None,) * 11 + (2,)
    with opened(target_db, "target") as database:
        database.save_rows([row, nothing])
    saved = target_db.query("SELECT * FROM profiles ORDER BY id")
    assert saved[0] == (*row, -10)
    assert saved[1] == (*nothing, None)


def test_sqlite_has_no_booleans(target_db: TemporaryDatabase) -> None:
    target_db.execute("CREATE TABLE profiles (id int PRIMARY KEY, flag boolean, t text)")
    with opened(target_db, "target") as database:
        database.save_rows([(1, 1, memoryview(b"text")), (2, 0, 5)])
    saved = target_db.query("SELECT flag, t FROM profiles ORDER BY id")
    assert saved == [(True, "text"), (False, "5")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(1, {}, "extra")], "a row has 3 values, but the table .* has 2 columns"),
        ([(None, {})], "not an integer"),
        ([(1.5, {})], "not an integer"),
        ([(1, {}), (1, [])], "the same key"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    target_db: TemporaryDatabase, rows: list[tuple[Any, ...]], message: str
) -> None:
    target_db.execute(TABLE)
    with opened(target_db, "target") as database:
        with pytest.raises(PostgresError, match=message):
            database.save_rows(rows)
        database.save_rows([(3, {})])
    assert target_db.query("SELECT id FROM profiles") == [(3,)]


def test_what_the_server_does_not_take_is_named(target_db: TemporaryDatabase) -> None:
    target_db.execute(TABLE)
    with (
        opened(target_db, "target", json="text") as database,
        pytest.raises(PostgresError, match="with the id 2 can't be saved") as raised,
    ):
        database.save_rows([(1, "{}"), (2, "no json")])
    assert raised.value.sqlstate == "22P02"
    assert target_db.value("SELECT count(*) FROM profiles") == 0


def test_a_value_of_an_unknown_type_is_refused(target_db: TemporaryDatabase) -> None:
    target_db.execute("CREATE TABLE profiles (id int PRIMARY KEY, t text)")
    with opened(target_db, "target") as database:
        with pytest.raises(psycopg.ProgrammingError, match="cannot adapt"):
            database.save_rows([(1, "x"), (2, object())])
        database.save_rows([(1, "x")])
    assert target_db.query("SELECT * FROM profiles") == [(1, "x")]


def test_rows_of_postgres_reach_another_driver(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    for database in (source_db, target_db):
        database.execute(TABLE)
    source_db.execute("INSERT INTO profiles VALUES (1, '{\"n\": 1.10}'), (2, NULL), (3, 'null')")
    with opened(source_db) as reader, opened(target_db, json="text") as writer:
        decoded = [tuple(row) for row in reader.load_rows(0, 10)]
        writer.save_rows(decoded)
    assert decoded == [(1, '{"n": 1.10}'), (2, None), (3, "null")]
    assert target_db.query("SELECT id, data::text FROM profiles ORDER BY id") == decoded
