"""A batch of so many rows, and where it ends."""

from __future__ import annotations

import pytest

from pipecopy.postgres import PostgresPool
from pipecopy.postgres.database import PostgresDatabase
from tests.support.databases import TemporaryDatabase
from tests.support.opened import opened
from tests.support.profiles import create_profiles
from tests.support.runs import copy

pytestmark = pytest.mark.server

_END = 1_000_000_000_001


def _batches(
    database: PostgresDatabase, rows: int, *, column: int = 0
) -> list[tuple[tuple[int, int], list[int]]]:
    """Load the whole table as a copy does; return what each batch covers, and its ids."""
    first, past_last = 0, database.get_max_id() + 1
    found = []
    while first < past_last:
        batch = database.load_batch(first, past_last, rows)
        found.append((batch.key_range, [row[column] for row in batch]))
        first = batch.key_range[1]
    return found


def test_a_batch_holds_so_many_rows_across_any_gaps(source_db: TemporaryDatabase) -> None:
    source_db.execute("CREATE TABLE profiles (id bigint PRIMARY KEY)")
    source_db.execute("INSERT INTO profiles VALUES (0), (1), (10), (1000000000000)")
    with opened(source_db, "source") as database:
        assert _batches(database, rows=3) == [((0, 11), [0, 1, 10]), ((11, _END), [1000000000000])]
        assert _batches(database, rows=2) == [((0, 2), [0, 1]), ((2, _END), [10, 1000000000000])]
        assert database.end_of_batch(0, _END, 3) == 11
        assert database.end_of_batch(11, _END, 3) == _END


@pytest.mark.parametrize("type_", ["smallint", "integer", "bigint"])
@pytest.mark.parametrize("other", ["text", "regclass"], ids=["binary", "as text"])
def test_a_batch_of_one_row(source_db: TemporaryDatabase, type_: str, other: str) -> None:
    source_db.execute(f"CREATE TABLE profiles (other {other}, id {type_} PRIMARY KEY)")
    source_db.execute("INSERT INTO profiles VALUES (NULL, 3), (NULL, 5), (NULL, 900)")
    with opened(source_db, "source") as database:
        found = _batches(database, rows=1, column=1)
    assert found == [((0, 4), [3]), ((4, 6), [5]), ((6, 901), [900])]


def test_rows_with_one_id_are_never_cut_in_two(source_db: TemporaryDatabase) -> None:
    source_db.execute("CREATE TABLE profiles (id bigint); CREATE INDEX ON profiles (id)")
    source_db.execute("INSERT INTO profiles SELECT i / 4 FROM generate_series(0, 19) AS i")
    with opened(source_db, "source") as database:
        found = _batches(database, rows=6)
    assert found == [
        ((0, 2), [0, 0, 0, 0, 1, 1, 1, 1]),
        ((2, 4), [2, 2, 2, 2, 3, 3, 3, 3]),
        ((4, 5), [4, 4, 4, 4]),
    ]


def test_a_batch_of_rows_that_meet_a_condition(source_db: TemporaryDatabase) -> None:
    create_profiles(source_db, 100)
    with opened(source_db, "source", where="id % 10 = 0") as database:
        found = _batches(database, rows=4)
    assert found == [
        ((0, 41), [10, 20, 30, 40]),
        ((41, 81), [50, 60, 70, 80]),
        ((81, 101), [90, 100]),
    ]


@pytest.mark.parametrize("where", ["data <> 'y'", "length(data) = 500"])
@pytest.mark.parametrize("analyzed", [True, False])
def test_what_is_left_of_a_condition_is_not_sorted_for_each_batch(
    source_db: TemporaryDatabase, where: str, *, analyzed: bool
) -> None:
    """However few rows the planner expects: sorting 10 MB takes files, which end the load."""
    source_db.execute("CREATE TABLE profiles (id bigint PRIMARY KEY, data text)")
    source_db.execute("ALTER TABLE profiles SET (autovacuum_enabled = off)")
    source_db.execute(
        "INSERT INTO profiles SELECT i, repeat('x', 500) FROM generate_series(1, 20000) AS i"
    )
    if analyzed:
        source_db.execute("ANALYZE profiles")
    source_db.execute(f"ALTER DATABASE {source_db.name} SET temp_file_limit = '1MB'")
    with opened(source_db, "source", where=where) as database:
        for first in (0, 5001):
            assert len(database.load_batch(first, 20_001, 1000)) == 1000


def test_a_sample_of_rows_is_of_the_whole_table(source_db: TemporaryDatabase) -> None:
    create_profiles(source_db, 2000)
    with opened(source_db, "source", where="random() < 0.5") as database:
        batches = _batches(database, rows=10)
    assert 800 < sum(len(ids) for _, ids in batches) < 1200


