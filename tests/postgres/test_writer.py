"""Saving is idempotent: over an empty, an equal, a stale and a partly filled table."""

from __future__ import annotations

from typing import Any

import pytest

from pipecopy.contracts import SavedRows, TableChangedError
from pipecopy.postgres import PostgresError
from tests.support.databases import TemporaryDatabase
from tests.support.opened import copy, handed_over, opened
from tests.support.profiles import add_profiles, assert_equal_tables, create_profiles

pytestmark = pytest.mark.server

NO_INDEX = "CREATE TABLE profiles (id bigint, data jsonb)"


def versions(database: TemporaryDatabase) -> list[tuple[Any, ...]]:
    """Return what changes with each write, or lock, of a row."""
    return database.query("SELECT ctid, xmin, xmax FROM profiles ORDER BY ctid")


def counts(*, inserted: int = 0, updated: int = 0, unchanged: int = 0) -> SavedRows:
    return SavedRows(inserted=inserted, updated=updated, unchanged=unchanged)


@pytest.mark.parametrize("index", ["PRIMARY KEY", "UNIQUE", "", "UNIQUE DEFERRABLE"])
def test_copying_twice_writes_nothing(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, index: str
) -> None:
    create_profiles(source_db, 2500)
    target_db.execute(f"CREATE TABLE profiles (id bigint {index}, data jsonb)")
    assert copy(source_db, target_db) == counts(inserted=2500)
    assert_equal_tables(source_db, target_db)
    before = versions(target_db)
    assert copy(source_db, target_db) == counts(unchanged=2500)
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
    missing = 3000 - target_db.value("SELECT count(*) FROM profiles")
    stale = target_db.value("SELECT count(*) FROM profiles WHERE data IS NULL")
    saved = copy(source_db, target_db)
    assert saved == counts(inserted=missing, updated=stale, unchanged=3000 - missing - stale)
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
    saved = copy(source_db, target_db, batch_size=10)
    assert saved == counts(inserted=66, unchanged=34)
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
    target_db.execute("DELETE FROM profiles WHERE id = 50")
    saved = copy(source_db, target_db, batch_size=30)
    assert saved == counts(inserted=1, updated=2, unchanged=97)
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


EXCLUDING = """
    CREATE TABLE profiles
        (id int, span int4range, CONSTRAINT apart EXCLUDE USING gist (span WITH &&));
    ALTER TABLE profiles ADD PRIMARY KEY (id)  -- so that the constraint is checked first
"""


