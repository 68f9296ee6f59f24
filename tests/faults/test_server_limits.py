"""What a server does not grant: slots, writes, space, time, and the table itself."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pipecopy.contracts import Side
from pipecopy.errors import DatabaseError, TableMismatchError
from pipecopy.events import CallEnded
from tests.faults.held import backend_of, copying, gate_of, side_of
from tests.faults.test_server_locks import at_a_retry
from tests.support.checks import (
    Expected,
    Tables,
    check,
    check_nothing_left,
    check_outcome,
    check_second_run,
    run_copy,
)
from tests.support.databases import TemporaryDatabase
from tests.support.home import give_to_server_user
from tests.support.profiles import TABLE
from tests.support.servers import PostgresServer
from tests.support.small_disk import small_disk


@pytest.fixture
def role(tables: Tables) -> Iterator[str]:
    """Give a plain role of both servers that may copy the tables."""
    name = f"copier_{tables.target.name}"
    for database in (tables.source, tables.target):
        database.execute(
            f"CREATE ROLE {name} LOGIN; GRANT ALL ON profiles TO {name};"
            f" GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {name}"
        )
    yield name
    for database in (tables.source, tables.target):
        database.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def _uris(tables: Tables, role: str) -> dict[str, str]:
    return {
        side: database.server.uri(database.name, user=role)
        for side, database in (("source", tables.source), ("target", tables.target))
    }


# -- slots


@contextlib.contextmanager
def _no_slot_left(server: PostgresServer, role: str) -> Iterator[list[psycopg.Connection[object]]]:
    taken: list[psycopg.Connection[object]] = []
    try:
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                taken.append(server.connect(user=role))
        yield taken
    finally:
        for connection in taken:
            connection.close()


@pytest.mark.parametrize("side", ["source", "target"])
def test_no_slot_is_left(side: Side, tables: Tables, role: str) -> None:
    with _no_slot_left(side_of(tables, side).server, role) as taken:
        assert len(taken) > 10
        ended = run_copy(tables.pool(**_uris(tables, role)), call_timeout=1)
    words = ("connection slots", "attempt 1")
    expected = Expected(error=DatabaseError, side=side, call="connect", words=words, retries=0)
    check(ended, tables, expected)


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_slot_that_comes_free_in_time_is_taken(side: Side, tables: Tables, role: str) -> None:
    server = side_of(tables, side).server
    refusals = server.log.count("remaining connection slots are reserved")
    with (
        _no_slot_left(server, role) as taken,
        copying(tables, pool=tables.pool(**_uris(tables, role))) as ending,
    ):
        # one refusal is what showed the test that no slot is left
        server.wait_for_log("remaining connection slots are reserved", refusals + 2)
        taken.pop().close()
        ended = ending.result()
    check(ended, tables, Expected(retries=0))


def test_an_orphan_does_not_take_the_only_slot_of_its_role(tables: Tables, role: str) -> None:
    refusal = f'too many connections for role "{role}"'
    for database in (tables.source, tables.target):
        database.execute(f"ALTER ROLE {role} CONNECTION LIMIT 1")
    server = tables.target.server
    pool = tables.pool(**_uris(tables, role))
    with (
        gate_of(tables, "target") as gate,
        copying(tables, pool=pool, call_timeout=1.5) as ending,
    ):
        gate.arrival()
        orphan = backend_of(tables.target)
        server.pause(orphan)  # or it would be gone when the retry comes
        gate.lift()
        server.wait_for_log(refusal, 1)
        server.resume()
        ended = ending.result()
    check(ended, tables, Expected(retries=1))


# -- settings of the role


SETTINGS = {
    "statement_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "150ms",  # a busy machine takes longer than 20 to send the first query
    "transaction_timeout": "20ms",  # since PostgreSQL 17
}


@pytest.mark.parametrize("held", ["source", "target"])
def test_the_limits_that_the_role_has_set_do_not_hurt(held: Side, tables: Tables) -> None:
    role = f"hasty_{tables.target.name}"
    for database in (tables.source, tables.target):
        database.execute(f"CREATE ROLE {role} LOGIN SUPERUSER")
        for setting, value in SETTINGS.items():
            with contextlib.suppress(psycopg.errors.UndefinedObject):
                database.execute(f"ALTER ROLE {role} SET {setting} = '{value}'")
    try:
        with (
            gate_of(tables, held) as gate,
            copying(tables, pool=tables.pool(**_uris(tables, role))) as ending,
        ):
            gate.arrival()
            time.sleep(0.3)  # longer than each of the limits
            gate.lift()
            ended = ending.result()
        check(ended, tables, Expected(retries=0))
    finally:
        for database in (tables.source, tables.target):
            database.execute(f"DROP ROLE {role}")


def test_a_lock_timeout_that_the_role_has_set_counts_as_one(tables: Tables, role: str) -> None:
    tables.target.execute(f"ALTER ROLE {role} SET lock_timeout = '20ms'")
    with gate_of(tables, "target") as gate:
        ended = run_copy(
            tables.pool(**_uris(tables, role)), call_timeout=10, observer=at_a_retry(gate.lift)
        )
    check(ended, tables, Expected(retries=1))
    assert any("lock timeout" in event.detail for event in ended.events(CallEnded))


def test_a_read_only_role_on_the_target(tables: Tables, role: str) -> None:
    tables.target.execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")
    ended = run_copy(tables.pool(**_uris(tables, role)))
    words = ("all transactions of the role", "SET default_transaction_read_only = off;")
    expected = Expected(error=TableMismatchError, exit_code=5, words=words, next_id=0, retries=0)
    check(ended, tables, expected)


# -- space


@pytest.fixture
def small_file_system(pg18: PostgresServer) -> Iterator[Path]:
    """Give a folder of the server's on a file system with half a megabyte."""
    folder = pg18.folder / "small"
    folder.mkdir(exist_ok=True)
    with small_disk(folder, "512k"):
        give_to_server_user(folder)
        yield folder


