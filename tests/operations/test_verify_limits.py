"""Limits, retries, errors and locks are those of a copy; without a repair nothing is written."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator

import pytest

from pipecopy import VerifyReport
from pipecopy.errors import (
    CallTimeoutError,
    DatabaseError,
    FullCopyTimeoutError,
    TableMismatchError,
)
from pipecopy.events import Event, RetryScheduled
from pipecopy.postgres import PostgresPool
from tests.support.databases import TemporaryDatabase
from tests.support.gates import load_gate
from tests.support.opened import opened
from tests.support.profiles import create_profiles
from tests.support.runs import verify

ROLE = "verifier"


@pytest.fixture
def reader(source_db: TemporaryDatabase, target_db: TemporaryDatabase) -> Iterator[str]:
    """Give a role on both servers that may read the tables, and nothing else."""
    for database in (source_db, target_db):
        create_profiles(database, 100)
        database.execute(f"CREATE ROLE {ROLE} LOGIN; GRANT SELECT ON profiles TO {ROLE}")
        database.execute(f"REVOKE TEMP ON DATABASE {database.name} FROM PUBLIC")
    yield ROLE
    for database in (source_db, target_db):
        database.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_checksum_that_hangs_is_ended_and_tried_again(
    source_db: TemporaryDatabase,
    target_db: TemporaryDatabase,
    postgres_pool: PostgresPool,
    side: str,
) -> None:
    for database in (source_db, target_db):
        create_profiles(database, 300)
    retried = []
    with load_gate({"source": source_db, "target": target_db}[side], 150) as gate:

        def lift_at_the_retry(event: Event) -> None:
            if isinstance(event, RetryScheduled):
                retried.append(event.where)
                gate.lift()

        report = verify(
            postgres_pool, batch_size=100, call_timeout=1, max_retries=2, observer=lift_at_the_retry
        )
    assert (report.outcome, report.equal) == ("complete", True)
    assert report.retries == report.timeouts == 1
    (where,) = retried
    assert (where.side, where.call, where.attempt) == (side, "checksum", 1)
    assert where.key_range is not None
    assert where.key_range[0] <= 150 < where.key_range[1]


def test_one_that_hangs_on_all_attempts_is_an_error_that_tells_how_far_it_came(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    for database in (source_db, target_db):
        create_profiles(database, 300)
    target_db.execute("DELETE FROM profiles WHERE id = 3")
    with load_gate(source_db, 250), pytest.raises(CallTimeoutError) as caught:
        verify(postgres_pool, batch_size=100, call_timeout=0.5, max_retries=1)
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.side, error.call, error.attempts) == ("source", "checksum", 2)
    report = error.report
    assert isinstance(report, VerifyReport)
    assert report == caught.value.report
    assert (report.outcome, report.equal) == ("timed out", False)
    assert report.missing_ids == (3,)
    assert 100 < report.next_id == error.key_range[0] <= 250
    assert report.to_dict()["missing_ids"] == [3]


def test_the_whole_verification_keeps_its_limit(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    for database in (source_db, target_db):
        create_profiles(database, 300)
    began = time.monotonic()
    with load_gate(target_db, 150), pytest.raises(FullCopyTimeoutError) as caught:
        verify(postgres_pool, batch_size=100, full_copy_timeout=2)
    assert time.monotonic() - began < 2.25 + 1  # and the gate's own SQL
    assert "the whole verification reached its limit of 2 s" in str(caught.value)
    assert isinstance(caught.value.report, VerifyReport)
    assert caught.value.report.seconds < 2.25


def test_a_role_that_may_only_read_can_verify_and_not_repair(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, reader: str
) -> None:
    pool = PostgresPool(
        {
            side: database.server.uri(database.name, user=reader)
            for side, database in (("source", source_db), ("target", target_db))
        }
    )
    report = verify(pool)
    assert (report.rows, report.equal, report.warnings) == (100, True, ())
    with pytest.raises(TableMismatchError, match=f"role {ROLE} has no INSERT, UPDATE right"):
        verify(pool, repair=True)


def test_a_copy_that_holds_the_target_keeps_a_repair_away_and_nothing_else(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    for database in (source_db, target_db):
        create_profiles(database, 100)
    with opened(target_db, "target"):
        assert verify(postgres_pool).equal
        with pytest.raises(DatabaseError, match="another run is writing") as caught:
            verify(postgres_pool, repair=True, call_timeout=1)
    assert (caught.value.side, caught.value.sqlstate) == ("target", "55006")
    assert caught.value.in_use


def test_tables_that_do_not_fit_are_refused(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 10)
    target_db.execute("CREATE TABLE profiles (id bigint PRIMARY KEY, other jsonb)")
    with pytest.raises(TableMismatchError) as caught:
        verify(postgres_pool)
    assert len(caught.value.differences) == 2
    assert isinstance(caught.value.report, VerifyReport)
    assert caught.value.report.max_id is None


def test_a_missing_target_is_not_made(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 10)
    pool = PostgresPool({"source": source_db.uri, "target": target_db.uri}, create=True)
    for repair in (False, True):
        with pytest.raises(TableMismatchError, match="table profiles does not exist"):
            verify(pool, repair=repair)
    assert target_db.value("SELECT to_regclass('profiles')") is None


def test_what_would_be_lost_with_surplus_rows_is_seen_before(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 10)
    create_profiles(target_db, 11)
    target_db.execute(
        "CREATE TABLE notes (of_id bigint REFERENCES profiles ON DELETE CASCADE);"
        "INSERT INTO notes VALUES (11);"
        "CREATE RULE kept AS ON DELETE TO profiles DO INSTEAD NOTHING"
    )
    assert verify(postgres_pool, repair=True).surplus == 1
    with pytest.raises(TableMismatchError) as caught:
        verify(postgres_pool, repair=True, delete_surplus=True)
    assert "has the DELETE rule kept" in str(caught.value)
    assert "of public.notes ON DELETE CASCADE would change the rows there" in str(caught.value)
    assert target_db.value("SELECT count(*) FROM notes") == 1


def test_a_role_that_may_not_delete_is_told_before_anything_is_written(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, reader: str
) -> None:
    target_db.execute(
        f"GRANT INSERT, UPDATE ON profiles TO {ROLE}; DELETE FROM profiles WHERE id = 5"
    )
    pool = PostgresPool(
        {
            side: database.server.uri(database.name, user=reader)
            for side, database in (("source", source_db), ("target", target_db))
        }
    )
    with pytest.raises(TableMismatchError, match=f"role {ROLE} has no DELETE right"):
        verify(pool, repair=True, delete_surplus=True)
    assert target_db.value("SELECT count(*) FROM profiles WHERE id = 5") == 0
