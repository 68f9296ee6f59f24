"""Sides that can't be reached, hang, or are reached through a pooler: the other is looked at."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipecopy import CheckReport
from pipecopy.cli.codes import check_code
from pipecopy.errors import ConfigError, FullCopyTimeoutError
from pipecopy.postgres import PostgresPool
from tests.support.databases import Both, temporary_database
from tests.support.drivers import RecordingPool
from tests.support.gates import table_gate
from tests.support.home import give_to_server_user
from tests.support.pgbouncer import pgbouncer
from tests.support.profiles import create_profiles
from tests.support.runs import check, copy, only_problem, warnings
from tests.support.servers import PostgresServer
from tests.support.strikes import Strike

NOWHERE = "host=127.0.0.1 port=1 user=postgres dbname=postgres"


@pytest.fixture
def deaf() -> Iterator[str]:
    """Give the address of one who takes a connection, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"host=127.0.0.1 port={listener.getsockname()[1]} user=postgres dbname=postgres"


def looked_at(report: CheckReport, side: str) -> set[str]:
    return {item.what for item in report.items if item.side == side and item.mark == "ok"}


def test_the_source_is_looked_at_where_the_target_is_not_there(both: Both) -> None:
    create_profiles(both.source, 100)
    report = check(PostgresPool({"source": both.source.uri, "target": NOWHERE}))
    assert only_problem(report).side == "target"
    assert {"server", "rights", "table", "key"} <= looked_at(report, "source")
    assert report.plan is not None
    assert (report.plan.rows, report.plan.method) == (100, None)
    assert check_code(report) == 4


def test_a_deaf_server_is_75_and_the_other_side_is_looked_at(both: Both, deaf: str) -> None:
    create_profiles(both.target)
    pool = PostgresPool({"source": deaf, "target": both.target.uri})
    report = check(pool, call_timeout=0.5, max_retries=1, retries_delay=0.1)
    problem = only_problem(report)
    assert (problem.side, problem.what, problem.cause) == ("source", "connect", "timed out")
    assert "all 2 attempts" in problem.message
    assert {"server", "rights", "table", "key", "lock"} <= looked_at(report, "target")
    assert (check_code(report), report.timeouts, report.retries) == (75, 2, 1)


def test_the_whole_limit_ends_a_check_with_what_it_found(both: Both, deaf: str) -> None:
    create_profiles(both.target)
    pool = PostgresPool({"source": deaf, "target": both.target.uri})
    began = time.monotonic()
    with pytest.raises(FullCopyTimeoutError, match="the whole check") as caught:
        check(pool, call_timeout=10, full_copy_timeout=1)
    assert time.monotonic() - began < 1.25
    report = caught.value.report
    assert isinstance(report, CheckReport)
    assert (report.outcome, report.can_start) == ("timed out", False)
    assert looked_at(report, "target") == {"connect"}


def encryption(source: str, target: str) -> list[str]:
    report = check(PostgresPool({"source": source, "target": target}))
    assert report.can_start
    return [item.message for item in report.items if item.what == "encryption"]


def test_it_says_that_a_session_is_not_encrypted(both: Both) -> None:
    create_profiles(both.source, 1)
    create_profiles(both.target)
    own = both.source.server.socket_conninfo(both.source.name)
    here, there = encryption(own, both.target.uri)
    assert here == "none: a Unix socket of this machine"
    assert there.startswith("none: all goes over the network as it is")


