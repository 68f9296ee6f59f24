"""Tables that are equal, or empty, and what a report says of them."""

from __future__ import annotations

import pytest

from pipecopy.events import CallStarted, Event, RangeVerified, RunEnded, RunStarted
from pipecopy.postgres import PostgresPool
from tests.support.databases import TemporaryDatabase
from tests.support.profiles import assert_equal_tables, create_profiles
from tests.support.runs import found, verify

NOTHING: tuple[tuple[int, ...], ...] = ((), (), ())


def test_equal_tables_are_equal(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    for database in (source_db, target_db):
        create_profiles(database, 2500, step=3)
        database.execute("DELETE FROM profiles WHERE id BETWEEN 1000 AND 4999")
    rows = source_db.value("SELECT count(*) FROM profiles")
    events: list[Event] = []
    report = verify(postgres_pool, batch_size=500, observer=events.append)
    assert (report.outcome, report.equal, report.warnings) == ("complete", True, ())
    assert found(report) == NOTHING
    assert report.rows == rows
    assert (report.first_id, report.max_id, report.next_id) == (0, 7500, 7501)
    ranges = [event for event in events if isinstance(event, RangeVerified)]
    assert len(ranges) == report.ranges
    assert sum(event.rows for event in ranges) == rows
    ends = [0, *(event.key_range[1] for event in ranges)]
    assert [event.key_range[0] for event in ranges] == ends[:-1]
    assert max(event.rows for event in ranges) == 500
    assert isinstance(events[0], RunStarted)
    assert events[-1] == RunEnded(report=report)


def test_dense_ids_take_one_call_a_range(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    for database in (source_db, target_db):
        create_profiles(database, 1000)
    calls: list[str] = []

    def observe(event: Event) -> None:
        if isinstance(event, CallStarted):
            calls.append(event.where.call)

    report = verify(postgres_pool, batch_size=10, observer=observe)
    assert report.ranges == 100
    assert calls.count("checksum") == 200
    assert calls.count("end_of_batch") == 4  # of the first range, which lacks id 0, and the next


def test_empty_tables_are_equal(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db)
    create_profiles(target_db)
    report = verify(postgres_pool)
    assert (report.equal, report.rows, report.max_id, report.next_id) == (True, 0, 0, 1)


@pytest.mark.parametrize("empty", ["source", "target"])
def test_one_of_them_is_empty(
    source_db: TemporaryDatabase,
    target_db: TemporaryDatabase,
    postgres_pool: PostgresPool,
    empty: str,
) -> None:
    create_profiles(source_db, 0 if empty == "source" else 250)
    create_profiles(target_db, 0 if empty == "target" else 250)
    report = verify(postgres_pool, batch_size=100, repair=True, delete_surplus=True)
    every = tuple(range(1, 251))
    assert found(report) == (((), every, ()) if empty == "source" else (every, (), ()))
    assert (report.deleted, report.repaired) == ((250, 0) if empty == "source" else (0, 250))
    assert report.equal
    assert_equal_tables(source_db, target_db)


def test_only_the_ids_that_are_asked_for_are_compared(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 300)
    create_profiles(target_db, 300)
    target_db.execute("UPDATE profiles SET data = NULL WHERE id IN (99, 100, 200, 201)")
    report = verify(postgres_pool, from_id=100, to_id=200, repair=True)
    assert found(report) == ((), (), (100, 200))
    assert (report.rows, report.first_id, report.max_id, report.next_id) == (101, 100, 200, 201)
    stale = target_db.query("SELECT id FROM profiles WHERE data IS NULL ORDER BY id")
    assert stale == [(99,), (201,)]


def test_rows_far_apart_take_few_calls(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    ids = [1, 2, 10**6, 10**12, 10**12 + 1, 2**62, 2**63 - 1]
    for database in (source_db, target_db):
        create_profiles(database)
        database.execute("INSERT INTO profiles SELECT unnest(%s::bigint[]), '{}'", [ids])
    target_db.execute(
        "DELETE FROM profiles WHERE id = 10^12; UPDATE profiles SET id = 5 WHERE id = 2"
    )
    report = verify(postgres_pool, batch_size=2)
    assert found(report) == ((2, 10**12), (5,), ())
    assert (report.max_id, report.next_id) == (2**63 - 1, 2**63)
    assert report.calls < 60


def test_no_range_is_large_where_the_target_alone_has_rows(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 10, step=1000)
    create_profiles(target_db, 10, step=1000)
    target_db.execute(
        "INSERT INTO profiles SELECT i, NULL FROM generate_series(1, 6000) AS i"
        " ON CONFLICT DO NOTHING"
    )
    surplus: list[int] = []

    def observe(event: Event) -> None:
        if isinstance(event, RangeVerified):
            surplus.append(event.surplus)

    report = verify(postgres_pool, batch_size=1500, observer=observe)
    assert (report.missing, report.surplus, report.differing) == (0, 5994, 0)
    assert report.surplus_ids == tuple(i for i in range(1, 1002) if i % 1000)[:1000]
    assert max(surplus) <= 1500
    assert report.rows == 10
