"""A session that replaces another one reaches another server, or the same one in an earlier state.

What was read or saved on the first server is not lost without a word: the run waits for a standby
that lags behind, and ends with an error where a server has lost something for good.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipecopy.cli.codes import exit_code
from pipecopy.contracts import Side
from pipecopy.errors import CallTimeoutError, DatabaseError, PipecopyError, TableMismatchError
from tests.faults.faulty import FaultyPool
from tests.faults.held import backend_of, copying, gate_of, side_of, until
from tests.faults.replicated import (
    BATCH,
    CRASHED,
    EARLY,
    FROZEN,
    HELD,
    LOSSES,
    NO_POSITIONS,
    ROWS,
    Lost,
    Replicated,
    Saved,
    limits_for,
    make_plain_role,
    replicated,
    revived,
)
from tests.faults.test_server_locks import at_a_retry
from tests.support.checks import (
    Ended,
    Expected,
    Tables,
    check,
    check_next_id,
    check_nothing_left,
    check_outcome,
    check_second_run,
    prove_next_id,
    rows_of,
    run_copy,
)
from tests.support.databases import TemporaryDatabase, temporary_database
from tests.support.drivers import RecordingPool
from tests.support.gates import finish_gate, load_gate, save_gate
from tests.support.profiles import add_profiles, assert_equal_tables, create_profiles
from tests.support.runs import verify
from tests.support.servers import PostgresServer
from tests.support.standbys import Standby
from tests.support.strikes import Strike

pytestmark = pytest.mark.server

_FAILED_OVER = re.compile("fail-?over|failed over|promoted|another server|back in time")


@pytest.fixture(scope="module")
def standby(own_source: PostgresServer) -> Iterator[Standby]:
    """Give one that is not promoted, and looks often whether its primary is back."""
    with Standby(own_source, wal_retrieve_retry_interval="50ms") as standby:
        yield standby


@pytest.fixture
def lagging(standby: Standby, target: TemporaryDatabase) -> Iterator[Replicated]:
    """Give a source whose standby has replayed the first half of its rows."""
    with temporary_database(standby.primary) as source:
        create_profiles(source, ROWS // 2)
        standby.catch_up()
        standby.pause_replay()
        add_profiles(source, ROWS // 2 + 1, ROWS + 1)
        tables = Tables(source=source, target=target)
        with revived(standby.primary):
            yield Replicated(tables=tables, side="source", standby=standby, parameters={})
        standby.resume_replay()


# -- the source


@pytest.mark.parametrize("lost", LOSSES.values(), ids=LOSSES)
def test_a_standby_that_stays_behind_is_waited_for_until_the_limit(
    lost: Lost, lagging: Replicated
) -> None:
    with (
        save_gate(lagging.tables.target, HELD) as gate,
        copying(lagging.tables, pool=lagging.pool(), **limits_for(lost)) as ending,
    ):
        gate.arrival()
        with lagging.losing(lost):
            gate.lift()
            ended = ending.result()
    lagging.primary.start()
    check(ended, lagging.tables, _BEHIND)


_BEHIND = Expected(
    error=CallTimeoutError, side="source", exit_code=75, words=("behind",), warnings=None
)


def test_a_standby_that_catches_up_goes_on_in_the_place_of_its_primary(
    lagging: Replicated,
) -> None:
    # until the standby catches up its table differs: whoever compares it too early ends the copy
    lagging.tables.source.execute("ALTER TABLE profiles ALTER id TYPE integer")
    lagging.standby.receive()
    with (
        save_gate(lagging.tables.target, HELD) as gate,
        copying(
            lagging.tables, pool=lagging.pool(), **limits_for(CRASHED, max_retries=3)
        ) as ending,
    ):
        gate.arrival()
        with lagging.losing(CRASHED):
            gate.lift()
            until(lambda: bool(lagging.standby.sessions("pipecopy/")) or ending.done())
            lagging.standby.resume_replay()
            ended = ending.result()
    lagging.primary.start()
    check(ended, lagging.tables, Expected(warnings=None))


def test_a_role_that_may_not_ask_for_positions_has_the_greatest_id_compared(
    lagging: Replicated,
) -> None:
    source = lagging.tables.source
    lagging.standby.resume_replay()
    make_plain_role(source, NO_POSITIONS)
    source.execute("DELETE FROM profiles WHERE id > 200")
    lagging.standby.catch_up()
    lagging.standby.pause_replay()
    add_profiles(source, 201, ROWS + 1)
    with (
        save_gate(lagging.tables.target, EARLY) as gate,
        copying(lagging.tables, pool=lagging.pool(user="plain"), **limits_for(CRASHED)) as ending,
    ):
        gate.arrival()
        with lagging.losing(CRASHED):
            gate.lift()
            ended = ending.result()
    lagging.primary.start()
    assert ended.error is not None
    assert ended.side == "source"
    assert ended.exit_code == 75, ended.message
    check_next_id(ended.report, lagging.tables)
    check_nothing_left()
    check_second_run(lagging.tables)


# -- the target


@pytest.mark.parametrize("lost", LOSSES.values(), ids=LOSSES)
def test_a_standby_that_lacks_saved_rows_is_promoted(lost: Lost, followed: Replicated) -> None:
    in_a_save = lost is FROZEN
    tables, saved = followed.tables, Saved(EARLY)
    gate_there = save_gate(tables.target, HELD) if in_a_save else load_gate(tables.source, HELD)
    with (
        save_gate(tables.target, EARLY) as early,
        gate_there as gate,
        copying(tables, pool=followed.pool(), observer=saved, **limits_for(lost)) as ending,
    ):
        followed.cut_off(early, saved)
        gate.arrival()
        with followed.losing(lost):
            followed.standby.promote()
            if not in_a_save:  # else the gate is on the server that is lost
                gate.lift()
            ended = ending.result()
    _check_failed_over(ended, followed)


def test_a_failover_after_the_last_save_is_no_mere_warning(followed: Replicated) -> None:
    tables, saved = followed.tables, Saved(EARLY)
    with (
        save_gate(tables.target, EARLY) as early,
        finish_gate(tables.target) as gate,
        copying(tables, pool=followed.pool(), observer=saved, **limits_for(CRASHED)) as ending,
    ):
        followed.cut_off(early, saved)
        gate.arrival()
        followed.standby.promote()
        with followed.losing(CRASHED):
            ended = ending.result()
    _check_failed_over(ended, followed)


def _check_failed_over(ended: Ended, followed: Replicated) -> None:
    assert _FAILED_OVER.search(ended.message), ended.message
    expected = Expected(error=DatabaseError, side="target", exit_code=75, warnings=None)
    check(ended, followed.failed_over(), expected)


@pytest.mark.parametrize("side", ["source", "target"])
def test_an_orderly_switch_over_loses_nothing(side: Side, own_tables: Tables) -> None:
    held: Side = "target" if side == "source" else "source"
    parameters = {"target_session_attrs": "read-write"} if side == "target" else {}
    with replicated(own_tables, side, **parameters) as there:
        with (
            gate_of(own_tables, held) as gate,
            # nothing is read ahead: a session that is ended in a call ends the copy
            copying(own_tables, pool=there.pool(), **limits_for(CRASHED, read_ahead=0)) as ending,
        ):
            gate.arrival()
            there.primary.stop("fast")  # once its standby has received all
            there.standby.promote()
            gate.lift()
            ended = ending.result()
        there.primary.start()
        assert ended.exit_code in {0, 75}, ended.message
        tables = there.failed_over()
        check_next_id(ended.report, tables)
        if ended.error is None:
            assert_equal_tables(tables.source, tables.target)
        check_nothing_left()
        check_second_run(tables)


# -- a table that a crash empties


def _restart(database: TemporaryDatabase) -> None:
    database.server.restart("immediate")


def _kill_backend(database: TemporaryDatabase) -> None:
    database.server.kill_backend(backend_of(database))


@pytest.mark.parametrize("crash", [_restart, _kill_backend])
def test_a_crash_empties_an_unlogged_target(
    crash: Callable[[TemporaryDatabase], None], own_tables: Tables
) -> None:
    own_tables.target.execute("ALTER TABLE profiles SET UNLOGGED")
    with (
        load_gate(own_tables.source, HELD) as gate,
        copying(own_tables, **limits_for(CRASHED)) as ending,
    ):
        gate.arrival()
        crash(own_tables.target)
        gate.lift()
        ended = ending.result()
    words = ("UNLOGGED",)
    expected = Expected(
        error=DatabaseError, side="target", exit_code=75, words=words, warnings=None
    )
    check_outcome(ended, expected)
    check_next_id(ended.report, own_tables)
    check_nothing_left()
    assert run_copy(own_tables.pool(), call_timeout=10).error is None
    assert_equal_tables(own_tables.source, own_tables.target)


def test_a_crash_empties_an_unlogged_source(own_tables: Tables) -> None:
    own_tables.source.execute("ALTER TABLE profiles SET UNLOGGED")
    before = rows_of(own_tables.source)
    with (
        save_gate(own_tables.target, HELD) as gate,
        copying(own_tables, **limits_for(CRASHED)) as ending,
    ):
        gate.arrival()
        _restart(own_tables.source)
        gate.lift()
        ended = ending.result()
    words = ("UNLOGGED",)
    expected = Expected(
        error=DatabaseError, side="source", exit_code=75, words=words, warnings=None
    )
    check_outcome(ended, expected)
    prove_next_id(ended.report, before, rows_of(own_tables.target))
    check_nothing_left()


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_session_that_is_ended_empties_no_unlogged_table(side: Side, tables: Tables) -> None:
    database = side_of(tables, side)
    database.execute("ALTER TABLE profiles SET UNLOGGED")
    with (
        gate_of(tables, "target" if side == "source" else "source") as gate,
        copying(tables, **limits_for(CRASHED)) as ending,
    ):
        gate.arrival()
        database.query("SELECT pg_terminate_backend(%s, 5000)", [backend_of(database)])
        gate.lift()
        ended = ending.result()
    check_outcome(ended, Expected(retries=0, warnings=None))
    assert_equal_tables(tables.source, tables.target)


def test_a_killed_worker_empties_no_unlogged_table(tables: Tables, tmp_path: Path) -> None:
    for database in (tables.source, tables.target):
        database.execute("ALTER TABLE profiles SET UNLOGGED")
    strikes = (
        Strike(side="source", call="load_rows", fault="deadlock", skip=2, times=1),
        Strike(side="target", call="save_rows", fault="deadlock", skip=2, times=1),
    )
    ended = run_copy(FaultyPool(tables.pool(), tmp_path, strikes), call_timeout=1)
    check_outcome(ended, Expected(retries=2, warnings=None))
    assert_equal_tables(tables.source, tables.target)


# -- verify


@pytest.fixture
def lagging_source_of_a_full_target(lagging: Replicated) -> Replicated:
    """Give a source whose standby lags behind, and a target that has all but some rows."""
    assert run_copy(lagging.tables.pool(), call_timeout=10).error is None
    lagging.tables.target.execute("DELETE FROM profiles WHERE id IN (3, 490)")
    return lagging


def test_no_row_is_deleted_by_what_a_standby_lacks(
    lagging_source_of_a_full_target: Replicated,
) -> None:
    lagging = lagging_source_of_a_full_target
    tables = lagging.tables
    before = rows_of(tables.target)
    pool = tables.pool(source=lagging.standby.same(tables.source).conninfo)
    with pytest.raises(TableMismatchError) as raised:
        verify(pool, repair=True, delete_surplus=True, batch_size=BATCH)
    assert raised.value.side in {None, "source"}
    assert exit_code(raised.value) == 5
    assert "primary" in str(raised.value)
    assert "target_session_attrs" in str(raised.value)
    assert rows_of(tables.target) == before


@dataclass(frozen=True)
class _Repairs:
    repair: bool
    delete_surplus: bool


@pytest.mark.parametrize(
    ("how", "error_class", "words"),
    [
        (_Repairs(repair=True, delete_surplus=True), DatabaseError, "target_session_attrs=primary"),
        (_Repairs(repair=False, delete_surplus=False), CallTimeoutError, "behind"),
    ],
    ids=["deletes", "reads"],
)
def test_a_verification_that_meets_a_standby_that_lags_ends(
    how: _Repairs,
    error_class: type[PipecopyError],
    words: str,
    lagging_source_of_a_full_target: Replicated,
) -> None:
    lagging = lagging_source_of_a_full_target
    tables = lagging.tables
    held = save_gate(tables.target, 3) if how.repair else load_gate(tables.target, EARLY)
    with held as gate, ThreadPoolExecutor(1, "verification") as threads:
        ending = threads.submit(
            verify,
            lagging.pool(),
            repair=how.repair,
            delete_surplus=how.delete_surplus,
            batch_size=BATCH,
            call_timeout=1,
            max_retries=1,
        )
        gate.arrival()
        until(lambda: _idle(tables.source))
        with lagging.losing(CRASHED):
            gate.lift()
            error = ending.exception(30)
    lagging.primary.start()
    assert isinstance(error, error_class), error or ending.result()
    assert exit_code(error) == 75
    assert error.side == "source"
    assert words in str(error)
    after = rows_of(tables.target)
    assert {id_ for id_, _ in after} >= set(range(1, ROWS + 1)) - {3, 490}
    check_nothing_left()


def _idle(database: TemporaryDatabase) -> bool:
    return [session["state"] for session in database.sessions()] == ["idle"]


# -- a driver of another database


def test_another_driver_whose_greatest_id_went_back(tmp_path: Path) -> None:
    strike = Strike(side="source", call="load_rows", fault="deadlock", skip=3, times=1)
    pool = RecordingPool(tmp_path, (strike,))
    pool.create(range(1, 51))
    older = RecordingPool(tmp_path / "older")
    older.folder.mkdir()
    older.create(range(1, 41))
    before = {tuple(row) for row in pool.rows("source")}

    def swap() -> None:
        (older.folder / "source.sqlite").replace(pool.folder / "source.sqlite")

    ended = run_copy(pool, observer=at_a_retry(swap), retries_delay=0.5)
    assert ended.error == "DatabaseError", ended.message
    assert ended.side == "source"
    assert ended.exit_code == 75, ended.message
    assert ended.report is not None
    target = {tuple(row) for row in pool.rows("target")}
    assert {row for row in before if row[0] < ended.report.next_id} <= target
