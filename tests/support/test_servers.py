"""The servers of the tests do what the other tests rely on."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.databases import TemporaryDatabase
from tests.support.profiles import add_profiles, assert_equal_tables, create_profiles
from tests.support.servers import PASSWORD, PASSWORD_USER, PostgresServer
from tests.support.standbys import Standby


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


def test_a_frozen_server_answers_nobody_and_goes_on() -> None:
    with PostgresServer(16) as server:
        server.freeze()
        with pytest.raises(psycopg.OperationalError, match="timeout"):
            psycopg.connect(server.conninfo(connect_timeout=2))
        server.resume()
        assert server.query("SELECT 1") == [(1,)]
        server.freeze()
    assert not server.folder.exists()


def test_a_standby_lags_behind_and_is_promoted_without_what_it_lacks() -> None:
    with PostgresServer(18) as primary:
        primary.execute("CREATE TABLE t AS SELECT 1 AS n")
        with Standby(primary) as standby:
            standby.pause_replay()
            primary.execute("INSERT INTO t VALUES (2)")
            standby.receive()
            assert standby.query("SELECT count(*) FROM t") == [(1,)]
            standby.resume_replay()
            standby.catch_up()
            assert standby.query("SELECT count(*) FROM t") == [(2,)]
            standby.cut_off()
            primary.execute("INSERT INTO t VALUES (3)")
            standby.promote()
            standby.execute("INSERT INTO t VALUES (4)")
            assert standby.query("SELECT n FROM t") == [(1,), (2,), (4,)]


def test_a_standby_may_apply_late() -> None:
    with PostgresServer(16) as primary:
        primary.execute("CREATE TABLE t AS SELECT 1 AS n")
        with Standby(primary, recovery_min_apply_delay="1h") as standby:
            primary.execute("INSERT INTO t VALUES (2)")
            standby.receive()
            assert standby.query("SELECT n FROM t") == [(1,)]
