"""A part of a table is verified as it is copied: some columns, some rows, under another name."""

from __future__ import annotations

from pipecopy.postgres import PostgresPool
from tests.copying.quick import copy
from tests.servers import TemporaryDatabase
from tests.verify.quick import found, verify

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
