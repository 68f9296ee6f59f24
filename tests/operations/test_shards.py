"""copy_sharded: a table is copied in ranges of ids, several at once, by any engine."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipecopy import Config, ShardedReport, copy_sharded, drop_run, plan_sharded
from pipecopy.errors import DatabaseError, StoppedError
from pipecopy.events import BatchSaved, CallEnded, Event, Paused, RetryScheduled
from pipecopy.postgres import PostgresPool
from tests.support.checks import Tables
from tests.support.databases import Both
from tests.support.executors import processes
from tests.support.runs import CONFIG

REFUSE_ONCE = """
    CREATE SEQUENCE tries;
    CREATE FUNCTION refuse_once() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
        IF nextval('tries') = 1 THEN RAISE 'not now' USING ERRCODE = 'lock_not_available'; END IF;
        RETURN NULL;
    END$$;
    CREATE TRIGGER refuse_once AFTER INSERT ON profiles EXECUTE FUNCTION refuse_once()
"""
"""The first save times out, as by a lock's."""
COUNT = "SELECT count(*) FROM profiles"
ALL = "SELECT array_agg(p::text ORDER BY id) FROM profiles p"
LEDGER = "SELECT to_regclass('pipecopy_shards')"


def copy(pool: PostgresPool, config: Config = CONFIG, **how: Any) -> ShardedReport:
    return copy_sharded(config, pool, "source", "target", **{"shards": 5, "jobs": 2, **how})


def test_all_rows_are_copied_once_and_the_ledger_is_gone(
    tables: Tables, postgres_pool: PostgresPool
) -> None:
    report = copy(postgres_pool)
    assert tables.target.value(ALL) == tables.source.value(ALL)
    assert (report.shards, report.done, report.rows) == (5, 5, 50)
    assert tables.target.value(LEDGER) is None


@pytest.mark.parametrize("engine", [ThreadPoolExecutor, processes])
def test_any_executor_is_an_engine(
    tables: Tables, postgres_pool: PostgresPool, engine: Any
) -> None:
    tables.target.execute(REFUSE_ONCE)
    events: list[Event] = []
    with engine(2) as executor:
        retrying = replace(CONFIG, max_retries=1)
        report = copy(postgres_pool, retrying, executor=executor, observer=events.append)
    assert report.done == report.shards == 5
    assert tables.target.value(COUNT) == 50
    saves = [event for event in events if isinstance(event, BatchSaved)]
    assert {event.shard for event in saves} == set(range(5))
    assert {event.host for event in saves} == {os.uname().nodename}
    assert sum(event.rows for event in saves) == 50
    (failed,) = (e for e in events if isinstance(e, CallEnded) and e.outcome == "timed out")
    (retry,) = (event for event in events if isinstance(event, RetryScheduled))
    (then,) = (e for e in events if isinstance(e, CallEnded) and e.where.attempt == 2)
    assert failed.shard == retry.shard == then.shard is not None


class Elsewhere(ThreadPoolExecutor):
    """Each task travels as to another host, whose results have three events at most."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        (task,) = args
        return super().submit(fn, replace(pickle.loads(pickle.dumps(task)), most_events=3))


def test_events_that_do_not_travel_with_a_result_are_told_of_once(tables: Tables) -> None:
    with Elsewhere(2) as executor:
        report = copy(tables.pool(), executor=executor)
    assert report.done == 5
    (warning,) = report.warnings
    assert warning.startswith("a shard that another process copied had more events than travel")


def test_a_run_goes_on_with_what_is_not_done(both: Both, tables: Tables) -> None:
    tables.target.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
        " IF NEW.id = 33 THEN RAISE 'not this one'; END IF; RETURN NEW; END$$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON profiles FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    pool = PostgresPool({"source": both.source.uri, "target": both.target.uri})
    with pytest.raises(DatabaseError, match="not this one") as raised:
        copy(pool, jobs=1)
    before: ShardedReport = raised.value.report
    assert before.done < 5
    assert before.rows == tables.target.value(COUNT)
    tables.target.execute("DROP TRIGGER refuse ON profiles")
    report = copy(pool, run=before.run_id)
    assert (report.run_id, report.done, report.rows) == (before.run_id, 5, 50)
    assert tables.target.value(COUNT) == 50
    assert tables.target.value(LEDGER) is None


def test_a_run_of_the_table_that_is_not_complete_is_waited_for(tables: Tables) -> None:
    pool, waits = tables.pool(), threading.Event()
    run = plan_sharded(CONFIG, pool, "source", "target", shards=2).run_id

    def observe(event: Event) -> None:
        if isinstance(event, Paused) and f"held by the sharded run {run}" in event.detail:
            waits.set()

    config = replace(CONFIG, wait=True)
    with ThreadPoolExecutor(1) as threads:
        copying = threads.submit(
            copy_sharded, config, pool, "source", "target", shards=2, jobs=2, observer=observe
        )
        assert waits.wait(20)
        drop_run(CONFIG, pool, "source", "target", run=run)
        assert copying.result().done == 2
    tables.assert_equal()


class _Late(PostgresPool):
    """The return of a plan that the ledger has does not come; a FIFO tells when it has it."""

    fifo: Path

    def connect(self, name: str) -> Any:
        database = super().connect(name)
        plan = database.plan_shards

        def plan_shards(shards: Any) -> None:
            plan(shards)
            self.fifo.write_text("planned", encoding="utf-8")
            threading.Event().wait()

        database.plan_shards = plan_shards  # type: ignore[method-assign]
        return database


@pytest.mark.parametrize("function", [copy_sharded, plan_sharded])
def test_a_run_that_is_stopped_while_it_is_planned_is_not_in_the_ledger(
    tables: Tables, tmp_path: Path, function: Callable[..., Any]
) -> None:
    pool, stop = (
        _Late({"source": tables.source.uri, "target": tables.target.uri}),
        threading.Event(),
    )
    pool.fifo = tmp_path / "fifo"
    os.mkfifo(pool.fifo)
    jobs = {"jobs": 1} if function is copy_sharded else {}
    with ThreadPoolExecutor(1) as threads:
        ended = threads.submit(
            function, CONFIG, pool, "source", "target", shards=2, stop=stop, **jobs
        )
        assert pool.fifo.read_text(encoding="utf-8") == "planned"
        assert tables.target.value("SELECT count(*) FROM pipecopy_shards") == 2
        stop.set()
        with pytest.raises(StoppedError):
            ended.result()
    assert tables.target.value(LEDGER) is None