def test_it_says_how_a_session_is_encrypted(
    pg14: PostgresServer, both: Both, tmp_path: Path
) -> None:
    openssl = shutil.which("openssl")
    if openssl is None or pg14.query("SHOW ssl_library") == [("",)]:
        pytest.skip("openssl is not installed, or the server is built without it")
    create_profiles(both.source, 1)
    command = f"{openssl} req -new -x509 -nodes -subj /CN=x -newkey rsa:2048"
    out = f"-keyout {tmp_path / 'server.key'} -out {tmp_path / 'server.crt'}"
    subprocess.run([*command.split(), *out.split()], check=True, capture_output=True)
    for name in ("server.key", "server.crt"):
        shutil.copy(tmp_path / name, pg14.data / name)
        (pg14.data / name).chmod(0o600)
        give_to_server_user(pg14.data / name)
    pg14.execute("ALTER SYSTEM SET ssl = on")
    pg14.restart()
    with temporary_database(pg14) as target:
        create_profiles(target)
        _, there = encryption(both.source.uri, f"{target.uri}?sslmode=require")
    assert re.fullmatch("TLSv1[.][23], [A-Z0-9_-]+", there)


def test_a_lock_that_a_copy_would_wait_for_is_75_and_its_holder_is_named(both: Both) -> None:
    create_profiles(both.source, 10)
    create_profiles(both.target)
    with table_gate(both.source) as gate:
        report = check(both.pool(), call_timeout=1)
        holder = gate._connection.info.backend_pid
    problem = only_problem(report)
    assert (problem.side, problem.what, problem.cause) == ("source", "describe", "timed out")
    (warning,) = warnings(report)
    assert f"server session {holder} (tests) has locked" in warning.message
    assert {"server", "rights"} <= looked_at(report, "source")
    assert check_code(report) == 75


def test_a_pooler_is_a_problem_unless_it_is_said_to_be_one_of_sessions(both: Both) -> None:
    create_profiles(both.source, 10)
    create_profiles(both.target)
    databases = {"source": both.source, "target": both.target}
    with pgbouncer("transaction", databases) as uris:
        report = check(PostgresPool(uris))
        assert [item.side for item in report.problems] == ["source", "target"]
        assert all("session_pooler" in item.message for item in report.problems)
        assert check_code(report) == 3
    with pgbouncer("session", databases) as uris:
        report = check(PostgresPool(uris, session_pooler=True))
        assert report.can_start
        assert sum("through a connection pooler" in item.message for item in report.items) == 2


def test_a_driver_that_tells_nothing_is_checked_as_far_as_can_be(
    sqlite_pool: RecordingPool,
) -> None:
    sqlite_pool.create(range(1, 96))
    report = check(sqlite_pool)
    assert report.can_start
    assert report.plan is not None
    assert (report.plan.first_id, report.plan.max_id, report.plan.batches) == (0, 95, 10)
    assert (report.plan.rows, report.plan.method, report.plan.format) == (None, None, None)
    assert looked_at(report, "source") == looked_at(report, "target") == {"connect"}
    called = {attempt.call for attempt in sqlite_pool.recorder.attempts()}
    assert called == {"connect", "get_max_id", "close"}


def test_a_call_that_fails_is_a_problem_of_its_side(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create()
    source = sqlite_pool.file("source")
    source.execute("DROP TABLE profiles")
    source.close()
    report = check(sqlite_pool)
    problem = only_problem(report)
    assert (problem.side, problem.what, problem.cause) == ("source", "get_max_id", "failed")
    assert "no such table" in problem.message
    assert check_code(report) == 3


def test_the_targets_greatest_id_matters_to_a_resumed_copy_alone(tmp_path: Path) -> None:
    """Where the target can't tell it in time, a copy from the beginning can start all the same."""
    pool = RecordingPool(tmp_path, (Strike(side="target", call="get_max_id", fault="ValueError"),))
    pool.create(range(1, 96))
    assert check(pool).can_start
    problem = only_problem(check(pool, resume=True))
    assert (problem.side, problem.what) == ("target", "get_max_id")
    assert copy(pool).rows == 95


def test_arguments_that_make_no_sense_are_refused(both: Both) -> None:
    with pytest.raises(ConfigError, match="from_id") as caught:
        check(both.pool(where="id > 1"), from_id=7, to_id=3, resume=True)
    assert "resume" in str(caught.value)