def test_a_batch_of_several_partitions(source_db: TemporaryDatabase) -> None:
    source_db.execute(
        "CREATE TABLE profiles (id bigint PRIMARY KEY) PARTITION BY HASH (id);"
        "CREATE TABLE one PARTITION OF profiles FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        "CREATE TABLE two PARTITION OF profiles FOR VALUES WITH (MODULUS 2, REMAINDER 1);"
        "INSERT INTO profiles SELECT 3 * i FROM generate_series(1, 9) AS i"
    )
    with opened(source_db, "source") as database:
        found = _batches(database, rows=4)
    assert found == [((0, 13), [3, 6, 9, 12]), ((13, 25), [15, 18, 21, 24]), ((25, 28), [27])]


def test_rows_of_tables_that_inherit_are_there(source_db: TemporaryDatabase) -> None:
    source_db.execute(
        "CREATE TABLE profiles (id bigint PRIMARY KEY); CREATE TABLE more () INHERITS (profiles);"
        "INSERT INTO profiles VALUES (1), (5); INSERT INTO more VALUES (3), (5), (7)"
    )
    with opened(source_db, "source") as database:
        found = _batches(database, rows=3)
    assert found == [((0, 6), [1, 3, 5, 5]), ((6, 8), [7])]


@pytest.mark.parametrize("index", ["id", "id DESC", "id NULLS FIRST", "id DESC NULLS LAST, data"])
@pytest.mark.parametrize("order", ["i", "hashint8(i)"], ids=["in order", "shuffled"])
@pytest.mark.parametrize("asked", [False, True], ids=["loaded", "asked"])
def test_a_table_without_statistics_is_read_once(
    source_db: TemporaryDatabase, order: str, index: str, *, asked: bool
) -> None:
    """The planner would read, and sort, all that is left of it for each batch."""
    source_db.execute("CREATE TABLE profiles (id bigint, data text)")
    source_db.execute("ALTER TABLE profiles SET (autovacuum_enabled = off)")
    source_db.execute(f"CREATE INDEX ON profiles ({index})")
    source_db.execute(
        "INSERT INTO profiles SELECT i, repeat('x', 200)"
        f" FROM generate_series(1, 20000) AS i ORDER BY {order}"
    )
    with opened(source_db, "source") as database:
        if asked:
            ends = [database.end_of_batch(first, 20_001, 1000) for first in range(1, 20_001, 1000)]
            assert ends == list(range(1001, 20_002, 1000))
        else:
            assert len(_batches(database, rows=1000)) == 20
        flush = "SELECT pg_catalog.pg_stat_force_next_flush()"
        database._connection.call(lambda session: session.query(flush))
        read = source_db.value(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables"
            " WHERE relname = 'profiles'"
        )
    assert 20_000 <= read <= 21_000


def test_the_last_id_there_is(source_db: TemporaryDatabase) -> None:
    source_db.execute("CREATE TABLE profiles (id bigint PRIMARY KEY)")
    source_db.execute("INSERT INTO profiles VALUES (9223372036854775807)")
    with opened(source_db, "source") as database:
        for rows in (1, 2, 2**70):
            assert database.end_of_batch(0, 2**63, rows) == 2**63
            assert database.load_batch(0, 2**63, rows).key_range == (0, 2**63)


def test_a_gap_in_a_table_without_an_index_costs_one_batch(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    source_db.execute("CREATE TABLE profiles (id bigint, data text)")
    source_db.execute("INSERT INTO profiles VALUES (0, 'a'), (1, 'b'), (1000000000000, 'c')")
    target_db.execute("CREATE TABLE profiles (id bigint PRIMARY KEY, data text)")
    pool = PostgresPool({"source": source_db.uri, "target": target_db.uri})
    report = copy(pool, batch_size=10)
    assert (report.rows, report.next_id) == (3, 1_000_000_000_001)
    assert report.calls < 20


def test_the_greatest_id_of_a_range(source_db: TemporaryDatabase) -> None:
    create_profiles(source_db, 100, step=3)
    source_db.execute(
        "CREATE FUNCTION max(bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';"
        f" ALTER DATABASE {source_db.name} SET search_path TO public, pg_catalog"
    )
    ranges = [(0, 301), (0, 300), (7, 9), (7, 10), (301, 400), (0, 2**63), (2**63, 2**64)]
    with opened(source_db, "target") as database:
        found = [database.get_max_id_in(*ends) for ends in ranges]
    assert found == [300, 297, 0, 9, 0, 300, 0]
