"""A standby as the source: it knows what is open on its primary, once that was numbered."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator

import pytest

from pipecopy.postgres import PostgresPool
from tests.copying.quick import copy
from tests.copying.test_late_commits import Committer, as_list, transaction
from tests.postgres.opened import opened
from tests.profiles import assert_equal_tables, create_profiles
from tests.servers import QUICK, PostgresServer, TemporaryDatabase
from tests.wheel import as_server_user, give_to_server_user

INSERT = "INSERT INTO profiles (data) VALUES ('1')"


@contextlib.contextmanager
def standby_of(primary: PostgresServer) -> Iterator[PostgresServer]:
    with (primary.data / "pg_hba.conf").open("a") as hba:
        hba.write("local replication all trust\n")
    primary.query("SELECT pg_reload_conf()")
    primary.wait_for_log("reloading configuration files")
    standby = PostgresServer(primary.version, primary.settings)
    standby.folder.mkdir()
    give_to_server_user(standby.folder)
    command = [str(primary.bin / "pg_basebackup"), "-D", str(standby.data), "-R", "-c", "fast"]
    command += ["-d", primary.socket_conninfo()]
    subprocess.run(command, check=True, cwd="/", env={}, **as_server_user())
    with standby:
        yield standby


def replayed(primary: PostgresServer, standby: PostgresServer) -> None:
    """Wait until the standby has all that the primary has written."""
    ((lsn,),) = primary.query("SELECT pg_current_wal_insert_lsn()")
    # the WAL of what is not committed is not flushed at once
    primary.query("SELECT pg_switch_wal()")
    deadline = time.monotonic() + 20
    while not standby.query("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [lsn])[0][0]:
        assert time.monotonic() < deadline
        time.sleep(0.02)  # the standby sends no events


@pytest.mark.timeout(90)
def test_a_standby_tells_of_what_is_open_on_its_primary(target_db: TemporaryDatabase) -> None:
    create_profiles(target_db)
    with PostgresServer(16, QUICK) as primary, standby_of(primary) as standby:
        source = TemporaryDatabase(primary, "postgres")
        pool = PostgresPool({"source": standby.uri(), "target": target_db.uri})
        create_profiles(source, 499)
        replayed(primary, standby)
        assert copy(pool).warnings == ()

        with transaction(source, INSERT) as late:
            source.execute(INSERT)
            replayed(primary, standby)
            (warning,) = copy(pool).warnings
            assert "(at least one on the primary, by its transaction id (" in warning
            assert "what they commit with ids up to 501 may be missing" in warning
            committer = Committer(late, "COMMIT")
            assert copy(pool, settle=20, observer=committer).warnings == ()
            assert committer.waits == [(1, False), (0, True)]
            assert_equal_tables(source, target_db)

        # a session that has moved on to a standby does not take them for ended
        with (
            opened(source, "source") as before,
            opened(standby.uri(), "source") as after,
            transaction(source, INSERT),
        ):
            (seen,) = as_list(before.open_transactions())
            (unknown,) = as_list(after.open_transactions([seen["id"]]))
            assert unknown["id"] == seen["id"]

        # the one with the lower id got the greater number, which is beyond the snapshot's end
        with transaction(source, INSERT) as late, transaction(source, "SELECT 1") as other:
            late.execute("ROLLBACK")
            late.execute("BEGIN")
            late.execute("SELECT nextval('profiles_id_seq')")
            other.execute(INSERT)
            late.execute(INSERT)
            other.execute("COMMIT")
            replayed(primary, standby)
            (warning,) = copy(pool).warnings
            assert "(at least one on the primary, by its transaction id (" in warning
