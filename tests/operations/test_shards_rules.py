"""What a sharded run keeps to, whatever its engine and its hosts do."""

from __future__ import annotations

import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import psutil
import pytest

from pipecopy import Config, ShardedReport, copy_sharded, plan_sharded, runs_of
from pipecopy.errors import (
    DatabaseError,
    FullCopyTimeoutError,
    PipecopyError,
    StoppedError,
    WorkerCrashedError,
)
from pipecopy.events import BatchSaved, Event, ShardEnded, ShardStarted
from pipecopy.operations.shards.shard import ShardTask, run_shard
from pipecopy.postgres import PostgresPool
from pipecopy.postgres.application_name import read_name
from pipecopy.workers.script import pickle_pool
from tests.support.checks import LATE_COPY, Tables
from tests.support.executors import processes
from tests.support.gates import Gate, save_gate, table_gate
from tests.support.runs import CONFIG

COUNT = "SELECT count(*) FROM profiles"
SHORT = replace(CONFIG, full_copy_timeout=1.2)


def copy(
    pool: PostgresPool, config: Config = CONFIG, executor: Any = None, **how: Any
) -> ShardedReport:
    return copy_sharded(
        config, pool, "source", "target", **{"shards": 5, "jobs": 2, "executor": executor, **how}
    )


# -- engines


class Losing(ThreadPoolExecutor):
    """Loses the first tasks, after it has run them in part, perhaps."""

    def __init__(self, losses: int, how: Callable[[Future[Any]], object]) -> None:
        super().__init__(8)
        self._losses = losses
        self._how = how

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self._losses == 0:
            return super().submit(fn, *args, **kwargs)
        self._losses -= 1
        lost: Future[Any] = Future()
        self._how(lost)
        return lost


def gone(task: Future[Any]) -> None:
    task.set_exception(RuntimeError("the host is gone"))


@pytest.mark.parametrize("lose", [gone, Future.cancel])
def test_a_shard_that_was_lost_runs_again_after_the_delay(
    tables: Tables, lose: Callable[[Future[Any]], object]
) -> None:
    seen: list[Event] = []
    config = replace(CONFIG, retries_delay=0.15)
    with Losing(2, lose) as engine:
        report = copy(tables.pool(), config, engine, observer=seen.append)
    tables.assert_equal()
    assert (report.done, report.rows, report.again) == (5, 50, 2)
    lost = {e.shard: e.at for e in seen if isinstance(e, ShardEnded) and e.again}
    again = {e.shard: e.at for e in seen if isinstance(e, ShardStarted) and e.attempt == 2}
    assert lost.keys() == again.keys()
    assert all(again[shard] - lost[shard] >= 0.15 for shard in lost)
    assert at_once(seen) == 2  # of the eight that the engine has
    first = [e for e in seen if isinstance(e, ShardStarted) and e.attempt == 1]
    ids = [event.last - event.first for event in first]
    assert ids == sorted(ids, reverse=True)


def at_once(seen: list[Event]) -> int:
    """Return how many shards were under way at once, at most."""
    most = under_way = 0
    for event in seen:
        under_way += isinstance(event, ShardStarted) - isinstance(event, ShardEnded)
        most = max(most, under_way)
    return most


def test_a_shard_that_is_lost_too_often_ends_the_run(tables: Tables) -> None:
    config = replace(CONFIG, retries_delay=0)
    with Losing(99, gone) as engine, pytest.raises(WorkerCrashedError) as raised:
        copy(tables.pool(), config, engine, jobs=1, shard_retries=2)
    assert str(raised.value).endswith("was lost 3 times: RuntimeError: the host is gone")
    assert str(raised.value).startswith("shard ")
    assert raised.value.passes
    copy(tables.pool(), run=raised.value.report.run_id)
    tables.assert_equal()


