"""A server that has gone back in time, and one that only seems to: it is asked to tell the two."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipecopy.events import Event
from tests.faults.faulty import Alteration, AlteringPool
from tests.faults.held import copying
from tests.faults.replicated import (
    BATCH,
    CRASHED,
    EARLY,
    HELD,
    NO_POSITIONS,
    Replicated,
    Saved,
    limits_for,
    make_plain_role,
)
from tests.faults.test_server_locks import at_a_retry
from tests.operations.sqlite import DeletesAndHangsPool
from tests.support.checks import ROWS, Ended, Tables, check_next_id, check_nothing_left, run_copy
from tests.support.drivers import RecordingPool
from tests.support.gates import load_gate, save_gate
from tests.support.profiles import add_profiles, assert_equal_tables
from tests.support.runs import verify
from tests.support.servers import PostgresServer
from tests.support.strikes import Strike

pytestmark = pytest.mark.server


def _check_gone_back(ended: Ended, tables: Tables, *words: str) -> None:
    assert (ended.error, ended.side, ended.exit_code) == ("DatabaseError", "target", 75), ended
    for word in words:
        assert word in ended.message
    check_next_id(ended.report, tables)
    check_nothing_left()


def _fill_log(server: PostgresServer) -> None:
    """Have the log of a server end beyond the place where the one before had come."""
    for _ in range(3):
        server.execute("SELECT pg_logical_emit_message(false, '', '')")
        server.execute("SELECT pg_switch_wal()")


# -- without another timeline


def test_a_target_is_restored_as_it_was_a_batch_before(own_tables: Tables) -> None:
    target, saved = own_tables.target, Saved(HELD - BATCH)
    add_profiles(target, 1, HELD - HELD % BATCH - BATCH + 1)
    with (
        _backup(target.server) as restore,
        load_gate(own_tables.source, HELD) as gate,
        copying(own_tables, observer=saved, **limits_for(CRASHED, call_timeout=10)) as ending,
    ):
        saved.wait()
        restore()
        _fill_log(target.server)
        gate.lift()
        ended = ending.result()
    _check_gone_back(ended, own_tables, "back in time")


@contextlib.contextmanager
def _backup(server: PostgresServer) -> Iterator[Callable[[], None]]:
    """Keep a server's data as they are, for the time of the block, to be restored in it."""
    kept = server.data.with_name("backup")

    def restore() -> None:
        server.stop("fast")
        shutil.rmtree(server.data)
        _copy(kept, server.data)
        server.start()

    server.stop("fast")
    _copy(server.data, kept)
    server.start()
    yield restore
    shutil.rmtree(kept)


def _copy(data: Path, to: Path) -> None:
    subprocess.run(["/bin/cp", "--archive", data, to], check=True)  # they are another user's


def test_a_standby_that_lacks_rows_becomes_a_primary_without_a_promotion(
    followed: Replicated,
) -> None:
    def take_over() -> None:
        followed.standby.stop("fast")
        (followed.standby.data / "standby.signal").unlink()
        followed.standby.start()
        _fill_log(followed.standby)

    ended = _fail_over(followed, take_over, "postgres")
    _check_gone_back(ended, followed.failed_over(), "back in time")


# -- a role that may not ask


@pytest.mark.parametrize(
    "forbidden", ["^pg_control_system$", NO_POSITIONS], ids=["no identifier", "nothing"]
)
def test_a_promoted_standby_that_lacks_rows_is_known_to_any_role(
    forbidden: str, followed: Replicated
) -> None:
    make_plain_role(followed.tables.target, forbidden)
    ended = _fail_over(followed, followed.standby.promote, "plain")
    _check_gone_back(ended, followed.failed_over())


def _fail_over(followed: Replicated, take_over: Callable[[], None], user: str) -> Ended:
    """Copy as that user; lose the target, all rows of which its standby does not have."""
    tables, early, late = followed.tables, Saved(EARLY), Saved(HELD - BATCH)

    def observe(event: Event) -> None:
        early(event)
        late(event)

    with (
        save_gate(tables.target, EARLY) as first,
        load_gate(tables.source, HELD) as gate,
        copying(
            tables, pool=followed.pool(user=user), observer=observe, **limits_for(CRASHED)
        ) as ending,
    ):
        followed.cut_off(first, early)
        late.wait()
        with followed.losing(CRASHED):
            take_over()
            gate.lift()
            return ending.result()


# -- the last rows are removed by the run itself


def test_a_repair_that_removed_the_last_row_goes_on_in_another_session(
    tables: Tables, tmp_path: Path
) -> None:
    add_profiles(tables.target, 1, ROWS + 2)
    for database in (tables.source, tables.target):
        make_plain_role(database, NO_POSITIONS)
    pool = AlteringPool(
        tables.pool(
            source=tables.source.server.uri(tables.source.name, user="plain"),
            target=tables.target.server.uri(tables.target.name, user="plain"),
        ),
        Alteration(side="target", sql="SELECT 1", call="finish", moment="replaced"),
        tables.target.conninfo,
        tmp_path,
    )
    report = verify(pool, repair=True, delete_surplus=True)
    assert pool.struck.exists()
    assert (report.deleted, report.equal) == (1, True)
    assert_equal_tables(tables.source, tables.target)


def test_a_driver_that_removed_the_last_row_goes_on_in_another_worker(tmp_path: Path) -> None:
    pool = DeletesAndHangsPool(tmp_path)
    pool.create(range(1, 11))
    with pool.file("target") as db:
        db.executemany("INSERT INTO profiles VALUES (?, ?)", [*pool.rows("source"), (20, "")])
    db.close()
    report = verify(pool, repair=True, delete_surplus=True, call_timeout=1, max_retries=1)
    assert (report.kills, report.equal) == (1, True)
    assert pool.rows("target") == pool.rows("source")


# -- a driver's greatest id


def test_a_greatest_id_that_could_not_be_read_is_compared_by_the_next_attempt(
    tmp_path: Path,
) -> None:
    strikes = (
        Strike(side="source", call="load_rows", fault="deadlock", skip=2, times=1),
        Strike(side="source", call="get_max_id", fault="TimeoutError", skip=1, times=1),
    )
    pool = RecordingPool(tmp_path, strikes)
    pool.create(range(1, 51))
    older = RecordingPool(tmp_path / "older")
    older.folder.mkdir()
    older.create(range(1, 41))

    def swap() -> None:
        with contextlib.suppress(FileNotFoundError):  # it is done already
            (older.folder / "source.sqlite").replace(pool.folder / "source.sqlite")

    ended = run_copy(pool, observer=at_a_retry(swap), retries_delay=0.3, max_retries=3)
    assert (ended.error, ended.side, ended.exit_code) == ("DatabaseError", "source", 75), ended
    assert len(pool.recorder.attempts(side="source", call="get_max_id")) == 3
