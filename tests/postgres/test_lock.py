"""The lock on the target table: who holds it is told to any role, by the name of the session."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from pipecopy.contracts import Mode, Session, TargetInUseError
from pipecopy.errors import DatabaseError, Holder
from pipecopy.postgres import PostgresPool
from pipecopy.postgres.application_name import application_name, read_name
from pipecopy.shard import Part
from tests.support.checks import Tables
from tests.support.databases import Both, TemporaryDatabase
from tests.support.opened import RUN_ID, opened
from tests.support.profiles import create_profiles
from tests.support.runs import copy

HOSTS = {
    "batch-7": "batch-7",
    "batch-7.internal.example.com": "batch-7",
    "nightly-copy-28391234-x7k2p": "nightly-c~-x7k2p",
    "überhost/1": "_berhost_1",
    "": "unknown",
}


def holder_session(host: str = "batch-7") -> Session:
    return Session(
        run_id=RUN_ID,
        side="target",
        call_timeout=10,
        host=host,
        pid=4_194_304,
        started="2026-11-30T02:00:03.125Z",
    )


def test_a_role_without_rights_is_told_who_holds_the_table(both: Both, role: str) -> None:
    for database in (both.source, both.target):
        check_is_told(database, role)


def check_is_told(database: TemporaryDatabase, role: str) -> None:
    """See that a role which may only write the table is told who holds it."""
    create_profiles(database, 1)
    database.execute(f"GRANT ALL ON profiles TO {role}")
    uri = database.server.uri(database.name, user=role)
    with contextlib.closing(PostgresPool().for_session(holder_session()).connect(database.uri)):
        (session,) = database.sessions()
        error = refused(uri)
        database.execute("REVOKE SELECT ON pg_locks FROM PUBLIC")
        unknown = refused(uri)
        database.execute("GRANT SELECT ON pg_locks TO PUBLIC")
    who = f"pipecopy run {RUN_ID} on host batch-7, pid 4194304, since 2026-11-30 02:00:03 UTC"
    assert str(error) == f"another copy is writing public.profiles: {who}"
    assert error.holder == Holder(
        who=who,
        run_id=RUN_ID,
        host="batch-7",
        pid=4_194_304,
        since="2026-11-30T02:00:03Z",
        session=session["pid"],
    )
    assert error.remedy == (
        "wait for its end (`wait`), or stop it: kill 4194304 on host batch-7; if that host is gone,"
        f" run SELECT pg_terminate_backend({session['pid']});"
    )
    assert (unknown.holder, str(unknown)) == (
        None,
        "another run is writing public.profiles; which one is not known",
    )


def test_a_verification_by_several_at_once_is_told_by_its_range(
    target_db: TemporaryDatabase,
) -> None:
    create_profiles(target_db, 1)
    of_range = part("range", mode="verify", number=3)
    with contextlib.closing(PostgresPool().for_session(of_range).connect(target_db.uri)):
        message = str(refused(target_db.uri))
    assert message.startswith(
        "a verification that repairs is writing public.profiles: range 3 of pipecopy run"
        f" {RUN_ID} on host batch-7, pid 4194304"
    )


def refused(uri: str) -> TargetInUseError:
    """Return what another run is told, which gives up at once."""
    other = Session(run_id="b" * 12, side="target", call_timeout=5, patience=0)
    with pytest.raises(TargetInUseError) as raised:
        PostgresPool().for_session(other).connect(uri)
    return raised.value


def test_what_is_no_pipecopy_is_told_apart(target_db: TemporaryDatabase) -> None:
    create_profiles(target_db, 1)
    with target_db.connect(application_name="psql") as other:
        other.execute("SELECT pg_advisory_lock(x'70697065'::int, 'profiles'::regclass::oid::int)")
        message, pid = str(refused(target_db.uri)), other.info.backend_pid
    who = f"server session {pid} (postgres, psql, idle, since 2"
    assert message.startswith(f"another program holds pipecopy's lock on public.profiles: {who}")


def test_a_password_in_the_name_of_the_holder_is_not_told(tables: Tables) -> None:
    with tables.target.connect(application_name="job password=hidden") as other:
        other.execute("SELECT pg_advisory_lock(x'70697065'::int, 'profiles'::regclass::oid::int)")
        pid = other.info.backend_pid
        with pytest.raises(DatabaseError) as raised:
            copy(tables.pool(), call_timeout=1)
    assert raised.value.holder is not None
    assert raised.value.holder.session == pid
    assert "hidden" not in f"{raised.value} {raised.value.holder}"


@pytest.mark.parametrize("host", HOSTS)
def test_the_server_keeps_the_whole_name(host: str, target_db: TemporaryDatabase) -> None:
    create_profiles(target_db, 1)
    run = holder_session(host)
    with target_db.connect(application_name=application_name(run)) as orphan:
        (session,) = target_db.sessions()
        assert session["application_name"] == application_name(run)
        named = read_name(session["application_name"])
        assert named is not None
        assert (named.run_id, named.host, named.pid) == (RUN_ID, HOSTS[host], 4_194_304)
        assert f"{named.started:%F %T} {named.mode}" == "2026-11-30 02:00:03 copy"
        PostgresPool().for_session(run).connect(target_db.uri).close()
        with pytest.raises(psycopg.OperationalError):  # it was ended
            orphan.execute("SELECT 1")


def test_a_table_that_came_since_the_session_began_is_locked(target_db: TemporaryDatabase) -> None:
    with (
        opened(target_db, "target", call_timeout=1) as late,
        opened(target_db, "target", run_id="b" * 12) as first,
    ):
        create_profiles(target_db, 1)
        first.describe()
        with pytest.raises(TargetInUseError, match="another run is writing"):
            late.describe()


def part(
    role: Any, run_id: str = RUN_ID, mode: Mode = "copy", number: int | None = None
) -> Session:
    """Return the session of a part of a run, which gives up at once."""
    return Session(
        run_id=run_id,
        side="target",
        call_timeout=5,
        mode=mode,
        patience=0,
        part=Part(role=role, token=os.urandom(3).hex(), number=number),
        host="batch-7",
        pid=4_194_304,
        started="2026-11-30T02:00:03.125Z",
    )


def test_the_parts_of_one_run_share_the_table_and_keep_out_all_others(
    target_db: TemporaryDatabase, role: str
) -> None:
    """A verification that repairs and a sharded copy share it too, each among its own parts."""
    create_profiles(target_db, 1)
    target_db.execute(f"GRANT ALL ON profiles TO {role}")
    uri = target_db.server.uri(target_db.name, user=role)

    def open_(session: Session) -> Any:
        return contextlib.closing(PostgresPool().for_session(session).connect(uri))

    with open_(part("range", mode="verify")):
        with open_(part("range", mode="verify", number=1)):
            pass
        for other in ("shard", "table"):
            with pytest.raises(
                TargetInUseError, match=f"repairs is writing .*: pipecopy run {RUN_ID}"
            ):
                open_(part(other, "b" * 12))
        with pytest.raises(TargetInUseError):
            open_(replace(part("range", "b" * 12), part=None))
        with open_(part("range", mode="verify")):
            pass
    told = f"another copy .*: pipecopy run {'b' * 12}"
    with (
        open_(replace(part("range", "b" * 12), part=None)),
        pytest.raises(TargetInUseError, match=told),
    ):
        open_(part("shard"))
