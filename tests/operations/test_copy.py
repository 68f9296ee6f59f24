"""Whole copies between two PostgreSQL servers; values and sessions are tried in tests/postgres."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from psycopg.types.json import Jsonb

from pipecopy.cli.codes import exit_code
from pipecopy.errors import DatabaseError, PipecopyError, TableMismatchError
from pipecopy.events import Event, RetryScheduled
from pipecopy.postgres import PostgresPool
from tests.support.databases import TemporaryDatabase, temporary_database
from tests.support.profiles import assert_equal_tables, create_profiles, hide_rows
from tests.support.runs import copy
from tests.support.servers import PostgresServer

ROW_VERSIONS = "SELECT id, xmin::text, ctid::text FROM profiles ORDER BY id"


@pytest.mark.parametrize("read_ahead", [0, 1])
def test_a_table_with_gaps_is_copied(
    source_db: TemporaryDatabase,
    target_db: TemporaryDatabase,
    postgres_pool: PostgresPool,
    read_ahead: int,
) -> None:
    create_profiles(source_db, 2500, step=3)
    source_db.execute("DELETE FROM profiles WHERE id BETWEEN 1000 AND 4999")
    create_profiles(target_db)
    rows = source_db.value("SELECT count(*) FROM profiles")
    report = copy(postgres_pool, batch_size=500, read_ahead=read_ahead)
    assert_equal_tables(source_db, target_db)
    assert (report.outcome, report.rows, report.warnings) == ("complete", rows, ())
    assert (report.max_id, report.next_id) == (7500, 7501)
    assert target_db.value("INSERT INTO profiles (data) VALUES ('{}') RETURNING id") == 7501


def test_an_empty_table_is_copied(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db)
    create_profiles(target_db)
    report = copy(postgres_pool)
    assert (report.outcome, report.rows, report.max_id, report.next_id) == ("complete", 0, 0, 1)
    assert target_db.value("INSERT INTO profiles (data) VALUES ('{}') RETURNING id") == 1


def test_copying_twice_writes_no_rows(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 300)
    create_profiles(target_db)
    copy(postgres_pool, batch_size=100)
    before = target_db.query(ROW_VERSIONS)
    report = copy(postgres_pool, batch_size=100)
    assert target_db.query(ROW_VERSIONS) == before
    assert report.rows == 300


def test_only_stale_and_missing_rows_are_written(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 300)
    create_profiles(target_db, 300)
    target_db.execute("DELETE FROM profiles WHERE id % 10 = 0")
    target_db.execute("UPDATE profiles SET data = NULL WHERE id % 10 = 1")
    kept = "SELECT id, xmin::text FROM profiles WHERE id % 10 > 1 ORDER BY id"
    before = target_db.query(kept)
    report = copy(postgres_pool, batch_size=100)
    assert (report.inserted, report.updated, report.unchanged) == (30, 30, 240)
    assert_equal_tables(source_db, target_db)
    assert target_db.query(kept) == before


def test_a_target_without_an_index_works_with_a_warning(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 300)
    target_db.execute("CREATE TABLE profiles (id BIGSERIAL, data JSONB)")
    for _ in range(2):
        report = copy(postgres_pool, batch_size=100)
        assert_equal_tables(source_db, target_db)
        (warning,) = report.warnings
        assert "CREATE UNIQUE INDEX" in warning
    target_db.execute("DELETE FROM profiles WHERE id > 150; UPDATE profiles SET data = NULL")
    copy(postgres_pool, batch_size=100)
    assert_equal_tables(source_db, target_db)


def test_awkward_values_arrive(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    for database in (source_db, target_db):
        create_profiles(database)
    big = "🙂\\\"'\t\n\u0001" * 500_000  # 5 MB of UTF-8
    with source_db.connect() as db:
        insert = "INSERT INTO profiles (data) VALUES (%s)"
        for value in ("\\N", "\\.", "a\"b\\c'd\te\rf\ng", "\x01\x1f\x7f", "🙂👩‍👩‍👧", "", big):
            data = {value[:1000]: [value, None, {"": 1e100}]}
            db.execute(insert, [Jsonb(data)])
        db.execute(insert, [None])
        db.execute(insert, ["null"])
    report = copy(postgres_pool, batch_size=3)
    assert report.rows == 9
    assert_equal_tables(source_db, target_db)


def test_twenty_columns_arrive(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    columns = """
        id bigint PRIMARY KEY, c1 boolean, c2 smallint, c3 integer, c4 bigint, c5 real,
        c6 double precision, c7 numeric, c8 text, c9 varchar(40), c10 char(5), c11 bytea,
        c12 date, c13 time, c14 timestamp, c15 timestamptz, c16 interval, c17 uuid, c18 json,
        c19 integer[], c20 bigint GENERATED ALWAYS AS (id * 2) STORED
    """
    for database in (source_db, target_db):
        database.execute(f"CREATE TABLE profiles ({columns})")
    source_db.execute(
        """INSERT INTO profiles SELECT i, i % 2 = 0, i, i * 1000, i * 10^12, i / 3.0::real,
        'infinity', i / 7.0, 'text ' || i, repeat('ä', i % 40), 'ab', decode(md5(i::text), 'hex'),
        date '0044-03-15 BC' + i, time '23:59:59.999999', timestamp 'infinity',
        timestamptz '2024-02-29 12:00+02' + i * interval '1 day', i * interval '1 month -3 days',
        md5(i::text)::uuid, '{"a":  1, "a": 2}', ARRAY[[i, NULL], [3, 4]]
        FROM generate_series(1, 200) AS i;
        INSERT INTO profiles (id) VALUES (300)"""
    )
    for _ in range(2):
        assert copy(postgres_pool, batch_size=100).rows == 201
        assert_equal_tables(source_db, target_db)


def test_a_latin1_source_arrives(pg16: PostgresServer, target_db: TemporaryDatabase) -> None:
    with temporary_database(pg16, encoding="LATIN1") as source:
        create_profiles(target_db)
        source.execute("CREATE TABLE profiles (id BIGSERIAL PRIMARY KEY, data JSONB)")
        source.execute('INSERT INTO profiles (data) VALUES (\'{"é": "Straße, ¡olé!"}\')')
        copy(PostgresPool({"source": source.uri, "target": target_db.uri}))
        assert target_db.query("SELECT data FROM profiles") == [({"é": "Straße, ¡olé!"},)]


def test_tables_that_do_not_fit_are_refused_with_every_difference(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    source_db.execute("CREATE TABLE profiles (id bigint PRIMARY KEY, data jsonb, age integer)")
    source_db.execute("INSERT INTO profiles VALUES (1, '{}', 30)")
    target_db.execute("CREATE TABLE profiles (id bigint PRIMARY KEY, data jsonb, born date)")
    with pytest.raises(TableMismatchError) as caught:
        copy(postgres_pool)
    assert len(caught.value.differences) == 2
    for name in ("age", "born"):
        assert any(name in difference for difference in caught.value.differences)
        assert name in str(caught.value)
    assert target_db.value("SELECT count(*) FROM profiles") == 0


def test_a_save_blocked_by_a_lock_is_killed_and_tried_again(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 300)
    create_profiles(target_db)
    retried = []
    with target_db.connect() as locker:
        locker.execute("BEGIN")
        locker.execute("INSERT INTO profiles VALUES (150, NULL)")  # whoever saves 150 waits for it

        def unlock_at_the_retry(event: Event) -> None:
            if isinstance(event, RetryScheduled):
                retried.append(event.where)
                locker.execute("ROLLBACK")

        report = copy(
            postgres_pool,
            observer=unlock_at_the_retry,
            batch_size=100,
            call_timeout=1,
            max_retries=1,
        )
    assert_equal_tables(source_db, target_db)
    assert report.retries == report.timeouts == 1
    (where,) = retried
    assert (where.side, where.call, where.attempt) == ("target", "save_rows", 1)
    assert where.key_range is not None
    assert where.key_range[0] <= 150 < where.key_range[1]


@contextmanager
def _source_stuck_at_150(source: TemporaryDatabase) -> Iterator[None]:
    source.execute(
        "CREATE FUNCTION stuck() RETURNS jsonb STABLE LANGUAGE plpgsql"
        " AS 'BEGIN PERFORM pg_sleep(60); RETURN NULL; END';"
        " ALTER TABLE profiles RENAME TO rows; CREATE VIEW profiles AS"
        " SELECT id, CASE WHEN id = 150 THEN stuck() ELSE data END AS data FROM rows"
    )
    yield
    source.execute("DROP VIEW profiles; ALTER TABLE rows RENAME TO profiles")


@contextmanager
def _target_stuck_at_150(target: TemporaryDatabase) -> Iterator[None]:
    with target.connect() as locker:
        locker.execute("BEGIN")
        locker.execute("INSERT INTO profiles VALUES (150, NULL)")
        yield
        locker.execute("ROLLBACK")


def _end_the_stuck_session(database: TemporaryDatabase) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for session in database.sessions():
            if session["wait_event"] in {"PgSleep", "transactionid"}:
                database.query("SELECT pg_terminate_backend(%s)", [session["pid"]])
                return
        time.sleep(0.02)  # pg_stat_activity sends no events
    raise AssertionError("no session is stuck")


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_session_that_an_administrator_ends_in_a_call_ends_the_copy(
    source_db: TemporaryDatabase,
    target_db: TemporaryDatabase,
    postgres_pool: PostgresPool,
    side: str,
) -> None:
    create_profiles(source_db, 300)
    create_profiles(target_db)
    database, stuck = {
        "source": (source_db, _source_stuck_at_150),
        "target": (target_db, _target_stuck_at_150),
    }[side]
    with stuck(database), ThreadPoolExecutor() as executor:
        ending = executor.submit(_end_the_stuck_session, database)
        with pytest.raises(DatabaseError, match="administrator command") as caught:
            copy(postgres_pool, batch_size=100, max_retries=3)
        ending.result()
    error = caught.value
    assert (error.side, error.attempts, error.sqlstate) == (side, 1, "57P01")
    assert error.key_range is not None
    first, past_last = error.key_range
    assert 100 <= first <= 150 < past_last
    assert error.report is not None
    assert error.report.next_id == first
    assert target_db.query("SELECT count(*), max(id) FROM profiles") == [(first - 1, first - 1)]
    assert copy(postgres_pool, batch_size=100).outcome == "complete"
    assert_equal_tables(source_db, target_db)


def test_rows_that_a_view_hides_are_an_error_and_not_left_out(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 100)
    create_profiles(target_db)
    hide_rows(source_db)
    with pytest.raises(PipecopyError, match="row-level security") as raised:
        copy(postgres_pool)
    assert exit_code(raised.value) in {3, 5}
    assert raised.value.side == "source"
    assert target_db.value("SELECT count(*) FROM profiles") == 0