class Forgetful(ThreadPoolExecutor):
    """Runs each task as if elsewhere, and loses how it ended."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        super().submit(fn, *pickle.loads(pickle.dumps(args)), **kwargs)
        return Future()


def test_a_shard_that_is_done_is_done_if_the_engine_loses_its_result(tables: Tables) -> None:
    config = replace(CONFIG, call_timeout=3, max_rate_rows=1000.0)
    with Forgetful(8) as engine:
        report = copy(tables.pool(), config, engine, shards=2, shard_retries=0)
    tables.assert_equal()
    assert (report.done, report.rows, report.again) == (2, 50, 0)


class Shut(Executor):
    """Takes no task."""

    def submit(self, *_: Any) -> Future[Any]:  # type: ignore[override]  # it looks at none
        raise RuntimeError("cannot schedule new futures after shutdown")


def test_an_engine_that_takes_no_task_ends_the_run(tables: Tables) -> None:
    with pytest.raises(WorkerCrashedError) as raised:
        copy(tables.pool(), CONFIG, Shut())
    run = raised.value.report.run_id
    assert str(raised.value) == (
        "the engine takes no more shards: RuntimeError: cannot schedule new futures after shutdown;"
        f" go on with the run on a new one (`run='{run}'`)"
    )
    assert copy(tables.pool(), run=run).done == 5


class Stuck(Executor):
    """Blocks as it is asked, or never runs what it took."""

    def __init__(self, *, blocks: bool) -> None:
        self._blocks = blocks
        self.freed = threading.Event()

    def submit(self, *_: Any) -> Future[Any]:  # type: ignore[override]  # it looks at none
        if self._blocks:
            self.freed.wait()
        return Future()


@pytest.mark.parametrize("stuck", ["as it is asked", "with its tasks"])
def test_the_limit_holds_whatever_the_engine_does(tables: Tables, stuck: str) -> None:
    engine = Stuck(blocks=stuck == "as it is asked")
    planned = plan(tables)
    with limited(SHORT) as raised:
        copy(tables.pool(), SHORT, engine, run=planned)
    assert str(raised[0]).startswith(
        "the whole copy reached its limit of 1.2 s; 0 of 5 shards are done: 0 rows in "
    )
    (run,) = runs_of(CONFIG, tables.pool(), "source", "target").runs
    assert run.state == "stopped"  # whatever it still begins can save nothing
    engine.freed.set()


def plan(tables: Tables, shards: int = 5) -> str:
    """Plan a run, so that a short limit is that of its shards alone."""
    return plan_sharded(CONFIG, tables.pool(), "source", "target", shards=shards).run_id


@contextmanager
def limited(config: Config) -> Iterator[list[PipecopyError]]:
    """See that the block reaches its limit, and ends in time."""
    raised: list[PipecopyError] = []
    began = time.monotonic()
    with pytest.raises(FullCopyTimeoutError) as error:
        yield raised
    assert time.monotonic() - began <= config.full_copy_timeout + LATE_COPY
    raised.append(error.value)


@pytest.mark.parametrize("stuck", ["plan", "save"])
def test_the_limit_holds_whatever_hangs(tables: Tables, stuck: str) -> None:
    run, gate = None, table_gate(tables.source)
    if stuck == "save":
        run, gate = plan(tables, shards=2), save_gate(tables.target, 14)
    config = replace(CONFIG, full_copy_timeout=1.5 if stuck == "plan" else 2)
    with gate, limited(config) as raised:
        copy(tables.pool(), config, run=run)
    message = str(raised[0])
    if stuck == "plan":
        assert " reached its limit of 1.5 s in the plan: attempt 1 of " in message
    else:
        call = "attempt 1 of target target: save_rows of ids [11, 21)"
        assert f" limit of 2 s in shard 0 (ids 0 to 25 of profiles): {call}" in message
        assert "; 1 of 2 shards are done: 35 rows in " in message
        report: ShardedReport = raised[0].report
        assert (report.rows, report.next_id) == (35, 11)
        assert tables.target.value(COUNT) == 35


def test_the_limit_holds_if_the_target_hangs(tables: Tables) -> None:
    config, planned = replace(CONFIG, full_copy_timeout=1.5), plan(tables)

    def freeze(event: Event) -> None:
        if isinstance(event, BatchSaved):
            tables.target.server.freeze()

    with limited(config) as raised:
        copy(tables.pool(), config, run=planned, observer=freeze)
    tables.target.server.resume()
    see_sessions_gone(tables)
    assert raised[0].side in {"target", None}


def test_an_attempt_that_waited_for_its_turn_ends_with_the_run(tables: Tables) -> None:
    planned = plan(tables)
    now = tables.target.value("SELECT extract(epoch FROM clock_timestamp())::float8")
    task = ShardTask(
        pool=pickle_pool(tables.pool()),
        from_name="source",
        to_name="target",
        config=CONFIG,
        ends=now + 1,
        run=planned,
        number=3,
        table="profiles",
        known={},
    )
    with save_gate(tables.target, 33):
        began = time.monotonic()
        result = run_shard(task)
    assert isinstance(result.error, FullCopyTimeoutError)
    assert time.monotonic() - began <= 1 + LATE_COPY


# -- processes


def attempt_at(tables: Tables, gate: Gate) -> psutil.Process:
    """Return the engine's process whose attempt waits at the gate."""
    pid = gate.arrival()
    (session,) = [each for each in tables.target.sessions() if each["pid"] == pid]
    named = read_name(session["application_name"])
    assert named is not None
    assert named.pid is not None
    return psutil.Process(named.pid)


