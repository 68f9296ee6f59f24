"""Late commits by way of a partition, behind a function, and of drivers that lose sight of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipecopy.contracts import OpenTransaction
from pipecopy.postgres import PostgresPool
from tests.operations.test_settle import Committer, only_warning, transaction
from tests.support.databases import TemporaryDatabase
from tests.support.drivers import RecordingDatabase, RecordingPool
from tests.support.profiles import assert_equal_tables, create_profiles
from tests.support.runs import copy

_PARTITIONED = """
    CREATE SEQUENCE own;
    CREATE TABLE profiles (id bigint PRIMARY KEY DEFAULT nextval('own'), data jsonb)
        PARTITION BY RANGE (id);
    CREATE TABLE p1 PARTITION OF profiles FOR VALUES FROM (1) TO (100);
    CREATE TABLE p3 PARTITION OF profiles FOR VALUES FROM (200) TO (300);
    CREATE TABLE p2 (LIKE profiles INCLUDING INDEXES);
    INSERT INTO profiles SELECT i FROM generate_series(1, 50) AS i;
    INSERT INTO profiles SELECT i FROM generate_series(200, 250) AS i;
    INSERT INTO p2 SELECT i FROM generate_series(100, 150) AS i
"""
_ATTACH = "ALTER TABLE profiles ATTACH PARTITION p2 FOR VALUES FROM (100) TO (200)"


@pytest.mark.server
def test_a_partition_that_is_being_attached_is_warned_of(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    source_db.execute(_PARTITIONED)
    create_profiles(target_db)
    with transaction(source_db, _ATTACH) as late:
        report = copy(postgres_pool)
        pid = late.info.backend_pid
    assert f"1 transaction (server session {pid} (" in only_warning(report.warnings)


@pytest.mark.server
def test_with_settle_a_partition_that_is_being_attached_is_waited_for(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    source_db.execute(_PARTITIONED)
    create_profiles(target_db)
    with transaction(source_db, _ATTACH) as late:
        committer = Committer(late, "ROLLBACK")
        report = copy(postgres_pool, settle=20, observer=committer)
    assert committer.waits == [(1, False), (0, True)]
    assert report.warnings == ()
    assert_equal_tables(source_db, target_db)


@pytest.mark.server
def test_where_a_function_gives_the_keys_a_sequence_of_old_is_not_asked(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 10)
    source_db.execute(
        "CREATE SEQUENCE hidden START 11; CREATE FUNCTION next_id() RETURNS bigint LANGUAGE sql"
        " AS 'SELECT nextval(''hidden'')'; ALTER TABLE profiles ALTER id SET DEFAULT next_id()"
    )
    create_profiles(target_db)
    with transaction(source_db, "SELECT next_id()") as late:
        source_db.execute("INSERT INTO profiles (data) VALUES ('null')")
        report = copy(postgres_pool)
        pid = late.info.backend_pid
    assert f"1 transaction (server session {pid} (" in only_warning(report.warnings)


@dataclass(frozen=True)
class _ForgettingPool(RecordingPool):
    """Opens databases that see a transaction once, and then can't tell any more."""

    def connect(self, dbname: str) -> _ForgettingDatabase:
        return _ForgettingDatabase(self, dbname)


class _ForgettingDatabase(RecordingDatabase):
    def open_transactions(self, among: Any = None) -> list[OpenTransaction] | str:
        return [{"id": "1", "who": "one"}] if among is None else "the view is gone"


@pytest.mark.parametrize("settle", [0, 20])
def test_a_driver_that_can_not_tell_any_more_is_a_warning(tmp_path: Path, settle: float) -> None:
    pool = _ForgettingPool(tmp_path)
    pool.create(range(1, 11))
    report = copy(pool, settle=settle)
    assert only_warning(report.warnings) == "source source: the view is gone"
    assert pool.rows("target") == pool.rows("source")
