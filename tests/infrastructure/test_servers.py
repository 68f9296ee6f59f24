"""The servers of the tests do what the other tests rely on."""

from __future__ import annotations

import psycopg
import pytest

from tests.profiles import add_profiles, assert_equal_tables, create_profiles
from tests.servers import PASSWORD, PASSWORD_USER, PostgresServer, TemporaryDatabase


def test_two_versions_with_equal_tables(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    versions = [db.value("SHOW server_version_num") for db in (source_db, target_db)]
    assert [int(v) // 10000 for v in versions] == [16, 18]
    create_profiles(source_db, 100)
    create_profiles(target_db, 99)
    with pytest.raises(AssertionError, match="100 rows in the source, 99 in the target"):
        assert_equal_tables(source_db, target_db)
    add_profiles(target_db, 100, 101)
    assert_equal_tables(source_db, target_db)


def test_a_password_is_asked_for_over_tcp(pg16: PostgresServer) -> None:
    psycopg.connect(pg16.uri(user=PASSWORD_USER, password=PASSWORD)).close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(pg16.uri(user=PASSWORD_USER, password=PASSWORD.upper()))


def test_data_outlives_a_crash_and_a_pause(source_db: TemporaryDatabase) -> None:
    source_db.execute("CREATE TABLE t AS SELECT 1 AS one")
    source_db.server.restart("immediate")
    source_db.server.pause()
    source_db.server.resume()
    assert source_db.value("SELECT one FROM t") == 1