@contextmanager
def frozen(host: psutil.Process) -> Iterator[None]:
    """Stop a process with all that it has started, as a host that is frozen."""
    tree = [host, *host.children(recursive=True)]
    for process in tree:
        process.suspend()
    try:
        yield
    finally:
        for process in tree:
            if process.is_running():
                process.resume()


def run_sessions(tables: Tables) -> list[dict[str, Any]]:
    return [
        session
        for database in (tables.source, tables.target)
        for session in database.server.sessions("pipecopy/", dbname=database.name)
    ]


def see_sessions_gone(tables: Tables) -> None:
    deadline = time.monotonic() + 3
    while left := run_sessions(tables):
        assert time.monotonic() < deadline, left
        time.sleep(0.01)  # pg_stat_activity sends no events


def test_a_silent_attempt_is_given_up_and_run_elsewhere(tables: Tables) -> None:
    config, planned = replace(CONFIG, call_timeout=1.5, retries_delay=0), plan(tables)
    seen: list[Event] = []
    with (
        processes(2) as executor,
        ThreadPoolExecutor(1) as thread,
        save_gate(tables.target, 33) as gate,
    ):
        run = thread.submit(
            copy, tables.pool(), config, executor, run=planned, observer=seen.append
        )
        with frozen(attempt_at(tables, gate)):
            gate.lift()
            report = run.result()
            see_sessions_gone(tables)
            assert (report.done, report.rows, report.again) == (5, 50, 1)
            tables.source.execute("UPDATE profiles SET data = '{\"new\": 1}'")
            copied = tables.rows("target")
    assert tables.rows("target") == copied  # the late one has saved nothing
    (lost,) = [e for e in seen if isinstance(e, ShardEnded) and e.again]
    assert lost.detail.startswith(f"nothing was heard of {lost.host} for ")
    tables.source.execute("DROP TABLE profiles")


def test_sessions_are_gone_when_the_run_ends_also_if_a_shard_is_locked(tables: Tables) -> None:
    config, stop = replace(CONFIG, grace=0), threading.Event()
    with (
        processes(1) as executor,
        ThreadPoolExecutor(1) as thread,
        save_gate(tables.target, 33) as gate,
        tables.target.connect() as holder,
    ):
        run = thread.submit(copy, tables.pool(), config, executor, stop=stop)
        gate.arrival()
        holder.execute("BEGIN; SELECT FROM pipecopy_shards WHERE state = 'running' FOR UPDATE")
        gate.lift()
        stop.set()
        with pytest.raises(StoppedError):
            run.result()
        see_sessions_gone(tables)


def test_sessions_of_a_frozen_host_are_gone_when_the_run_ends(tables: Tables) -> None:
    config, stop = replace(CONFIG, grace=0), threading.Event()
    with (
        processes(1) as executor,
        ThreadPoolExecutor(1) as thread,
        save_gate(tables.target, 33) as gate,
    ):
        run = thread.submit(copy, tables.pool(), config, executor, stop=stop)
        with frozen(attempt_at(tables, gate)):
            stop.set()
            with pytest.raises(StoppedError):
                run.result()
            see_sessions_gone(tables)


