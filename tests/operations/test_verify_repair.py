"""Rows that differ are found by their ids, and repaired."""

from __future__ import annotations

import pytest

from pipecopy.errors import PipecopyError
from pipecopy.events import CallEnded, CallStarted, DifferencesFound, Event
from pipecopy.postgres import PostgresPool
from tests.support.databases import TemporaryDatabase
from tests.support.profiles import assert_equal_tables, create_profiles, hide_rows
from tests.support.runs import copy, found, verify

DAMAGE = """
    DELETE FROM profiles WHERE id IN (1, 500, 501, 502, 2999);
    UPDATE profiles SET data = data || '{"active": "perhaps"}' WHERE id IN (7, 503, 2000);
    INSERT INTO profiles SELECT i, '{}' FROM unnest(ARRAY[0, 3001, 3002, 90000]) AS i
"""
DAMAGED = ((1, 500, 501, 502, 2999), (0, 3001, 3002, 90000), (7, 503, 2000))
VERSIONS = "SELECT id, xmin::text FROM profiles WHERE id NOT IN %s ORDER BY id"


def test_each_difference_is_found_and_nothing_is_written(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 3000)
    create_profiles(target_db, 3000)
    target_db.execute(DAMAGE)
    before = target_db.query("SELECT id, xmin::text FROM profiles ORDER BY id")
    told: list[DifferencesFound] = []

    def observe(event: Event) -> None:
        if isinstance(event, DifferencesFound):
            told.append(event)

    report = verify(postgres_pool, batch_size=400, observer=observe)
    assert found(report) == DAMAGED
    assert (report.outcome, report.equal) == ("complete", False)
    assert (report.repaired, report.deleted) == (0, 0)
    assert tuple(key for event in told for key in event.missing) == DAMAGED[0]
    assert tuple(key for event in told for key in event.surplus) == DAMAGED[1]
    assert tuple(key for event in told for key in event.differing) == DAMAGED[2]
    assert target_db.query("SELECT id, xmin::text FROM profiles ORDER BY id") == before


def test_a_repair_leaves_surplus_rows_unless_they_may_be_removed(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 3000)
    create_profiles(target_db, 3000)
    target_db.execute(DAMAGE)
    report = verify(postgres_pool, batch_size=400, repair=True)
    assert found(report) == DAMAGED
    assert (report.repaired, report.deleted, report.equal) == (8, 0, False)
    again = verify(postgres_pool, batch_size=400, repair=True, delete_surplus=True)
    assert found(again) == ((), DAMAGED[1], ())
    assert (again.repaired, again.deleted, again.equal) == (0, 4, True)
    assert_equal_tables(source_db, target_db)


def test_a_repair_writes_the_rows_that_differ_alone(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 3000)
    create_profiles(target_db, 3000)
    target_db.execute(DAMAGE)
    touched = tuple(key for kind in DAMAGED for key in kind)
    versions = VERSIONS % (touched,)
    before = target_db.query(versions)
    loaded: list[tuple[int, int] | None] = []

    def observe(event: Event) -> None:
        if isinstance(event, CallStarted) and event.where.call == "load_rows":
            loaded.append(event.where.key_range)

    report = verify(
        postgres_pool, batch_size=3000, repair=True, delete_surplus=True, observer=observe
    )
    assert (report.repaired, report.deleted, report.equal) == (8, 4, True)
    assert target_db.query(versions) == before
    assert loaded == [(1, 8), (500, 504), (2000, 2001), (2999, 3000)]
    assert_equal_tables(source_db, target_db)


