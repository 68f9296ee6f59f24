"""A part of a table is verified as it is copied: some columns, some rows, under another name."""

from __future__ import annotations

import pytest

from pipecopy.errors import TableMismatchError
from pipecopy.postgres import PostgresPool
from tests.support.databases import TemporaryDatabase
from tests.support.opened import opened
from tests.support.runs import copy, found, verify

COLUMNS = "id int PRIMARY KEY, country text, a text, b text"


def test_chosen_columns_under_another_name(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    source_db.execute(
        f"CREATE TABLE profiles ({COLUMNS}); INSERT INTO profiles"
        " SELECT i, 'DE', 'a' || i, 'b' || i FROM generate_series(1, 50) AS i"
    )
    target_db.execute(f'CREATE SCHEMA s; CREATE TABLE s."Copy" ({COLUMNS})')
    pool = PostgresPool(
        {"source": source_db.uri, "target": target_db.uri},
        target_table='s."Copy"',
        columns=["b", "id"],
    )
    copy(pool)
    target_db.execute("UPDATE s.\"Copy\" SET a = 'its own'")
    target_db.execute(
        'UPDATE s."Copy" SET b = \'stale\' WHERE id = 7; DELETE FROM s."Copy" WHERE id = 9'
    )
    report = verify(pool, repair=True)
    assert found(report) == ((9,), (), (7,))
    assert report.equal
    rows = target_db.query('SELECT id, a, b FROM s."Copy" WHERE id IN (7, 9) ORDER BY id')
    assert rows == [(7, "its own", "b7"), (9, None, "b9")]


def test_the_rows_that_meet_a_condition_on_both_sides(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    for database in (source_db, target_db):
        database.execute(f"CREATE TABLE profiles ({COLUMNS})")
    source_db.execute(
        "INSERT INTO profiles SELECT i, CASE WHEN i % 2 = 0 THEN 'DE' ELSE 'FR' END, 'a' || i"
        " FROM generate_series(1, 100) AS i"
    )
    pool = PostgresPool(
        {"source": source_db.uri, "target": target_db.uri}, where="country = 'DE' -- a comment"
    )
    copy(pool)
    target_db.execute(
        "INSERT INTO profiles VALUES (3, 'IT', 'from elsewhere'), (5, 'DE', 'no more');"
        "UPDATE profiles SET country = 'IT' WHERE id = 10; UPDATE profiles SET a = '' WHERE id = 20"
    )
    report = verify(pool, repair=True, delete_surplus=True)
    assert found(report) == ((10,), (5,), (20,))
    assert (report.rows, report.equal) == (50, True)
    assert target_db.query("SELECT a FROM profiles WHERE id IN (3, 5)") == [("from elsewhere",)]
    assert target_db.value("SELECT country FROM profiles WHERE id = 10") == "DE"


def test_only_rows_that_meet_the_condition_are_removed(target_db: TemporaryDatabase) -> None:
    target_db.execute("CREATE TABLE profiles (id int, country text)")
    target_db.execute("INSERT INTO profiles VALUES (5, 'DE'), (5, 'IT'), (6, 'DE'), (7, 'DE')")
    with opened(target_db, "target", where="country = 'DE'") as database:
        assert database.delete_rows([5, 6]) == 2
        assert database.delete_rows([5, 6]) == 0  # a second attempt
    left = target_db.query("SELECT id, country FROM profiles ORDER BY id")
    assert left == [(5, "IT"), (7, "DE")]


def test_tables_of_partitions(source_db: TemporaryDatabase, target_db: TemporaryDatabase) -> None:
    source_db.execute(f"CREATE TABLE profiles ({COLUMNS})")
    target_db.execute(
        f"CREATE TABLE profiles ({COLUMNS}) PARTITION BY RANGE (id);"
        "CREATE TABLE low PARTITION OF profiles FOR VALUES FROM (MINVALUE) TO (50);"
        "CREATE TABLE high PARTITION OF profiles FOR VALUES FROM (50) TO (MAXVALUE)"
    )
    source_db.execute("INSERT INTO profiles SELECT i FROM generate_series(1, 100) AS i")
    pool = PostgresPool({"source": source_db.uri, "target": target_db.uri})
    copy(pool)
    target_db.execute(
        "DELETE FROM profiles WHERE id IN (49, 50); UPDATE profiles SET a = 'x' WHERE id = 99"
    )
    target_db.execute("INSERT INTO profiles VALUES (101), (0)")
    report = verify(pool, repair=True, delete_surplus=True)
    assert found(report) == ((49, 50), (0, 101), (99,))
    assert report.equal


def test_a_target_without_an_index_on_sparse_ids(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    source_db.execute("CREATE TABLE profiles (id bigint PRIMARY KEY, data jsonb)")
    source_db.execute("INSERT INTO profiles SELECT i * 10^9 FROM generate_series(1, 100) AS i")
    target_db.execute("CREATE TABLE profiles (id bigint, data jsonb)")
    pool = PostgresPool({"source": source_db.uri, "target": target_db.uri})
    copy(pool)
    target_db.execute("DELETE FROM profiles WHERE id = 50 * 10^9")
    report = verify(pool, batch_size=50)
    assert found(report) == ((50 * 10**9,), (), ())
    assert report.calls < 40


@pytest.mark.parametrize("repair", ["", "repair"])
def test_a_condition_is_looked_at_on_both_sides(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, repair: str
) -> None:
    source_db.execute(f"CREATE TABLE profiles ({COLUMNS})")
    target_db.execute("CREATE TABLE profiles (id int PRIMARY KEY, a text)")
    pool = PostgresPool(
        {"source": source_db.uri, "target": target_db.uri}, columns=["a"], where="country = 'DE'"
    )
    with pytest.raises(
        TableMismatchError, match="`where` is not a condition on the rows of"
    ) as told:
        verify(pool, repair=bool(repair))
    assert "`where` needs a column of" in str(told.value)


@pytest.mark.parametrize(
    "where",
    ["country = 'DE'", "profiles.country = 'DE' -- a comment"],
)
def test_a_condition_on_a_column_that_is_not_copied_is_refused(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, where: str
) -> None:
    with pytest.raises(
        TableMismatchError, match=r"`where` needs a column of .* that is not copied"
    ):
        verify(_with_computed_column(source_db, target_db, where))


@pytest.mark.parametrize(
    "where",
    ["profiles.a <> 'DE'", "public.profiles.id > 3", "computed > 3"],
)
def test_a_condition_on_what_is_copied_or_computed_is_not(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, where: str
) -> None:
    assert verify(_with_computed_column(source_db, target_db, where)).equal


def _with_computed_column(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, where: str
) -> PostgresPool:
    for database in (source_db, target_db):
        database.execute(
            f"CREATE TABLE profiles ({COLUMNS}, computed int GENERATED ALWAYS AS (id + 1) STORED);"
            "INSERT INTO profiles VALUES (1, 'DE', 'a'), (4, 'DE', 'a')"
        )
    return PostgresPool(
        {"source": source_db.uri, "target": target_db.uri}, columns=["a"], where=where
    )
