"""Only rows that meet a condition are copied, and it can be nothing but a condition."""

from __future__ import annotations

from typing import Any

import pytest

from pipecopy.errors import ConfigError, DatabaseError, TableMismatchError
from pipecopy.postgres import PostgresPool
from tests.support.databases import TemporaryDatabase
from tests.support.opened import opened
from tests.support.profiles import create_profiles
from tests.support.runs import copy, lines, verify

pytestmark = pytest.mark.server

IDS = "SELECT array_agg(id ORDER BY id) FROM profiles"


def pool(source: TemporaryDatabase, target: TemporaryDatabase, **how: Any) -> PostgresPool:
    return PostgresPool({"source": source.uri, "target": target.uri}, **how)


@pytest.mark.parametrize(
    "where",
    [
        "id % 3 = 0 -- every third",
        "profiles.id % 3 = 0 /* ) */ OR id < 0",
        "id IN (SELECT i * 3 FROM generate_series(1, 99) AS i) AND data->>'name' <> ')'",
    ],
)
def test_rows_that_meet_it_are_copied_and_no_others(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, where: str
) -> None:
    create_profiles(source_db, 101)
    create_profiles(target_db)
    target_db.execute("INSERT INTO profiles VALUES (3, '0'), (4, '0')")
    report = copy(pool(source_db, target_db, where=where), batch_size=10)
    assert (report.rows, report.batches, report.max_id) == (33, 4, 99)
    assert target_db.value(IDS) == [3, 4, *range(6, 100, 3)]
    assert target_db.value("SELECT data FROM profiles WHERE id = 4") == 0
    of_source = source_db.value("SELECT data FROM profiles WHERE id = 3")
    assert target_db.value("SELECT data FROM profiles WHERE id = 3") == of_source


NO_CONDITIONS = {
    "id >": "syntax error",
    "nothing = 1": 'column "nothing" does not exist',
    "id": "must be type boolean",
    "true) OR (true": "syntax error",
    "true); DROP TABLE profiles; SELECT (1": "syntax error",
    "true; DROP TABLE profiles": "multiple commands",
    "true /* and so on": "unterminated",
    "data->>'a' = 'b": "unterminated",
    "SELECT true": "syntax error",
    "true ORDER BY id": "syntax error",
    "true, true": "syntax error",
    "id > $1": "it has a parameter",
    "count(*) > 1": "aggregate",
    "id = 'x'": "invalid input syntax",
}


def test_what_is_no_condition_is_a_problem(source_db: TemporaryDatabase) -> None:
    create_profiles(source_db, 3)
    for where, said in NO_CONDITIONS.items():
        with opened(source_db, "source", where=where) as database:
            (problem,) = lines(database.describe(), "problem")
        beginning = '`where` is not a condition on the rows of "public"."profiles": '
        assert problem.startswith(beginning), where
        assert said in problem
    assert source_db.value("SELECT count(*) FROM profiles") == 3


def test_a_copy_is_refused_before_its_first_row(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 3)
    create_profiles(target_db)
    with pytest.raises(
        TableMismatchError, match="source source: `where` is not a condition"
    ) as raised:
        copy(pool(source_db, target_db, where="true); DROP TABLE profiles; SELECT (true"))
    assert len(raised.value.differences) == 1
    assert target_db.value("SELECT count(*) FROM profiles") == 0


def test_it_can_not_write(source_db: TemporaryDatabase, target_db: TemporaryDatabase) -> None:
    create_profiles(source_db, 3)
    create_profiles(target_db)
    source_db.execute(
        "CREATE FUNCTION spill(bigint) RETURNS boolean LANGUAGE sql AS"
        " 'DELETE FROM profiles WHERE id = $1 RETURNING true'"
    )
    with pytest.raises(DatabaseError, match="read-only") as raised:
        copy(pool(source_db, target_db, where="spill(id)"))
    assert raised.value.side == "source"
    assert source_db.value("SELECT count(*) FROM profiles") == 3


def test_rows_that_it_leaves_out_may_have_any_key(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    for database in (source_db, target_db):
        database.execute("CREATE TABLE profiles (id bigint UNIQUE, n int)")
    source_db.execute("INSERT INTO profiles VALUES (NULL, 1), (-5, 1), (7, 2)")
    assert copy(pool(source_db, target_db, where="n = 2")).rows == 1
    with pytest.raises(TableMismatchError, match=r"(?s)is NULL.* is negative"):
        copy(pool(source_db, target_db, where="n = 1"))


def test_its_names_are_found_as_ever_where_names_are_copied(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    for database in (source_db, target_db):
        database.execute("CREATE TABLE profiles (id int PRIMARY KEY, kind regclass)")
    source_db.execute(
        "CREATE SCHEMA app; CREATE FUNCTION app.odd(int) RETURNS boolean LANGUAGE sql AS"
        " 'SELECT $1 % 2 = 1'; INSERT INTO profiles SELECT i, 'profiles' FROM"
        " generate_series(1, 60) AS i"
    )
    source_db.execute(f"ALTER DATABASE {source_db.name} SET search_path = app, public")
    copy(pool(source_db, target_db, where="odd(id)"), batch_size=10)
    assert target_db.value(IDS) == list(range(1, 60, 2))
    assert target_db.value("SELECT DISTINCT kind::text FROM profiles") == "profiles"


def test_it_goes_for_both_sides_where_rows_are_compared(
    target_db: TemporaryDatabase,
) -> None:
    create_profiles(target_db, 10)
    with opened(target_db, "target", where="id < 5") as database:
        assert lines(database.describe(), "problem") == []
    how: dict[str, Any] = {"mode": "verify", "where": "id < 5 -- and no more"}
    with opened(target_db, "target", **how) as database:
        assert database.get_max_id() == 4
        assert [row[0] for row in database.load_rows(0, 100)] == [1, 2, 3, 4]
    target_db.execute("ALTER TABLE profiles RENAME id TO number")
    with opened(target_db, "target", key="number", **how) as database:
        (problem,) = lines(database.describe(), "problem")
    assert '`where` is not a condition on the rows of "public"."profiles": column "id"' in problem


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"where": " "}, "where is empty"),
        ({"where": "true\0false"}, "NUL"),
        ({"where": 5}, "where must be a condition as text, not int"),
        ({"columns": "a,b"}, "columns must be a sequence of names, not str"),
        ({"columns": []}, "at least one"),
        ({"columns": ["a", 5], "where": ""}, "columns: 5 must be a text, not int; where is empty"),
    ],
)
def test_what_can_not_be_meant_is_refused_at_once(how: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        PostgresPool(**how)


def test_it_means_the_same_where_names_within_values_are_qualified(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    for database in (source_db, target_db):
        database.execute(
            "CREATE TABLE chosen AS SELECT 2 AS id; CREATE TABLE profiles (id int PRIMARY KEY,"
            " data regclass);"
            "CREATE FUNCTION is_chosen(int) RETURNS boolean STABLE LANGUAGE plpgsql AS"
            " 'BEGIN RETURN EXISTS (SELECT FROM chosen c WHERE c.id >= $1); END'"
        )
    source_db.execute("INSERT INTO profiles SELECT i, 'chosen' FROM generate_series(1, 3) AS i")
    databases = pool(source_db, target_db, where="data::text = 'chosen' AND is_chosen(id)")
    assert copy(databases, batch_size=1).rows == 2
    assert target_db.value(IDS) == [1, 2]
    assert target_db.value("SELECT DISTINCT data::text FROM profiles") == "chosen"
    target_db.execute("DELETE FROM profiles WHERE id = 2")
    assert verify(databases).missing_ids == (2,)
