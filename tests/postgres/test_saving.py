"""Saving is idempotent: over an empty, an equal, a stale and a partly filled table."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from pipecopy.postgres import PostgresError
from tests.postgres.opened import copy, handed_over, opened
from tests.profiles import add_profiles, assert_equal_tables, create_profiles
from tests.servers import TemporaryDatabase

NO_INDEX = "CREATE TABLE profiles (id bigint, data jsonb)"


def versions(database: TemporaryDatabase) -> list[tuple[Any, ...]]:
    """Return what changes with each write, or lock, of a row."""
    return database.query("SELECT ctid, xmin, xmax FROM profiles ORDER BY ctid")


@pytest.mark.parametrize("index", ["PRIMARY KEY", "UNIQUE", "", "UNIQUE DEFERRABLE"])
def test_copying_twice_writes_nothing(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, index: str
) -> None:
    create_profiles(source_db, 2500)
    target_db.execute(f"CREATE TABLE profiles (id bigint {index}, data jsonb)")
    copy(source_db, target_db)
    assert_equal_tables(source_db, target_db)
    before = versions(target_db)
    copy(source_db, target_db)
    assert versions(target_db) == before


@pytest.mark.parametrize("index", ["PRIMARY KEY", "", "UNIQUE DEFERRABLE"])
def test_stale_and_missing_rows_are_put_right(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, index: str
) -> None:
    create_profiles(source_db, 3000)
    target_db.execute(f"CREATE TABLE profiles (id bigint {index}, data jsonb)")
    copy(source_db, target_db)
    target_db.execute("DELETE FROM profiles WHERE id BETWEEN 500 AND 1500 OR id % 7 = 0")
    target_db.execute("UPDATE profiles SET data = NULL WHERE id % 11 = 0")
    copy(source_db, target_db)
    assert_equal_tables(source_db, target_db)


@pytest.mark.parametrize("index", ["PRIMARY KEY", ""])
def test_rows_that_only_the_target_has_stay(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, index: str
) -> None:
    create_profiles(source_db, 1000, step=2)
    target_db.execute(f"CREATE TABLE profiles (id bigint {index}, data jsonb)")
    target_db.execute("INSERT INTO profiles SELECT i FROM generate_series(1, 2000, 3) AS i")
    copy(source_db, target_db)
    assert target_db.value("SELECT count(*) FROM profiles WHERE id % 2 = 1") == 334
    target_db.execute("DELETE FROM profiles WHERE id % 2 = 1")
    assert_equal_tables(source_db, target_db)


def test_equal_is_equal_to_the_last_digit(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    for database, number in ((source_db, "1.00"), (target_db, "1.0")):
        database.execute("CREATE TABLE profiles (id int PRIMARY KEY, n numeric, j json, b jsonb)")
        database.execute(f"INSERT INTO profiles VALUES (1, {number}, '{{}}', '{number}')")
    copy(source_db, target_db)
    assert target_db.query("SELECT n::text, b::text FROM profiles") == [("1.00", "1.00")]


def test_a_table_of_the_key_alone(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    for database in (source_db, target_db):
        database.execute("CREATE TABLE profiles (id int PRIMARY KEY)")
    source_db.execute("INSERT INTO profiles SELECT generate_series(1, 100)")
    target_db.execute("INSERT INTO profiles SELECT generate_series(1, 100, 3)")
    copy(source_db, target_db, batch_size=10)
    assert_equal_tables(source_db, target_db)


def test_partitions(source_db: TemporaryDatabase, target_db: TemporaryDatabase) -> None:
    for database in (source_db, target_db):
        database.execute(
            "CREATE TABLE profiles (id bigint PRIMARY KEY, data jsonb) PARTITION BY RANGE (id);"
            "CREATE TABLE low PARTITION OF profiles FOR VALUES FROM (MINVALUE) TO (50);"
            "CREATE TABLE high PARTITION OF profiles FOR VALUES FROM (50) TO (MAXVALUE)"
        )
    source_db.execute("INSERT INTO profiles SELECT i, '1' FROM generate_series(1, 100) AS i")
    copy(source_db, target_db, batch_size=30)
    target_db.execute("UPDATE profiles SET data = '2' WHERE id IN (10, 60)")
    copy(source_db, target_db, batch_size=30)
    assert_equal_tables(source_db, target_db)


def test_a_partly_filled_target_is_completed(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 5000)
    create_profiles(target_db)
    add_profiles(target_db, 1500, 2200)
    add_profiles(target_db, 4999, 5001)
    copy(source_db, target_db, batch_size=500)
    assert_equal_tables(source_db, target_db)


def test_another_unique_index_is_named(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    for database in (source_db, target_db):
        database.execute("CREATE TABLE profiles (id int PRIMARY KEY, email text)")
    target_db.execute("CREATE UNIQUE INDEX one_email ON profiles (email)")
    source_db.execute("INSERT INTO profiles VALUES (1, 'a'), (2, 'a')")
    with pytest.raises(PostgresError, match="unique index one_email") as raised:
        copy(source_db, target_db)
    assert raised.value.sqlstate == "23505"
    assert target_db.value("SELECT count(*) FROM profiles") == 0


def test_another_unique_index_does_not_hinder_the_second_copy(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    for database in (source_db, target_db):  # the index on email is the first that is checked
        database.execute("CREATE TABLE profiles (id int, email text UNIQUE)")
        database.execute("ALTER TABLE profiles ADD PRIMARY KEY (id)")
    source_db.execute("INSERT INTO profiles SELECT i, 'u' || i FROM generate_series(1, 99) AS i")
    copy(source_db, target_db)
    copy(source_db, target_db)
    assert_equal_tables(source_db, target_db)


def test_a_key_that_the_source_has_twice_is_an_error(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    source_db.execute(NO_INDEX)
    create_profiles(target_db)
    source_db.execute("INSERT INTO profiles VALUES (1, '1'), (1, '2')")
    with pytest.raises(PostgresError, match='more than one row with the same "id"'):
        copy(source_db, target_db)
    target_db.execute("INSERT INTO profiles VALUES (1, '2')")
    with pytest.raises(PostgresError, match='more than one row with the same "id"'):
        copy(source_db, target_db)


def test_a_key_twice_arrives_twice_where_nothing_forbids_it(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    for database in (source_db, target_db):
        database.execute(NO_INDEX)
    source_db.execute("INSERT INTO profiles VALUES (1, '1'), (1, '2'), (2, '3'), (2, '3')")
    for _ in range(2):
        copy(source_db, target_db)
        assert_equal_tables(source_db, target_db)


def test_a_save_that_failed_leaves_nothing_and_the_session_works_on(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 20)
    create_profiles(target_db)
    target_db.execute("ALTER TABLE profiles ADD CONSTRAINT not_7 CHECK (id <> 7)")
    with opened(source_db, "source") as reader, opened(target_db, "target") as writer:
        rows = handed_over(reader.load_rows(0, 21))
        with pytest.raises(psycopg.errors.CheckViolation, match="not_7"):
            writer.save_rows(rows)
        assert target_db.value("SELECT count(*) FROM profiles") == 0
        target_db.execute("ALTER TABLE profiles DROP CONSTRAINT not_7")
        writer.save_rows(rows)
    assert_equal_tables(source_db, target_db)


def test_a_save_is_durable_even_where_the_database_would_not_wait(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 1)
    create_profiles(target_db)
    target_db.execute(f"ALTER DATABASE {target_db.name} SET synchronous_commit = off")
    target_db.execute(
        "CREATE TABLE seen (setting text);"
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
        " INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NEW; END$$;"
        "CREATE TRIGGER see BEFORE INSERT ON profiles FOR EACH ROW EXECUTE FUNCTION see()"
    )
    copy(source_db, target_db)
    assert target_db.query("SELECT setting FROM seen") == [("on",)]