def test_an_exclusion_constraint_does_not_hinder_the_second_copy(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    source_db.execute("CREATE TABLE profiles (id int PRIMARY KEY, span int4range)")
    source_db.execute(
        "INSERT INTO profiles SELECT i, int4range(i, i+1) FROM generate_series(1, 9) i"
    )
    target_db.execute(EXCLUDING)
    copy(source_db, target_db)
    copy(source_db, target_db)
    assert_equal_tables(source_db, target_db)


def test_an_exclusion_constraint_is_named(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    source_db.execute("CREATE TABLE profiles (id int PRIMARY KEY, span int4range)")
    source_db.execute("INSERT INTO profiles VALUES (1, '[1,5)'), (2, '[4,9)')")
    target_db.execute(EXCLUDING)
    with pytest.raises(PostgresError, match="exclusion constraint apart") as raised:
        copy(source_db, target_db)
    assert raised.value.sqlstate == "23P01"
    assert target_db.value("SELECT count(*) FROM profiles") == 0


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
        with pytest.raises(PostgresError, match=r"the row with the id 7 .*not_7"):
            writer.save_rows(rows)
        assert target_db.value("SELECT count(*) FROM profiles") == 0
        target_db.execute("ALTER TABLE profiles DROP CONSTRAINT not_7")
        writer.save_rows(rows)
    assert_equal_tables(source_db, target_db)


@pytest.mark.parametrize(
    ("set_to", "commits"), [("off", "on"), ("remote_apply", "remote_apply"), ("local", "local")]
)
def test_a_save_is_as_durable_as_the_database_asks_for_and_always_durable(
    set_to: str, commits: str, source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 1)
    create_profiles(target_db)
    target_db.execute(f"ALTER DATABASE {target_db.name} SET synchronous_commit = {set_to}")
    target_db.execute(
        "CREATE TABLE seen (setting text);"
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
        " INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NEW; END$$;"
        # it fires as the transaction commits
        "CREATE CONSTRAINT TRIGGER see AFTER INSERT OR UPDATE ON profiles"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION see()"
    )
    copy(source_db, target_db)
    assert target_db.query("SELECT setting FROM seen") == [(commits,)]
    target_db.execute("UPDATE profiles SET data = '0'")
    target_db.execute("TRUNCATE seen")
    copy(source_db, target_db)  # by the table in between
    assert target_db.query("SELECT setting FROM seen") == [(commits,)]


def test_a_key_that_only_a_child_has_twice_is_an_error(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 1)
    source_db.execute("CREATE TABLE newer () INHERITS (profiles); INSERT INTO newer VALUES (1)")
    create_profiles(target_db, 1)
    target_db.execute("UPDATE profiles SET data = '0'")
    with pytest.raises(PostgresError, match='more than one row with the same "id"'):
        copy(source_db, target_db)


def drop_rows(database: TemporaryDatabase, event: str, *, table: str = "profiles") -> None:
    """Let a trigger drop the row 7, and only that."""
    database.execute(
        "CREATE FUNCTION drop_7() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
        " IF coalesce(NEW.id, OLD.id) = 7 THEN RETURN NULL; END IF;"
        " IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END$$;"
        f" CREATE TRIGGER t BEFORE {event} ON {table}"
        " FOR EACH ROW EXECUTE FUNCTION drop_7()"
    )


@pytest.mark.parametrize("event", ["INSERT", "UPDATE", "DELETE"])
@pytest.mark.parametrize("index", ["PRIMARY KEY", ""])
@pytest.mark.parametrize("rows", [0, 10], ids=["empty", "stale"])
def test_a_trigger_that_drops_rows_is_an_error(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, event: str, index: str, rows: int
) -> None:
    create_profiles(source_db, 10)
    target_db.execute(f"CREATE TABLE profiles (id bigint {index}, data jsonb)")
    target_db.execute(f"INSERT INTO profiles SELECT generate_series(1, {rows})")
    drop_rows(target_db, event)
    before = target_db.query("SELECT * FROM profiles ORDER BY id")
    fires = {("PRIMARY KEY", 10): {"INSERT", "UPDATE"}, ("", 10): {"INSERT", "DELETE"}}
    if event in fires.get((index, rows), {"INSERT"}):
        due = "[0-9]+ of 10 rows"
        with pytest.raises(PostgresError, match=f"takes only {due}.*nothing was saved"):
            copy(source_db, target_db)
        assert target_db.query("SELECT * FROM profiles ORDER BY id") == before
    else:
        copy(source_db, target_db)
        assert_equal_tables(source_db, target_db)


def test_a_trigger_of_a_partition_that_drops_rows_is_an_error(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 10)
    target_db.execute(
        "CREATE TABLE profiles (id bigint PRIMARY KEY, data jsonb) PARTITION BY RANGE (id);"
        "CREATE TABLE low PARTITION OF profiles FOR VALUES FROM (MINVALUE) TO (50)"
    )
    drop_rows(target_db, "INSERT", table="low")
    with pytest.raises(PostgresError, match="takes only 9 of 10 rows"):
        copy(source_db, target_db)
    assert target_db.value("SELECT count(*) FROM profiles") == 0


@pytest.mark.parametrize(
    ("index", "there"), [("PRIMARY KEY", "none"), ("", "none"), ("", "id % 2 = 0")]
)
def test_a_trigger_made_during_the_copy_saves_nothing(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, index: str, there: str
) -> None:
    create_profiles(source_db, 10)
    target_db.execute(f"CREATE TABLE profiles (id bigint {index}, data jsonb)")
    target = opened(target_db, "target", json="text")
    with opened(source_db, "source") as reader, target as writer:
        rows = handed_over(reader.load_rows(0, 11))
        if there != "none":
            writer.save_rows([row for row in rows if row[0] % 2 == 0])
        writer.get_max_id()  # it has looked at the table
        drop_rows(target_db, "INSERT")
        with pytest.raises(TableChangedError, match=r"the trigger .* is new"):
            writer.save_rows(rows)
    assert target_db.value("SELECT count(*) FROM profiles") == (5 if there != "none" else 0)


@pytest.mark.parametrize("index", ["PRIMARY KEY", ""])
def test_a_trigger_that_changes_rows_drops_none(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, index: str
) -> None:
    source_db.execute("CREATE TABLE profiles (id int PRIMARY KEY, name text)")
    source_db.execute("INSERT INTO profiles VALUES (1, 'A'), (2, 'b')")
    target_db.execute(
        f"CREATE TABLE profiles (id int {index}, name text);"
        "CREATE FUNCTION low() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
        " NEW.name := lower(NEW.name); RETURN NEW; END$$;"
        "CREATE TRIGGER low BEFORE INSERT OR UPDATE ON profiles"
        " FOR EACH ROW EXECUTE FUNCTION low()"
    )
    for saved in (counts(inserted=2), counts(updated=1, unchanged=1)):
        assert copy(source_db, target_db) == saved
        assert target_db.query("SELECT * FROM profiles ORDER BY id") == [(1, "a"), (2, "b")]
