"""A published target without a replica identity: the server refuses to change rows, even none."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from pipecopy.postgres import PostgresError, PostgresPool
from tests.postgres.test_writer import counts, versions
from tests.support import runs
from tests.support.databases import TemporaryDatabase
from tests.support.opened import copy, opened
from tests.support.profiles import add_profiles, assert_equal_tables, create_profiles
from tests.support.runs import lines, verify

pytestmark = pytest.mark.server

PUBLISHED = "CREATE PUBLICATION p FOR TABLE profiles"
INDEXES = ["UNIQUE", "PRIMARY KEY DEFERRABLE", ""]
PARTITIONED = """
    CREATE TABLE profiles (id bigint UNIQUE, data jsonb) PARTITION BY RANGE (id);
    CREATE TABLE low PARTITION OF profiles FOR VALUES FROM (0) TO (500);
    CREATE TABLE high PARTITION OF profiles FOR VALUES FROM (500) TO (MAXVALUE)
"""


def create(database: TemporaryDatabase, index: str = "UNIQUE", published: str = PUBLISHED) -> None:
    database.execute(f"CREATE TABLE profiles (id bigint {index}, data jsonb); {published}")


def warnings(database: TemporaryDatabase, **how: Any) -> list[str]:
    with opened(database, "target", **how) as target:
        return [warning for warning in lines(target.describe(), "warning") if "replica" in warning]


@pytest.mark.parametrize("index", INDEXES)
def test_where_nothing_differs_nothing_fails(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, index: str
) -> None:
    create_profiles(source_db, 2500)
    create(target_db, index)
    copy(source_db, target_db)
    before = versions(target_db)
    copy(source_db, target_db)
    assert versions(target_db) == before


@pytest.mark.parametrize("index", INDEXES)
def test_new_rows_come_in_among_equal_ones(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, index: str
) -> None:
    create_profiles(source_db, 2500)
    create(target_db, index)
    copy(source_db, target_db)
    target_db.execute(
        "ALTER TABLE profiles REPLICA IDENTITY FULL; DELETE FROM profiles WHERE id % 7 = 0;"
        " ALTER TABLE profiles REPLICA IDENTITY DEFAULT"
    )
    assert copy(source_db, target_db) == counts(inserted=357, unchanged=2143)
    assert_equal_tables(source_db, target_db)


@pytest.mark.parametrize("index", INDEXES)
def test_rows_that_differ_are_an_error_that_says_what_to_do(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, index: str
) -> None:
    create_profiles(source_db, 1200)
    create(target_db, index)
    copy(source_db, target_db)
    source_db.execute("UPDATE profiles SET data = '1' WHERE id IN (1010, 1011)")
    source_db.execute("INSERT INTO profiles VALUES (1201, '1')")
    with pytest.raises(PostgresError, match=r"differ \(2 here\).*no replica identity") as raised:
        copy(source_db, target_db)
    assert raised.value.sqlstate == "55000"
    assert target_db.value("SELECT count(*) FROM profiles") == 1200  # all of a batch, or none
    (foretold,) = warnings(target_db, mode="check")
    message, _, remedy = str(raised.value).partition("; run ")
    assert remedy == "ALTER TABLE public.profiles REPLICA IDENTITY FULL;"
    assert foretold.endswith(remedy)
    assert "public.profiles" in message
    target_db.execute(remedy)
    assert warnings(target_db) == []
    copy(source_db, target_db)
    assert_equal_tables(source_db, target_db)


def test_an_index_that_can_be_the_identity_is_named(target_db: TemporaryDatabase) -> None:
    create(target_db, 'NOT NULL CONSTRAINT "One id" UNIQUE')
    (warning,) = warnings(target_db)
    remedy = warning.partition("; run ")[2]
    assert remedy == 'ALTER TABLE public.profiles REPLICA IDENTITY USING INDEX "One id";'
    target_db.execute(remedy)
    assert warnings(target_db) == []


@pytest.mark.parametrize(
    ("published", "is_refused"),
    [
        ("CREATE PUBLICATION p FOR ALL TABLES", True),
        ("CREATE PUBLICATION p FOR TABLES IN SCHEMA public", True),
        ("CREATE PUBLICATION p FOR TABLES IN SCHEMA public WITH (publish = 'update')", True),
        (f"{PUBLISHED} WITH (publish = 'insert')", False),
        (f"{PUBLISHED} WITH (publish = 'delete')", False),  # an upsert deletes nothing
        (f"{PUBLISHED}; ALTER TABLE profiles REPLICA IDENTITY FULL", False),
        ("ALTER TABLE profiles SET UNLOGGED; CREATE PUBLICATION p FOR ALL TABLES", False),
        ("CREATE PUBLICATION p", False),
        ("", False),
    ],
)
def test_the_check_knows_what_the_server_refuses(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, published: str, *, is_refused: bool
) -> None:
    create_profiles(source_db, 10)
    create(target_db, published=published)
    assert bool(warnings(target_db)) == is_refused
    refuses = False
    try:
        target_db.execute("UPDATE profiles SET data = NULL")
    except psycopg.errors.ObjectNotInPrerequisiteState:
        refuses = True
    assert refuses == is_refused


@pytest.mark.parametrize("root", ["", " WITH (publish_via_partition_root)"])
@pytest.mark.parametrize("published", ["profiles", "low"])
def test_partitions_have_identities_of_their_own(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, published: str, root: str
) -> None:
    create_profiles(source_db, 1000)
    target_db.execute(f"{PARTITIONED}; CREATE PUBLICATION p FOR TABLE {published}{root}")
    copy(source_db, target_db, batch_size=400)
    before = versions(target_db)
    copy(source_db, target_db, batch_size=400)
    assert versions(target_db) == before
    source_db.execute("UPDATE profiles SET data = '1' WHERE id = 7")
    with pytest.raises(PostgresError, match=r"differ \(1 here\)") as raised:
        copy(source_db, target_db)
    (warning,) = warnings(target_db)
    remedy = warning.partition("; run ")[2]
    assert str(raised.value).endswith(remedy)
    names = ["high", "low"] if published == "profiles" else ["low"]
    assert remedy == " ".join(f"ALTER TABLE public.{n} REPLICA IDENTITY FULL;" for n in names)
    target_db.execute(remedy)
    copy(source_db, target_db)
    assert_equal_tables(source_db, target_db)


@pytest.mark.parametrize("published", ["(id, data) WHERE (data IS NOT NULL)", "(data)"])
def test_a_publication_that_lacks_the_identity_is_no_hindrance_either(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, published: str
) -> None:
    create_profiles(source_db, 10)
    create(target_db, "PRIMARY KEY", f"{PUBLISHED} {published}")
    for _ in range(2):
        copy(source_db, target_db)
    assert_equal_tables(source_db, target_db)
    source_db.execute("UPDATE profiles SET data = '1'")
    with pytest.raises(psycopg.errors.InvalidColumnReference, match="cannot update table"):
        copy(source_db, target_db)


def test_a_key_that_is_there_twice_in_both_differs_in_nothing(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    source_db.execute("CREATE TABLE profiles (id bigint, data jsonb)")
    source_db.execute("INSERT INTO profiles VALUES (1, '1'), (1, '2'), (2, '3'), (2, '3')")
    create(target_db, "")
    for _ in range(2):
        copy(source_db, target_db)
        assert_equal_tables(source_db, target_db)
    source_db.execute("INSERT INTO profiles VALUES (2, '3')")
    with pytest.raises(PostgresError, match="no replica identity"):
        copy(source_db, target_db)


def test_a_trigger_that_drops_new_rows_is_an_error_there_too(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 10)
    create(target_db)
    add_profiles_of(target_db, 5)
    target_db.execute(
        "CREATE FUNCTION drop_7() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN IF NEW.id = 7 THEN RETURN NULL; END IF; RETURN NEW; END$$;"
        " CREATE TRIGGER t BEFORE INSERT ON profiles FOR EACH ROW EXECUTE FUNCTION drop_7()"
    )
    with pytest.raises(PostgresError, match="takes only 4 of 5 rows"):
        copy(source_db, target_db)


def add_profiles_of(database: TemporaryDatabase, rows: int) -> None:
    database.execute("CREATE SEQUENCE profiles_id_seq")
    add_profiles(database, 1, rows + 1)


def test_a_row_that_another_session_inserts_meanwhile_is_an_error(
    target_db: TemporaryDatabase,
) -> None:
    create(target_db)
    target_db.execute("INSERT INTO profiles VALUES (1, NULL), (100, NULL)")
    with opened(target_db, "target") as writer, target_db.connect() as other:
        writer.save_rows([(1, None)])  # from now on it inserts alone, and knows of 100
        other.execute("BEGIN; INSERT INTO profiles VALUES (105, '1')")
        with ThreadPoolExecutor(1) as threads:
            save = threads.submit(writer.save_rows, [(100, None), (105, None)])
            deadline = time.monotonic() + 10
            while "Lock" not in {session["wait_event_type"] for session in target_db.sessions()}:
                assert time.monotonic() < deadline
            other.execute("COMMIT")
            with pytest.raises(PostgresError, match="another session inserted a row"):
                save.result(10)
        with pytest.raises(PostgresError, match="differ"):
            writer.save_rows([(100, None), (105, None)])


def test_the_copy_warns_and_its_second_run_is_complete(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 100)
    create(target_db)
    pool = PostgresPool({"source": source_db.uri, "target": target_db.uri})
    for _ in range(2):
        report = runs.copy(pool)
        assert report.outcome == "complete"
        assert any("REPLICA IDENTITY" in warning for warning in report.warnings)


def test_surplus_rows_that_can_not_be_removed(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 20)
    create(target_db, published=f"{PUBLISHED} WITH (publish = 'delete')")
    copy(source_db, target_db)
    pool = PostgresPool({"source": source_db.uri, "target": target_db.uri})
    report = verify(pool, repair=True, delete_surplus=True)
    assert report.equal
    assert any("REPLICA IDENTITY" in warning for warning in report.warnings)
    source_db.execute("DELETE FROM profiles WHERE id = 7")
    with pytest.raises(Exception, match=r"rows are to be removed.*REPLICA IDENTITY FULL") as raised:
        verify(pool, repair=True, delete_surplus=True)
    assert getattr(raised.value, "sqlstate", None) == "55000"
