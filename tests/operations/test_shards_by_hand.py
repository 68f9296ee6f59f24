"""Shards that others start: planned, copied one by one on any host, looked at, dropped."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from pipecopy import (
    Config,
    ConnectionPool,
    CopyReport,
    PlanReport,
    ShardedReport,
    copy_shard,
    copy_sharded,
    drop_run,
    plan_sharded,
    runs_of,
)
from pipecopy.cli.codes import exit_code
from pipecopy.errors import ConfigError, PipecopyError, StoppedError
from pipecopy.events import Event, Paused, ShardEnded
from pipecopy.postgres import PostgresPool
from pipecopy.sharded import LedgerRun
from tests.support.checks import Tables
from tests.support.drivers import RecordingDatabase, RecordingPool
from tests.support.gates import save_gate
from tests.support.runs import CONFIG

NAMES = ("source", "target")
LEDGER = "SELECT to_regclass('pipecopy_shards')"
SEQUENCE = "SELECT last_value FROM profiles_id_seq"


def plan(pool: ConnectionPool, **how: Any) -> PlanReport:
    return plan_sharded(CONFIG, pool, "source", "target", **{"shards": 3, **how})


def copy(pool: PostgresPool, run: str, shard: int, **how: Any) -> CopyReport:
    return copy_shard(CONFIG, pool, "source", "target", run=run, shard=shard, **how)


def runs(pool: PostgresPool) -> tuple[LedgerRun, ...]:
    return runs_of(CONFIG, pool, "source", "target").runs


def test_whoever_copies_the_last_shard_finishes_the_run(tables: Tables) -> None:
    pool = tables.pool()
    planned = plan(pool)
    assert [(table.table, table.max_id, table.shards) for table in planned.tables] == [
        ("profiles", 50, 3)
    ]
    first, last = planned.shards[0], planned.shards[-1]
    assert (first.first, last.last, len(planned.shards)) == (0, 50, 3)
    reports = {number: copy(pool, planned.run_id, number) for number in (2, 0)}
    assert [report.batches > 0 for report in reports.values()] == [True, True]
    (run,) = runs(pool)
    assert (run.run, run.state, run.shards, run.done) == (planned.run_id, "waiting", 3, 2)
    copied = reports[2].rows + reports[0].rows
    assert run.rows == copied == tables.target.value("SELECT count(*) FROM profiles")
    again = copy(pool, planned.run_id, 2)
    assert (again.rows, again.batches, again.next_id) == (reports[2].rows, 0, 51)
    copy(pool, planned.run_id, 1)
    tables.assert_equal()
    assert tables.target.value(SEQUENCE) == 50
    assert tables.target.value(LEDGER) is None
    assert runs(pool) == ()


def test_a_stop_in_the_last_batch_of_a_run_does_not_leave_it_unfinished(tables: Tables) -> None:
    pool = tables.pool()
    run = plan(pool, shards=1).run_id
    stop = threading.Event()
    with save_gate(tables.target, 50) as gate, ThreadPoolExecutor(1) as thread:
        copying = thread.submit(copy, pool, run, 0, stop=stop)
        gate.arrival()
        stop.set()
        gate.lift()
        assert copying.result().rows == 50
    assert tables.target.value(SEQUENCE) == 50
    assert runs(pool) == ()


def test_whoever_finishes_the_run_has_the_warnings_of_that(tables: Tables) -> None:
    tables.target.execute("ALTER SEQUENCE profiles_id_seq MAXVALUE 10")
    (warning,) = copy(tables.pool(), plan(tables.pool(), shards=1).run_id, 0).warnings
    assert "profiles_id_seq" in warning


def test_a_target_without_all_calls_of_a_ledger_keeps_none(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create([1])
    pool = _HalfPool(sqlite_pool.folder)
    with pytest.raises(ConfigError, match="keeps no ledger: it can't be sharded"):
        plan(pool)


class _HalfPool(RecordingPool):
    """Opens databases that have a part of the calls of a ledger."""

    def connect(self, dbname: str) -> RecordingDatabase:
        return _HalfDatabase(self, dbname)


class _HalfDatabase(RecordingDatabase):
    def shards(self, _: str | None) -> list[Any]:
        return []

    plan_shards = claim_shard = end_shard = stop_shards = shards


def test_a_run_that_was_planned_goes_on_in_one_process(tables: Tables) -> None:
    pool = tables.pool()
    planned = plan(pool, from_id=11, to_id=30)
    report = copy_sharded(CONFIG, pool, "source", "target", shards=9, jobs=2, run=planned.run_id)
    assert (report.first_id, report.next_id, report.rows, report.shards) == (11, 31, 20, 3)
    assert tables.target.value(LEDGER) is None


def test_a_run_that_another_process_drives_is_waited_for(tables: Tables) -> None:
    pool, stop, waits = tables.pool(), threading.Event(), threading.Event()
    run, config = plan(pool).run_id, replace(CONFIG, call_timeout=2, grace=0)

    def see(event: Event) -> None:
        if isinstance(event, Paused) and event.reason == "another run":
            waits.set()

    def go_on(limits: Config, **how: Any) -> ShardedReport:
        return copy_sharded(limits, pool, "source", "target", shards=1, jobs=1, run=run, **how)

    with save_gate(tables.target, 33) as gate, ThreadPoolExecutor(2) as threads:
        first = threads.submit(go_on, replace(config, call_timeout=10), stop=stop)
        gate.arrival()
        second = threads.submit(go_on, replace(config, wait=True), observer=see)
        assert waits.wait(20)
        stop.set()
        with pytest.raises(StoppedError):
            first.result()
        gate.lift()
        assert second.result().done == 3
    tables.assert_equal()


def test_a_run_is_dropped(tables: Tables) -> None:
    pool = tables.pool()
    run = plan(pool).run_id
    copy(pool, run, 0)
    dropped = drop_run(CONFIG, pool, "source", "target", run=run)
    assert [(each.run, each.done) for each in dropped.runs] == [(run, 1)]
    assert tables.target.value(LEDGER) is None
    for call in (copy, lambda *_: drop_run(CONFIG, pool, "source", "target", run=run)):
        with pytest.raises(ConfigError, match=f"has no run {run}"):
            call(pool, run, 0)


SINCE_THE_PLAN = {
    "the source failed over": (
        "position, timeline",
        "0",
        r"source source: connect .*took over after a failover: it is on timeline 1, .* timeline 0",
        3,
    ),
    "the source is another server": ("position, system", "7", "it was 7$", 3),
    "a crash has emptied the target": (
        "target, state, cleared",
        '"never"',
        "which has emptied the UNLOGGED table$",
        4,
    ),
    "DDL": (
        r'target, state, fixed, "the column \"data\""',
        '[2, "json"]',
        'while the run was under way: the column "data" was json and is jsonb$',
        5,
    ),
}


@pytest.mark.parametrize("by_hand", [False, True], ids=["driven", "by hand"])
@pytest.mark.parametrize("what", SINCE_THE_PLAN)
def test_a_run_whose_plan_no_longer_holds_ends_at_once(
    tables: Tables, what: str, *, by_hand: bool
) -> None:
    """The plan in the ledger is altered: that is what the servers were like then."""
    where, was, says, code = SINCE_THE_PLAN[what]
    tables.target.execute("ALTER TABLE profiles SET UNLOGGED")
    run = plan(tables.pool()).run_id
    tables.target.execute(
        f"UPDATE pipecopy_shards SET plan = jsonb_set(plan, '{{{where}}}', '{was}')"
        " WHERE plan IS NOT NULL"
    )
    seen: list[Event] = []
    how: dict[str, Any] = {"shard": 0} if by_hand else {"shards": 3, "jobs": 1}
    go_on: Any = copy_shard if by_hand else copy_sharded
    with pytest.raises(PipecopyError) as raised:
        go_on(CONFIG, tables.pool(), *NAMES, run=run, observer=seen.append, **how)
    said, _, more = str(raised.value).partition(f"; the plan of run {run} no longer holds")
    assert re.search(says, said)
    assert more == ""
    assert (raised.value.anew, exit_code(raised.value)) == (True, code)
    assert not any(isinstance(event, ShardEnded) and event.again for event in seen)


def test_what_differs_from_the_plan_is_refused_by_name(tables: Tables) -> None:
    planned = plan(tables.pool()).run_id
    with pytest.raises(ConfigError) as raised:
        copy(
            PostgresPool(
                {"source": tables.source.uri, "target": tables.target.uri}, where="id > 7"
            ),
            planned,
            0,
        )
    assert str(raised.value) == (
        f"run {planned} was planned without `where`, and is to go on with `where='id > 7'`"
    )
    with pytest.raises(ConfigError, match=f"run {planned} has no shard 3: it has 3, from 0 on"):
        copy(tables.pool(), planned, 3)
    with pytest.raises(ConfigError, match="`from_id` and `to_id` do not go with `run`"):
        copy_sharded(
            CONFIG, tables.pool(), "source", "target", shards=3, jobs=1, run=planned, from_id=3
        )
    with pytest.raises(ConfigError, match="run must be the 12 hex digits of a run, not 'nightly'"):
        copy(tables.pool(), "nightly", 0)
    drop_run(CONFIG, tables.pool(), "source", "target", run=planned)


@pytest.mark.parametrize("number", [1, 2])
def test_a_shard_that_the_ledger_lacks_is_missed(tables: Tables, number: int) -> None:
    pool = tables.pool()
    planned = plan(pool)
    tables.target.execute(f"DELETE FROM pipecopy_shards WHERE shard = {number}")
    lacks = planned.shards[number]
    with pytest.raises(ConfigError, match=f"lacks ids {lacks.first} to {lacks.last} of"):
        copy_sharded(CONFIG, pool, *NAMES, shards=3, jobs=1, run=planned.run_id)
