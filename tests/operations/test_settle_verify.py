"""A verification asks for open transactions too, before it calls two tables equal."""

from __future__ import annotations

import pytest

from pipecopy.postgres import PostgresPool
from tests.operations.test_settle import LATE, NEXT, Committer, rows_after, transaction
from tests.support.databases import TemporaryDatabase
from tests.support.profiles import create_profiles
from tests.support.runs import copy, found, verify

pytestmark = pytest.mark.server


def test_equal_is_said_with_a_warning_while_rows_may_still_come(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 499)
    create_profiles(target_db)
    with transaction(source_db, NEXT) as late:
        rows_after(source_db)
        copy(postgres_pool)
        report = verify(postgres_pool)
        late.execute(LATE)
        late.execute("COMMIT")
        pid = late.info.backend_pid
    assert report.equal
    (warning,) = report.warnings
    assert f"since 1 transaction (server session {pid} (postgres, tests), " in warning
    assert "had not ended when the first rows were compared" in warning
    report = verify(postgres_pool, repair=True)
    assert (found(report), report.equal) == (((500,), (), ()), True)
    assert report.warnings == ()


def test_with_settle_it_waits_before_it_compares(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 499)
    create_profiles(target_db)
    with transaction(source_db, NEXT) as late:
        rows_after(source_db)
        copy(postgres_pool)
        committer = Committer(late, LATE, "COMMIT")
        report = verify(postgres_pool, settle=20, observer=committer)
    assert found(report) == ((500,), (), ())
    assert (report.equal, report.warnings) == (False, ())
    assert committer.waits == [(1, False), (0, True)]