def test_a_process_of_the_engine_that_dies_ends_the_run(tables: Tables) -> None:
    with (
        processes(1) as executor,
        ThreadPoolExecutor(1) as thread,
        save_gate(tables.target, 33) as gate,
    ):
        run = thread.submit(copy, tables.pool(), CONFIG, executor)
        attempt_at(tables, gate).send_signal(signal.SIGKILL)
        with pytest.raises(WorkerCrashedError) as raised:
            run.result()
        see_sessions_gone(tables)
    assert str(raised.value).startswith("the engine takes no more shards: BrokenProcessPool: ")
    report: ShardedReport = raised.value.report
    assert report.rows == tables.target.value(COUNT)
    copy(tables.pool(), run=report.run_id)
    tables.assert_equal()


class RunningAgain(ThreadPoolExecutor):
    """Runs a task again whose process has died, and tells nobody, as Dask's scheduler does."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(self._run, fn, *args, **kwargs)

    def _run(self, fn: Callable[..., Any], *args: Any) -> Any:
        while True:
            with suppress(BrokenProcessPool), processes(1) as executor:
                return executor.submit(fn, *args).result()


def test_an_engine_that_runs_a_shard_again_does_so_at_most_as_often_as_the_run_may(
    tables: Tables,
) -> None:
    planned = plan(tables, shards=1)
    tables.target.execute("UPDATE pipecopy_shards SET attempt = 7")  # of runs before
    with RunningAgain(1) as engine, ThreadPoolExecutor(1) as thread:
        with save_gate(tables.target, 5) as gate:
            run = thread.submit(copy, tables.pool(), CONFIG, engine, run=planned, shard_retries=1)
            for attempt in (8, 9):
                wait_until(tables, f"attempt = {attempt}")
                attempt_at(tables, gate).send_signal(signal.SIGKILL)
            with pytest.raises(WorkerCrashedError) as raised:
                run.result()
        see_sessions_gone(tables)
    assert str(raised.value) == (
        "shard 0 (ids 0 to 50 of profiles): it was claimed 2 times, and lost each time; see in the"
        " logs of the engine and of its hosts why, or allow more attempts (`shard_retries`)"
    )
    assert copy(tables.pool(), run=planned).done == 1


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_a_stop_finishes_the_batches_in_flight(tables: Tables, engine: str) -> None:
    stop = threading.Event()
    with processes(1) as executor, ThreadPoolExecutor(1) as thread:
        with save_gate(tables.target, 13) as gate:
            run = thread.submit(
                copy,
                tables.pool(),
                replace(CONFIG, batch_size=2),
                None if engine == "threads" else executor,
                jobs=1,
                shards=2,
                stop=stop,
            )
            gate.arrival()
            stop.set()
            if engine == "processes":
                wait_until(tables, "state = 'stopping'")
        with pytest.raises(StoppedError) as raised:
            run.result()
    report: ShardedReport = raised.value.report
    assert report.rows == tables.target.value(COUNT)
    assert tables.target.value("SELECT count(*) FROM profiles WHERE id = 13") == 1
    assert report.next_id in {15, 16}
    assert report.done == 0
    copy(tables.pool(), run=report.run_id)
    tables.assert_equal()


def wait_until(tables: Tables, is_so: str) -> None:
    """Wait until the ledger says so of a shard."""
    deadline = time.monotonic() + 10
    while not tables.target.value(f"SELECT count(*) FROM pipecopy_shards WHERE {is_so}"):
        assert time.monotonic() < deadline, f"no shard has {is_so}"
        time.sleep(0.01)  # the ledger sends no events


def test_an_error_names_its_shard_and_the_report_is_exact(tables: Tables) -> None:
    tables.target.execute("ALTER TABLE profiles ADD CHECK (id <> 33)")
    with pytest.raises(DatabaseError) as raised:
        copy(tables.pool(), replace(CONFIG, batch_size=3))
    assert str(raised.value).startswith("shard 3 (ids ")
    assert " of profiles): target target: save_rows of " in str(raised.value)
    report: ShardedReport = raised.value.report
    assert report.rows == tables.target.value(COUNT)
    (table,) = report.tables
    assert (table.rows, table.done) == (report.rows, report.done)
    below = f"SELECT count(*) FROM profiles WHERE id < {table.next_id}"
    assert tables.target.value(below) == table.next_id - 1
    assert report.again == 0
    tables.target.execute("DROP TABLE pipecopy_shards")
