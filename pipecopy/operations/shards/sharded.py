"""copy_sharded: plan the shards of a table, or of many, drive them on any engine, and finish."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial

from pipecopy.config import Config
from pipecopy.contracts import ConnectionPool
from pipecopy.errors import ConfigError, FullCopyTimeoutError
from pipecopy.events import Event, Observer, ShardsKnown, Warned
from pipecopy.operations.parts import call_of, last_words
from pipecopy.operations.shards.attempts import Attempts
from pipecopy.operations.shards.engine import Engine, warnings_of
from pipecopy.operations.shards.keeper import (
    ask_how_far,
    end_all,
    finish_tables,
    keep,
    make_plan,
    refuse_bad_tables,
    report_of,
)
from pipecopy.operations.shards.plan import TableCopy
from pipecopy.operations.shards.planned import (
    Planned,
    bad_run,
    planned,
    refuse_without_ledger,
    shards_of_run,
)
from pipecopy.operations.shards.references import order_text, references
from pipecopy.operations.shards.tables import TableSteps
from pipecopy.operations.shards.tally import Tally
from pipecopy.operations.turn import take_in_turn
from pipecopy.shard import Shard
from pipecopy.sharded import PlannedTable, PlanReport, ShardedReport
from pipecopy.supervisor.run import Run


def copy_sharded(
    config: Config,
    pool: ConnectionPool,
    from_name: str,
    to_name: str,
    *,
    shards: int,
    jobs: int,
    executor: Executor | None = None,
    shard_retries: int = 3,
    run: str | None = None,
    observer: Observer | None = None,
    from_id: int = 0,
    to_id: int | None = None,
    stop: threading.Event | None = None,
) -> ShardedReport:
    """Copy the table as `copy_table` does, in shards: ranges of ids, several at once.

    Args:
        config: the limits of the whole run and, but for `full_copy_timeout`, of each shard; the
            rates are those of all shards together.
        pool: opens databases by name; its target has to keep a ledger, as PostgreSQL's does, and
            needs a unique index on the key.
        from_name: the source's name, for the pool.
        to_name: the target's name, for the pool.
        shards: how many there are, at most; at least 1. More than `jobs` even out what the plan
            can't know.
        jobs: how many are copied at once, at most, whatever the engine has; at least 1.
        executor: the engine, which has to import pipecopy; None for threads of this process. It is
            not shut down.
        shard_retries: how often a shard is run again, after `Config.retries_delay`, that crashed or
            was lost with its host, worker, session or engine, at least 0. One that has claimed its
            shard in the ledger, and of which nothing is heard for longer than its calls may take,
            is lost too, but for a run that may be paused. Before that only the engine can tell.
        run: the run to go on with, by its `run_id`; None for a new one. Then `shards`, `from_id`
            and `to_id` are those of its plan.
        observer: is called with each event, in a thread of its own; those of a shard have its
            number and its host.
        from_id: the first id that is copied, at least 0.
        to_id: the last one, itself included; None for the source's greatest.
        stop: once another thread sets it, the batches in flight are loaded and saved, within
            `Config.grace`, and nothing else begins.

    Returns:
        How it went. All rows that were in the source when their batches were loaded, with ids up
        to `max_id`, are in the target, once, with equal values, durably; the ledger is gone.

    Raises what `copy_table` raises; a shard that was lost too often is the error that it was lost
    with. The run can be gone on with: its `run_id` is in the report on the error.

    """
    table = TableCopy(pool=pool, config=config, from_id=from_id, to_id=to_id)
    how = How(
        shards=shards,
        jobs=jobs,
        executor=executor,
        shard_retries=shard_retries,
        run=run,
        observer=observer,
        stop=stop,
    )
    return copy_all(config, [table], from_name, to_name, how)


@dataclass(frozen=True, kw_only=True)
class How:
    """How a sharded run goes: see `copy_sharded`."""

    shards: int | None
    """None: by the sizes of the tables, and by `jobs`."""
    jobs: int
    executor: Executor | None = None
    shard_retries: int = 3
    run: str | None = None
    observer: Observer | None = None
    stop: threading.Event | None = None

    def __post_init__(self) -> None:
        bad = [
            f"{name} must be an int of at least {least}, not {value!r}"
            for name, value, least in (
                ("shards", 1 if self.shards is None else self.shards, 1),
                ("jobs", self.jobs, 1),
                ("shard_retries", self.shard_retries, 0),
            )
            if isinstance(value, bool) or not isinstance(value, int) or value < least
        ]
        if self.executor is not None and not callable(getattr(self.executor, "submit", None)):
            bad.append("executor must be a concurrent.futures.Executor")
        if self.run is not None:
            bad += bad_run(self.run)
        if bad:
            raise ConfigError("; ".join(bad))


def copy_all(
    config: Config, tables: Sequence[TableCopy], from_name: str, to_name: str, how: How
) -> ShardedReport:
    """Copy these tables in one run; see `copy_tables`."""
    refuse_bad_tables(tables)
    if how.run is not None and any(table.is_range for table in tables):
        raise ConfigError(
            "`from_id` and `to_id` do not go with `run`: it keeps to the ids of its plan"
        )
    report = report_of(ShardedReport, tables, (from_name, to_name))
    if how.run is not None:
        report = replace(report, run_id=how.run)
    driver = _Driver(tables, (from_name, to_name), how)
    return keep(
        driver.operate,
        report,
        config,
        tables[0].pool,
        (from_name, to_name),
        observer=how.observer,
        stop=how.stop,
    )


def plan_sharded(
    config: Config,
    pool: ConnectionPool,
    from_name: str,
    to_name: str,
    *,
    shards: int,
    observer: Observer | None = None,
    from_id: int = 0,
    to_id: int | None = None,
    stop: threading.Event | None = None,
) -> PlanReport:
    """Plan the shards of a table, and write them into the ledger, for others to copy.

    Each is copied by `copy_shard`, on any host, or all by `copy_sharded` with `run`.

    Args:
        config: the limits of the plan, and how it waits (`settle`, `wait`).
        pool: opens databases by name; its target has to keep a ledger, as PostgreSQL's does.
        from_name: the source's name, for the pool.
        to_name: the target's name, for the pool.
        shards: how many there are, at most; at least 1.
        observer: is called with each event, in a thread of its own.
        from_id: the first id that is copied, at least 0.
        to_id: the last one, itself included; None for the source's greatest.
        stop: once another thread sets it, the plan is given up.

    Returns:
        The shards, and the `run_id` by which they are known.

    Raises what `copy_table` raises before its first batch; nothing was planned then.

    """
    table = TableCopy(pool=pool, config=config, from_id=from_id, to_id=to_id)
    how = How(shards=shards, jobs=1, observer=observer, stop=stop)
    return plan_all(config, [table], from_name, to_name, how)


def plan_all(
    config: Config, tables: Sequence[TableCopy], from_name: str, to_name: str, how: How
) -> PlanReport:
    """Plan these tables in one run, so many `jobs` at once; see `plan_tables`."""
    refuse_bad_tables(tables)
    names = (from_name, to_name)

    def operate(run: Run[PlanReport]) -> None:
        run.connect()
        refuse_without_ledger(run)
        run.call(run.target, "hold_run", run.report.run_id)
        steps = TableSteps(run, names, run.notify, jobs=how.jobs)
        try:
            plan = make_plan(run, steps, tables, how.shards)
        finally:
            steps.abort()
        for key in plan.references.keys:
            run.warn(order_text(key))
        shards = tuple(replace(shard, plan=None) for shard in plan.shards)
        run.update(
            shards=shards,
            tables=tuple(
                PlannedTable(
                    table=table.name,
                    target_table=table.target_name,
                    first_id=found.first_id,
                    max_id=found.max_id,
                    shards=sum(shard.table == name for shard in shards),
                    rows=found.rows,
                )
                for name, (table, found) in plan.tables.items()
            ),
        )

    report = report_of(PlanReport, tables, names)
    return keep(
        operate, report, config, tables[0].pool, names, observer=how.observer, stop=how.stop
    )


class _Driver:
    """Drives one run. All but `_observe` is for the thread of the run alone."""

    def __init__(self, tables: Sequence[TableCopy], names: tuple[str, str], how: How) -> None:
        self._tables = tables
        self._names = names
        self._how = how
        self._run: Run[ShardedReport]
        self._steps: TableSteps
        self._tally: Tally | None = None
        """None before the shards are known, as are the attempts."""
        self._attempts: Attempts | None = None

    def operate(self, run: Run[ShardedReport]) -> None:
        """Plan, or go on with what is planned; copy the shards; finish."""
        self._run = run
        self._steps = TableSteps(run, self._names, self._observe, jobs=self._how.jobs)
        try:
            self._operate(run)
        except FullCopyTimeoutError as error:
            self._end(run)
            # how far it came was heard just now
            raise run.full_copy_timeout(error.where, **call_of(error)) from error
        except Exception:
            self._end(run)
            raise
        finally:
            self._steps.abort()
            if self._attempts is not None:
                self._attempts.release()

    def _operate(self, run: Run[ShardedReport]) -> None:
        run.connect()
        refuse_without_ledger(run)
        for text in warnings_of(self._how.executor, run, self._tables[0].pool):
            run.warn(text)
        take_in_turn(run, partial(run.call, run.target, "hold_run", run.report.run_id))
        if self._how.run is None:
            plan = make_plan(run, self._steps, self._tables, self._how.shards)
        else:
            plan = planned(shards_of_run(run, run.report.run_id), self._tables)
            plan = replace(plan, references=references(run, list(plan.tables)))
            take_in_turn(run, partial(run.call, run.target, "open_shards", run.report.run_id))
        attempts, tally = self._begin(run, plan)
        while True:
            attempts.drive()
            if tally.again:
                end_all(run)  # what was lost may be left somewhere
            lost = finish_tables(run, self._steps, plan)
            if not lost:
                return
            attempts.begin_again(lost)

    def _begin(self, run: Run[ShardedReport], plan: Planned) -> tuple[Attempts, Tally]:
        tally = self._tally = Tally(plan)
        run.update(**tally.fields())
        run.notify(
            ShardsKnown(
                shards=tuple(replace(shard, plan=None) for shard in plan.shards),
                jobs=self._how.jobs,
                estimated_rows=plan.estimated_rows,
            )
        )
        attempts = self._attempts = Attempts(
            run,
            tally,
            self._names,
            Engine(self._how.executor, run.wake),
            jobs=self._how.jobs,
            retries=self._how.shard_retries,
            observer=self._observe,
            stop=self._how.stop,
            target_time=None if self._how.executor is None else _target_time(run),
        )
        return attempts, tally

    def _end(self, run: Run[ShardedReport]) -> None:
        """End what still runs, on all hosts, and see how far it came."""
        self._steps.abort()
        run.cut_short()
        if self._attempts is None or self._tally is None:
            return
        self._attempts.abort()
        end_all(run)
        self._attempts.wait(last_words(run))
        self._tally.heard(ask_how_far(run))
        run.update(**self._tally.fields())

    def _observe(self, event: Event) -> None:
        """Pass on an event of a shard, or of a step on a table; in any thread."""
        if not isinstance(event, Warned):  # the run warns once of what several have met
            self._run.notify(event)


def _target_time(run: Run[ShardedReport]) -> float:
    """Return the time by the target's clock."""
    shards: list[Shard] = run.call(run.target, "shards", run.report.run_id)
    return shards[0].read_at