@pytest.fixture
def small_target(small_file_system: Path, tables: Tables) -> Iterator[TemporaryDatabase]:
    """Move the target's table to the small file system."""
    target, space = tables.target, f"small_{tables.target.name}"
    target.execute(f"CREATE TABLESPACE {space} LOCATION '{small_file_system}'")
    target.execute(f"ALTER TABLE profiles SET TABLESPACE {space}")
    yield target
    target.execute("ALTER TABLE profiles SET TABLESPACE pg_default; CHECKPOINT")
    target.execute(f"DROP TABLESPACE {space}")


def test_a_full_disk(
    small_target: TemporaryDatabase, small_file_system: Path, tables: Tables
) -> None:
    filler = small_file_system / "filler"
    with gate_of(tables, "source") as gate, copying(tables, max_retries=3) as ending:
        gate.arrival()
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        gate.lift()
        ended = ending.result()
    filler.unlink()
    words = ("53100", "No space left on device", "attempt 1")
    expected = Expected(
        error=DatabaseError, side="target", call="save_rows", words=words, exit_code=4, retries=0
    )
    check(ended, tables, expected)
    assert small_target.server.running


# -- the table


@pytest.mark.parametrize("side", ["source", "target"])
def test_the_table_is_taken_away_on_the_way(side: Side, tables: Tables) -> None:
    database = side_of(tables, side)
    other: Side = "target" if side == "source" else "source"
    with (
        gate_of(tables, other) as gate,
        copying(tables, read_ahead=0, max_retries=3) as ending,
    ):
        gate.arrival()
        database.execute("ALTER TABLE profiles RENAME TO gone")
        gate.lift()
        ended = ending.result()
    database.execute("ALTER TABLE gone RENAME TO profiles")
    words = ('"public"."profiles" was dropped or renamed',)
    expected = Expected(error=TableMismatchError, side=side, exit_code=5, words=words, retries=0)
    check(ended, tables, expected)


def test_the_targets_table_is_dropped_on_the_way(tables: Tables) -> None:
    with gate_of(tables, "source") as gate, copying(tables, max_retries=3) as ending:
        gate.arrival()
        tables.target.execute("DROP TABLE profiles")
        gate.lift()
        ended = ending.result()
    tables.target.execute(TABLE)
    expected = Expected(
        error=TableMismatchError,
        side="target",
        call="save_rows",
        exit_code=5,
        words=('"public"."profiles" was dropped or renamed',),
        retries=0,
    )
    check_outcome(ended, expected)
    # what was saved went with the table: next_id is of no use here
    check_nothing_left()
    check_second_run(tables)


def test_an_internal_error_that_takes_long_is_no_time_out(tables: Tables) -> None:
    tables.target.execute(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
        " PERFORM pg_sleep(0.7); RAISE 'invalid page' USING ERRCODE = 'XX000'; END$$;"
        "CREATE TRIGGER fail BEFORE INSERT ON profiles FOR EACH ROW EXECUTE FUNCTION fail()"
    )
    ended = run_copy(tables.pool(), call_timeout=2, max_retries=1)
    expected = Expected(
        error=DatabaseError,
        side="target",
        call="save_rows",
        exit_code=4,
        words=("(XX000)", "invalid page"),
        retries=0,
        warnings=None,
    )
    check_outcome(ended, expected)


def test_an_internal_error_that_passes_is_no_end(tables: Tables) -> None:
    """What a statement meets whose relation is dropped while it is planned."""
    tables.target.execute(
        "CREATE SEQUENCE n; CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
        " IF nextval('n') <= 2 THEN"
        " RAISE 'cache lookup failed for relation 42' USING ERRCODE = 'XX000'; END IF;"
        " RETURN NEW; END$$;"
        "CREATE TRIGGER fail BEFORE INSERT ON profiles FOR EACH ROW EXECUTE FUNCTION fail()"
    )
    ended = run_copy(tables.pool(), call_timeout=10)
    check(ended, tables, Expected(retries=0, warnings=None))
