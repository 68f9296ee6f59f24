"""A server session: its name, its limits, its orphans, its lock, and its end."""

from __future__ import annotations

import os
import pickle
import socket
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import dill
import psycopg
import pytest

from pipecopy.contracts import Mode, Session, TargetInUseError
from pipecopy.postgres import PostgresError, PostgresPool
from pipecopy.postgres.database import PostgresDatabase
from pipecopy.shard import Part
from tests.support.databases import TemporaryDatabase
from tests.support.opened import RUN_ID, handed_over, opened
from tests.support.profiles import TABLE, create_profiles
from tests.support.runs import lines
from tests.support.servers import PASSWORD, PASSWORD_USER, PostgresServer

NAME = f"pipecopy/{RUN_ID}"


def test_a_pool_travels_and_shows_no_password() -> None:
    pool = PostgresPool({"prod": "postgresql://me:hidden@host/db"}, table="t", key="k")
    assert "hidden" not in repr(pool)
    for pickler in (pickle, dill):
        copied = pickler.loads(pickler.dumps(pool))
        assert copied.connections == pool.connections
        assert repr(copied) == repr(pool)


def test_the_ways_to_name_a_database(
    source_db: TemporaryDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    source_db.execute(TABLE)
    server = source_db.server
    names = {"by uri": source_db.uri, "by conninfo": source_db.conninfo, "by service": "prod"}
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as services:
        services.write(f"[prod]\nhost={server.host}\nport={server.port}\n")
        services.write(f"user=postgres\ndbname={source_db.name}\n")
        services.flush()
        monkeypatch.setenv("PGSERVICEFILE", services.name)
        for name in (*names, source_db.uri, source_db.conninfo, "prod"):
            with opened(name, connections=names) as database:
                assert database.get_max_id() == 0


def test_limits_of_the_user_are_kept(
    source_db: TemporaryDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    source_db.execute(TABLE)
    server = source_db.server
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as services:
        services.write(f"[prod]\nhost={server.host}\nport={server.port}\nuser=postgres\n")
        services.write(f"dbname={source_db.name}\nconnect_timeout=7\nkeepalives_idle=33\n")
        services.flush()
        monkeypatch.setenv("PGSERVICEFILE", services.name)
        for name in ("prod", "service=prod keepalives_count=9"):
            with opened(name, "source", call_timeout=60) as database:
                session = database._connection._session
                assert session is not None
                found = session.connection.info.get_parameters()
                assert found["connect_timeout"] == "7"
                assert found["keepalives_idle"] == "33"
                assert found["keepalives_interval"] == "10"  # ours
                assert found["keepalives_count"] == ("3" if name == "prod" else "9")
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "8")
    with opened(source_db, "source") as database:
        assert database._connection._parameters["connect_timeout"] == "8"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "no connection is called 'nowhere', nor a service"),
        ("host=here password=hidden nonsense", "can't be read"),
        ("postgresql://me:hidden@[host/db", "can't be read"),
        ("postgresql://me:hidden@host/db?nonsense=1", "can't be read"),
        ("", "empty"),
    ],
)
def test_a_name_that_says_nothing(name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGSERVICEFILE")  # of the tests: a file that is named has to be there
    with pytest.raises((PostgresError, psycopg.Error), match=message) as raised:
        PostgresPool().connect(name)
    assert "hidden" not in str(raised.value)


def test_a_wrong_password_is_an_error_without_it(pg16: PostgresServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed") as raised:
        PostgresPool().connect(pg16.uri(user=PASSWORD_USER, password=PASSWORD + "x"))
    assert PASSWORD not in str(raised.value)


def test_the_server_sees_whose_session_it_is(source_db: TemporaryDatabase) -> None:
    source_db.execute(TABLE)
    with opened(source_db, "source") as database:
        database.get_max_id()
        assert [s["application_name"] for s in source_db.sessions()] == [f"{NAME}/source"]


def test_the_source_is_read_only(source_db: TemporaryDatabase) -> None:
    source_db.execute(TABLE)
    refused = pytest.raises(psycopg.errors.ReadOnlySqlTransaction)
    with opened(source_db, "source") as database, refused:
        database.save_rows([(1, None)])
    assert source_db.value("SELECT count(*) FROM profiles") == 0


@pytest.mark.parametrize("mode", ["check", "verify"])
def test_the_target_is_read_only_but_for_a_copy(target_db: TemporaryDatabase, mode: Mode) -> None:
    create_profiles(target_db, 5)
    refused = pytest.raises(psycopg.errors.ReadOnlySqlTransaction)
    with (
        opened(target_db, "target", run_id="b" * 12),  # which holds the lock
        opened(target_db, "target", mode=mode) as database,
    ):
        assert lines(database.describe(), "problem") == []
        assert database.get_max_id() == 5
        with refused:
            database.save_rows([(6, None)])
    assert target_db.value("SELECT count(*) FROM profiles") == 5


def test_an_orphan_is_ended_first(target_db: TemporaryDatabase) -> None:
    target_db.execute(TABLE)
    others = f"{NAME}/source", "pipecopy/ba9876543210/target"
    with target_db.connect(application_name=f"{NAME}/target") as orphan:
        orphan.execute("BEGIN; LOCK TABLE profiles")
        bystanders = [target_db.connect(application_name=name) for name in others]
        with opened(target_db, "target") as database:
            database.save_rows([(1, None)])
        with pytest.raises(psycopg.OperationalError):
            orphan.execute("SELECT 1")
        for bystander in bystanders:
            bystander.execute("SELECT 1")
            bystander.close()
    assert target_db.value("SELECT count(*) FROM profiles") == 1


def test_an_orphan_of_a_role_that_becomes_another_is_ended(target_db: TemporaryDatabase) -> None:
    app, owner = f"app_{target_db.name}", f"owner_{target_db.name}"
    target_db.execute(
        f"CREATE ROLE {owner}; CREATE ROLE {app} LOGIN; GRANT {owner} TO {app};"
        f"ALTER ROLE {app} SET role = {owner};"
        f"CREATE SCHEMA {owner} AUTHORIZATION {owner};"  # only its search path finds it
        f"CREATE TABLE {owner}.profiles (id int PRIMARY KEY, data text);"
        f"ALTER TABLE {owner}.profiles OWNER TO {owner}"
    )
    try:
        with (
            target_db.connect(user=app, application_name=f"{NAME}/target") as orphan,
            opened(target_db.server.uri(target_db.name, user=app), "target") as database,
        ):
            with pytest.raises(psycopg.OperationalError):
                orphan.execute("SELECT 1")
            database.save_rows([(1, None)])
            # its lock is on the table of the role that it became
            with pytest.raises(TargetInUseError, match="another run is writing"):
                PostgresPool(table=f"{owner}.profiles").for_session(
                    Session(run_id="b" * 12, side="target", call_timeout=0.1)
                ).connect(target_db.uri)
        assert target_db.value(f"SELECT count(*) FROM {owner}.profiles") == 1
    finally:
        target_db.execute(f"DROP OWNED BY {owner}; DROP ROLE {app}; DROP ROLE {owner}")


@pytest.mark.parametrize("call_timeout", [100_000, 1e7])
def test_the_longest_limits_are_taken(target_db: TemporaryDatabase, call_timeout: float) -> None:
    target_db.execute(TABLE)
    for side in ("source", "target"):
        with opened(target_db, side, call_timeout=call_timeout) as database:
            assert database.get_max_id() == 0


def test_an_orphan_of_another_role_stays(target_db: TemporaryDatabase) -> None:
    target_db.execute(TABLE)
    name = f"{NAME}/target"
    other_role = target_db.server.uri(target_db.name, user=PASSWORD_USER, password=PASSWORD)
    other = psycopg.connect(other_role, application_name=name, autocommit=True)
    with other, opened(target_db, "target"):
        other.execute("SELECT 1")


def test_two_copies_into_one_table_do_not_run_at_once(target_db: TemporaryDatabase) -> None:
    target_db.execute(TABLE + "; CREATE TABLE other (LIKE profiles INCLUDING ALL)")
    with opened(target_db, "target"):
        (holder,) = target_db.sessions()
        who = rf"server session {holder['pid']} \(postgres, {NAME}/target, idle, since 20.*Z\)"
        who = f"another run is writing public.profiles: pipecopy run {RUN_ID}, {who}$"
        with pytest.raises(TargetInUseError, match=who) as raised:
            PostgresPool().for_session(
                Session(run_id="ba9876543210", side="target", call_timeout=0.5)
            ).connect(target_db.uri)
        assert raised.value.sqlstate == "55006"
        with opened(target_db, "target", run_id="ba9876543210", table="other"):
            pass
        with opened(target_db, "source", run_id="ba9876543210"):
            pass
    with opened(target_db, "target", run_id="ba9876543210"):
        pass


def test_a_session_that_ends_by_itself_is_no_timeout(target_db: TemporaryDatabase) -> None:
    """It is gone when it is its turn, after one that takes a while."""
    target_db.execute(TABLE)
    # wherever the one that takes a while is listed, one of the others comes after it
    left = [target_db.connect(application_name=f"{NAME}/target") for _ in range(3)]
    first, slow, last = (connection.info.backend_pid for connection in left)
    target_db.server.pause(slow)
    with ThreadPoolExecutor(1) as threads:
        second = threads.submit(_open_and_close, target_db, RUN_ID)
        _wait_until_it_waits(target_db, "IPC")
        for connection in left:
            connection.close()
        while {first, last} & {s["pid"] for s in target_db.sessions()}:
            pass
        target_db.server.resume()
        second.result(5)


def test_the_lock_of_a_copy_that_is_just_ending_is_waited_for(
    target_db: TemporaryDatabase,
) -> None:
    target_db.execute(TABLE)
    with ThreadPoolExecutor(1) as threads:
        with opened(target_db, "target"):
            second = threads.submit(_open_and_close, target_db, "b" * 12)
            _wait_for(target_db, "pipecopy/bbbbbbbbbbbb/target")
        second.result(5)


def _open_and_close(database: TemporaryDatabase, run_id: str) -> None:
    with opened(database, "target", run_id=run_id):
        pass


def _wait_for(database: TemporaryDatabase, name: str) -> None:
    deadline = time.monotonic() + 5
    while name not in [s["application_name"] for s in database.sessions()]:
        assert time.monotonic() < deadline


@pytest.mark.parametrize("call", ["load_rows", "save_rows", "get_max_id"])
def test_a_lock_that_lasts_is_a_timeout(target_db: TemporaryDatabase, call: str) -> None:
    create_profiles(target_db, 10)
    with opened(target_db) as database:
        rows = handed_over(database.load_rows(0, 5))
    with opened(target_db, "target", call_timeout=1) as database:
        with target_db.connect() as other:
            other.execute("BEGIN; LOCK TABLE profiles")
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                _do(database, call, rows)
            assert time.monotonic() - began < 1  # the server is quicker than the kill
        _do(database, call, rows)  # the same session works on


def _do(database: object, call: str, rows: object) -> None:
    arguments = {"load_rows": (0, 5), "save_rows": (rows,), "get_max_id": ()}[call]
    getattr(database, call)(*arguments)


def test_a_lock_timeout_of_the_role_is_a_timeout(target_db: TemporaryDatabase) -> None:
    target_db.execute(TABLE)
    target_db.execute(f"ALTER DATABASE {target_db.name} SET lock_timeout = '50ms'")
    with opened(target_db, "target") as database, target_db.connect() as other:
        other.execute("BEGIN; LOCK TABLE profiles")
        with pytest.raises(TimeoutError, match="lock timeout"):
            database.get_max_id()


def test_a_query_that_an_administrator_cancelled_is_no_timeout(
    target_db: TemporaryDatabase,
) -> None:
    target_db.execute(TABLE)
    with opened(target_db, "target", call_timeout=20) as database, target_db.connect() as other:
        other.execute("BEGIN; LOCK TABLE profiles")
        with ThreadPoolExecutor(1) as threads:
            call = threads.submit(database.get_max_id)
            _wait_until_it_waits(target_db)
            target_db.execute(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
                f" WHERE application_name = '{NAME}/target'"
            )
            with pytest.raises(psycopg.errors.QueryCanceled):
                call.result(10)


def _wait_until_it_waits(database: TemporaryDatabase, what: str = "Lock") -> None:
    deadline = time.monotonic() + 5
    while what not in [
        s["wait_event_type"] for s in database.sessions() if s["application_name"].startswith(NAME)
    ]:
        assert time.monotonic() < deadline


def _end_sessions(database: TemporaryDatabase, name: str = NAME) -> None:
    database.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        f" WHERE starts_with(application_name, '{name}')"
    )


@pytest.mark.parametrize("call", ["load_rows", "save_rows", "get_max_id"])
def test_a_connection_found_dead_is_opened_again(target_db: TemporaryDatabase, call: str) -> None:
    create_profiles(target_db, 10)
    with opened(target_db) as database:
        rows = handed_over(database.load_rows(0, 5))
    with opened(target_db, "target") as database:
        database.get_max_id()
        _end_sessions(target_db)
        _do(database, call, rows)
        # what a session has is there again: its name, and its lock
        with pytest.raises(TargetInUseError, match="another run is writing"):
            PostgresPool().for_session(
                Session(run_id="b" * 12, side="target", call_timeout=0.1)
            ).connect(target_db.uri)


def test_the_last_rows_may_be_removed_by_another_part_of_the_run(
    target_db: TemporaryDatabase,
) -> None:
    create_profiles(target_db, 10)
    one, two = (
        opened(
            target_db,
            "target",
            mode="verify",
            writes=True,
            deletes=True,
            part=Part(role="range", number=number, token=str(number)),
        )
        for number in range(2)
    )
    with one as first, two as second:
        first.describe()
        second.describe()
        second.delete_rows([9, 10])
        _end_sessions(target_db, "pipecopy/")
        assert first.checksum(1, 11)[0] == 8


def test_a_restarted_server_is_found_again() -> None:
    with PostgresServer(16) as server:
        server.execute(TABLE)
        with opened(server.uri(), "source") as database:
            assert database.get_max_id() == 0
            server.restart("immediate")
            assert database.get_max_id() == 0


def test_a_connection_that_breaks_in_a_call_is_an_error(target_db: TemporaryDatabase) -> None:
    target_db.execute(TABLE)
    with opened(target_db, "target") as database, target_db.connect() as other:
        other.execute("BEGIN; LOCK TABLE profiles")
        with ThreadPoolExecutor(1) as threads:
            call = threads.submit(database.get_max_id)
            _wait_until_it_waits(target_db)
            _end_sessions(target_db)
            with pytest.raises(psycopg.errors.AdminShutdown):
                call.result(10)
        other.execute("COMMIT")
        assert database.get_max_id() == 0


def test_the_last_slot_of_a_role_is_waited_for(target_db: TemporaryDatabase) -> None:
    role = f"single_{target_db.name}"
    target_db.execute(TABLE)
    target_db.execute(
        f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1; GRANT ALL ON profiles TO {role}"
    )
    uri = target_db.server.uri(target_db.name, user=role)
    try:
        with opened(uri, "target") as orphan, ThreadPoolExecutor(1) as threads:
            replacement = threads.submit(_max_id_of, uri)
            _wait_until_refused(target_db.server, role)
            orphan.close()
            assert replacement.result(5) == 0
        with opened(uri, "target"), pytest.raises(psycopg.OperationalError, match="too many"):
            PostgresPool().connect(uri)  # no copy, no orphan, no waiting
    finally:
        target_db.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def _wait_until_refused(server: PostgresServer, role: str) -> None:
    deadline = time.monotonic() + 5
    while f'too many connections for role "{role}"' not in server.log:
        assert time.monotonic() < deadline


def _max_id_of(uri: str) -> int:
    with opened(uri, "target") as database:
        return database.get_max_id()


def test_a_killed_client_is_noticed_by_a_waiting_server(target_db: TemporaryDatabase) -> None:
    target_db.execute(TABLE)
    with opened(target_db, "target") as database, target_db.connect() as other:
        session = database._connection._session
        assert session is not None
        other.execute("BEGIN; LOCK TABLE profiles")
        with ThreadPoolExecutor(1) as threads:
            # a call would open another session, which ends this one
            call = threads.submit(session.query, "SELECT FROM profiles")
            _wait_until_it_waits(target_db)
            _shut(database)
            deadline = time.monotonic() + 3
            while [s for s in target_db.sessions() if s["application_name"].startswith(NAME)]:
                assert time.monotonic() < deadline
            with pytest.raises(psycopg.OperationalError):
                call.result(5)


def _shut(database: PostgresDatabase) -> None:
    """Do to the connection what the end of its process does."""
    session = database._connection._session
    assert session is not None
    with socket.socket(fileno=os.dup(session.connection.fileno())) as raw:
        raw.shutdown(socket.SHUT_RDWR)