def test_one_row_among_many_is_found_by_halving(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    for database in (source_db, target_db):
        create_profiles(database)
        database.execute("INSERT INTO profiles SELECT i * 7, '1' FROM generate_series(1, 40000) i")
    target_db.execute("UPDATE profiles SET data = '2' WHERE id = 77777")
    listed: list[int] = []
    halved: list[tuple[int, int] | None] = []

    def observe(event: Event) -> None:
        if isinstance(event, CallStarted) and event.where.call == "row_checksums":
            assert event.where.key_range is not None
            listed.append(event.where.key_range[1] - event.where.key_range[0])
        if isinstance(event, CallEnded) and event.where.call == "checksum":
            halved.append(event.where.key_range)

    report = verify(postgres_pool, batch_size=20_000, observer=observe)
    assert found(report) == ((), (), (77777,))
    assert len(listed) == 4  # twice on each side
    assert max(listed) <= 7 * 1000
    assert (
        sum(key_range is not None and key_range[0] <= 77777 < key_range[1] for key_range in halved)
        >= 8
    )


def test_many_differences_are_counted_and_the_first_ones_listed(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    for database in (source_db, target_db):
        create_profiles(database)
        database.execute("INSERT INTO profiles SELECT i, '1' FROM generate_series(1, 12000) AS i")
    target_db.execute("UPDATE profiles SET data = '2' WHERE id % 2 = 0")
    report = verify(postgres_pool, batch_size=20_000, repair=True)
    assert (report.missing, report.surplus, report.differing) == (0, 0, 6000)
    assert report.differing_ids == tuple(range(2, 2002, 2))
    assert (report.repaired, report.equal) == (6000, True)
    assert_equal_tables(source_db, target_db)


def test_a_row_that_was_committed_late_with_a_low_id(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 300)
    create_profiles(target_db)
    source_db.execute("DELETE FROM profiles WHERE id = 5")
    with source_db.connect() as late:
        late.execute("BEGIN; INSERT INTO profiles VALUES (5, '\"late\"')")
        assert copy(postgres_pool, batch_size=100).rows == 299
        late.execute("COMMIT")
    assert copy(postgres_pool, batch_size=100, resume=True).rows == 1  # 300, and not 5
    report = verify(postgres_pool, batch_size=100, repair=True)
    assert found(report) == ((5,), (), ())
    assert (report.repaired, report.equal) == (1, True)
    assert target_db.value("SELECT data FROM profiles WHERE id = 5") == "late"


def test_a_repair_takes_the_sequence_along(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 300)
    create_profiles(target_db, 100)
    assert verify(postgres_pool, repair=True).equal
    assert target_db.value("INSERT INTO profiles (data) VALUES ('{}') RETURNING id") == 301


def test_a_sequence_that_an_earlier_repair_left_is_taken_along(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 30)
    create_profiles(target_db, 30)
    target_db.execute("ALTER SEQUENCE profiles_id_seq RESTART WITH 10")
    report = verify(postgres_pool, repair=True)
    assert (report.repaired, report.equal) == (0, True)
    assert target_db.value("INSERT INTO profiles (data) VALUES ('{}') RETURNING id") == 31


def test_a_key_that_is_there_twice_differs(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 100)
    target_db.execute("CREATE TABLE profiles (id bigint, data jsonb)")
    copy(postgres_pool, batch_size=50)
    target_db.execute("INSERT INTO profiles SELECT * FROM profiles WHERE id IN (40, 41)")
    report = verify(postgres_pool, batch_size=50, repair=True)
    assert found(report) == ((), (), (40, 41))
    assert (report.repaired, report.equal) == (2, True)
    assert_equal_tables(source_db, target_db)


@pytest.mark.parametrize("repair", ["", "repair"])
def test_rows_that_are_in_no_range_count_as_surplus(
    source_db: TemporaryDatabase,
    target_db: TemporaryDatabase,
    postgres_pool: PostgresPool,
    repair: str,
) -> None:
    create_profiles(source_db, 10)
    target_db.execute("CREATE TABLE profiles (id bigint UNIQUE, data jsonb)")
    copy(postgres_pool)
    target_db.execute("INSERT INTO profiles VALUES (NULL, '{}'), (NULL, '{}'), (-3, '{}')")
    report = verify(postgres_pool, repair=bool(repair))
    assert (report.missing, report.surplus, report.differing) == (0, 3, 0)
    assert (report.surplus_ids, report.equal) == ((), False)
    assert any(": 3 rows have an id that is NULL" in warning for warning in report.warnings)
    assert target_db.value("SELECT count(*) FROM profiles") == 13


def test_a_batch_of_bytes_is_split_in_a_repair_too(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 100)
    create_profiles(target_db)
    saved: list[tuple[int, int] | None] = []

    def observe(event: Event) -> None:
        if isinstance(event, CallStarted) and event.where.call == "save_rows":
            saved.append(event.where.key_range)

    report = verify(
        postgres_pool, batch_size=100, max_batch_bytes=4000, repair=True, observer=observe
    )
    assert (report.repaired, report.equal) == (100, True)
    assert len(saved) >= 10
    assert_equal_tables(source_db, target_db)


def test_a_surplus_row_gives_way_to_a_missing_one_with_its_unique_value(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    for database in (source_db, target_db):
        database.execute("CREATE TABLE profiles (id int PRIMARY KEY, email text UNIQUE)")
    source_db.execute("INSERT INTO profiles VALUES (6, 'x'), (8, 'y')")
    target_db.execute("INSERT INTO profiles VALUES (7, 'x'), (9, 'y')")
    report = verify(postgres_pool, repair=True, delete_surplus=True)
    assert found(report) == ((6, 8), (7, 9), ())
    assert (report.repaired, report.deleted, report.equal) == (2, 2, True)


def test_rows_without_an_id_are_not_counted_for_a_range(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 10)
    target_db.execute("CREATE TABLE profiles (id bigint UNIQUE, data jsonb)")
    copy(postgres_pool)
    target_db.execute("INSERT INTO profiles VALUES (NULL, '{}'), (-3, '{}')")
    of_range = verify(postgres_pool, to_id=10)
    assert (of_range.surplus, of_range.equal, of_range.warnings) == (0, True, ())
    of_all = verify(postgres_pool)
    assert (of_all.surplus, of_all.without_id, len(of_all.warnings)) == (2, 2, 1)


@pytest.mark.parametrize("side", ["source", "target"])
def test_rows_that_a_view_hides_are_neither_equal_nor_missing(
    side: str,
    source_db: TemporaryDatabase,
    target_db: TemporaryDatabase,
    postgres_pool: PostgresPool,
) -> None:
    create_profiles(source_db, 100)
    create_profiles(target_db, 100)
    hide_rows(source_db if side == "source" else target_db)
    with pytest.raises(PipecopyError, match="row-level security") as raised:
        verify(postgres_pool)
    assert raised.value.side == side
