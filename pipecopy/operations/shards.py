"""copy_sharded: plan the shards of a table, or of many, drive them on any engine, and finish.

The engine is a `concurrent.futures.Executor`, and nothing is asked of it but to run each task at
least once: the ledger on the target sees to the rest.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_all
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pipecopy.config import Config, bad_ids
from pipecopy.contracts import ConnectionPool
from pipecopy.errors import (
    ConfigError,
    DatabaseError,
    HostError,
    PipecopyError,
    WorkerCrashedError,
)
from pipecopy.events import (
    Event,
    Observer,
    RunEnded,
    RunStarted,
    ShardEnded,
    ShardOutcome,
    ShardProgress,
    ShardsKnown,
    ShardStarted,
    Warned,
)
from pipecopy.operations.copy import analyze, finish
from pipecopy.operations.fit import fit
from pipecopy.operations.plan import (
    TableCopy,
    TablePlan,
    plan_table,
    refuse_without_ledger,
    shards_of,
)
from pipecopy.operations.shard import InProcess, ShardResult, ShardTask, run_shard
from pipecopy.report import CopyReport
from pipecopy.shard import Part, Shard
from pipecopy.sharded import ShardedReport, ShardedTable
from pipecopy.supervisor.endpoints import IdleEndpoints
from pipecopy.supervisor.run import Run
from pipecopy.supervisor.state import CutShortError
from pipecopy.supervisor.supervise import supervise
from pipecopy.workers.script import pickle_pool

Made = TypeVar("Made")

_LOOK = 1.0
"""Seconds between two looks at the ledger for shards whose events do not come while they run."""
_RESERVE = 0.15
"""Seconds before the limit of the whole run at which its end begins: the sessions of all hosts are
ended within the limit."""
_LAST_WORDS = 1.0
"""Seconds in which the ledger is told of the end, and the sessions of all hosts are ended."""
_SHARDS_IN_FLIGHT = "the batches in flight"


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
        shard_retries: how often a shard is run again that was lost or crashed, at least 0.
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
    return copy_tables(config, [table], from_name, to_name, how)


@dataclass(frozen=True, kw_only=True)
class How:
    """How a sharded run goes: see `copy_sharded`."""

    shards: int
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
                ("shards", self.shards, 1),
                ("jobs", self.jobs, 1),
                ("shard_retries", self.shard_retries, 0),
            )
            if isinstance(value, bool) or not isinstance(value, int) or value < least
        ]
        if self.executor is not None and not callable(getattr(self.executor, "submit", None)):
            bad.append("executor must be a concurrent.futures.Executor")
        if bad:
            raise ConfigError("; ".join(bad))


def copy_tables(
    config: Config, tables: Sequence[TableCopy], from_name: str, to_name: str, how: How
) -> ShardedReport:
    """Copy several tables from one database to another in one run, as `copy_sharded` does one.

    The whole run has the limits of `config`, and each table those of its own.
    """
    bad = [wrong for table in tables for wrong in bad_ids(table.from_id, table.to_id)]
    if bad:
        raise ConfigError("; ".join(bad))
    first = tables[0].pool
    report = ShardedReport.of(first, from_name, to_name)
    if how.run is not None:
        report = replace(report, run_id=how.run)
    driver = _Driver(tables, (from_name, to_name), how)
    unpaced = replace(config, max_rate_bytes=None, max_rate_rows=None, pause_file=None)
    return supervise(
        driver.operate,
        report,
        replace(unpaced, max_lag=None, max_load=None),  # the shards keep to them
        first,
        (from_name, to_name),
        mode="copy",
        writes=True,
        observer=how.observer,
        stop=how.stop,
        part=_part("run"),
    )


def _part(role: Any) -> Part:
    return Part(role=role, token=os.urandom(3).hex())


@dataclass
class _Attempt:
    """An attempt of a shard that is under way."""

    shard: Shard
    of_run: int
    """1 for the first of this run."""


class _Driver:
    """Drives one run. All but `_observe` is for the thread of the run alone."""

    def __init__(self, tables: Sequence[TableCopy], names: tuple[str, str], how: How) -> None:
        self._tables = tables
        self._names = names
        self._how = how
        self._plans: dict[str, tuple[TableCopy, TablePlan]] = {}
        """By the table's name in the ledger."""
        self._shards: dict[int, Shard] = {}
        """As they are now, as far as is known."""
        self._results: list[ShardResult] = []
        self._stop, self._abort = threading.Event(), threading.Event()
        """For what runs in this process."""
        self._idle = IdleEndpoints()
        self._own = ThreadPoolExecutor(how.jobs, "pipecopy-shard")
        self._under_way: dict[Future[ShardResult], _Attempt] = {}
        self._live: set[int] = set()
        """The shards whose events come while they run."""
        self._looked = 0.0
        self._run: Run[ShardedReport]

    def operate(self, run: Run[ShardedReport]) -> None:
        """Plan, drive, finish."""
        self._run = run
        try:
            self._operate(run)
        except (PipecopyError, CutShortError):
            self._end(run)
            raise
        finally:
            self._abort.set()
            self._own.shutdown(wait=False, cancel_futures=True)
            self._idle.dismiss()

    def _operate(self, run: Run[ShardedReport]) -> None:
        run.connect()
        refuse_without_ledger(run)
        run.call(run.target, "hold_run", run.report.run_id)
        shards = self._plan(run) if self._how.run is None else self._go_on(run)
        self._shards = {shard.shard: shard for shard in shards}
        self._count(run)
        rows = [plan.rows for _, plan in self._plans.values()]
        run.notify(
            ShardsKnown(
                shards=tuple(replace(shard, plan=None) for shard in shards),
                jobs=self._how.jobs,
                estimated_rows=None if None in rows else sum(row or 0 for row in rows),
            )
        )
        self._drive(run)
        with run.last_steps():
            self._on_each_table("finish", self._finish_table)
            run.call(run.target, "drop_run", run.report.run_id)

    # -- before and after the shards

    def _plan(self, run: Run[ShardedReport]) -> list[Shard]:
        plans: list[TablePlan] = self._on_each_table("plan", self._plan_table)
        self._plans = {
            plan.table: (table, plan) for table, plan in zip(self._tables, plans, strict=True)
        }
        shards = shards_of(run.report.run_id, plans)
        if shards:
            run.call(run.target, "plan_shards", shards)
        return shards

    def _plan_table(self, table: TableCopy) -> TablePlan:
        found: list[TablePlan] = []
        parts = max(1, self._how.shards // len(self._tables))
        self._on_table(table, lambda run: found.append(plan_table(run, table, parts)))
        return found[0]

    def _go_on(self, run: Run[ShardedReport]) -> list[Shard]:
        run_id = run.report.run_id
        shards: list[Shard] = run.call(run.target, "shards", run_id)
        if not shards:
            raise ConfigError(f"the ledger of {run.target} has no run {run_id}")
        plans = [TablePlan.of_plain(s.table, s.plan) for s in shards if s.plan is not None]
        for plan in plans:
            table = next((t for t in self._tables if t.selection == plan.selection), None)
            if table is None:
                raise ConfigError(
                    f"run {run_id} was planned for {plan.selection}, which is not what is asked"
                    " for now"
                )
            self._plans[plan.table] = (table, plan)
        run.call(run.target, "open_shards", run_id)
        return shards

    def _finish_table(self, table: TableCopy) -> None:
        plan = next(plan for one, plan in self._plans.values() if one is table)

        def operate(run: Run[CopyReport]) -> None:
            run.connect()
            fit(run)
            finish(run, plan.max_id)
            analyze(run)

        self._on_table(table, operate)

    def _on_table(self, table: TableCopy, operation: Callable[[Run[CopyReport]], None]) -> None:
        run = self._run
        report = replace(CopyReport.of(table.pool, *self._names), run_id=run.report.run_id)
        supervise(
            operation,
            report,
            replace(table.config, full_copy_timeout=max(0.001, self._left())),
            table.pool,
            self._names,
            mode="copy",
            writes=True,
            observer=lambda event: self._observe(replace(event, table=report.table)),
            abort=self._abort,
            part=_part("table"),
        )

    def _on_each_table(self, what: str, step: Callable[[TableCopy], Made]) -> list[Made]:
        """Take a step on each table, so many at once; raises the error of the first that fails."""
        run = self._run
        futures = [self._own.submit(step, table) for table in self._tables]
        for future in futures:
            future.add_done_callback(lambda _: run.wake())
        while not all(future.done() for future in futures):
            self._pause(lambda: all(future.done() for future in futures))
            for future in futures:
                if future.done():
                    future.result()
        del what
        return [future.result() for future in futures]

    # -- the shards

    def _drive(self, run: Run[ShardedReport]) -> None:
        waiting = deque(
            _Attempt(shard, 1)
            for shard in sorted(self._shards.values(), key=lambda shard: -shard.ids)
            if shard.state != "done"
        )
        with run.unit(_SHARDS_IN_FLIGHT):
            while self._under_way or (waiting and not run.stopping):
                while waiting and len(self._under_way) < self._how.jobs and not run.stopping:
                    self._submit(waiting.popleft())
                self._pause(lambda: any(future.done() for future in self._under_way))
                if run.stopping:
                    self._stop.set()
                for future in [future for future in self._under_way if future.done()]:
                    again = self._ended(run, future, self._under_way.pop(future))
                    if again is not None:
                        waiting.append(again)
                self._look(run)
        if run.stopping and waiting:
            raise CutShortError

    def _submit(self, attempt: _Attempt) -> None:
        run, shard = self._run, attempt.shard
        table, plan = self._plans[shard.table]
        share = self._how.jobs
        config = replace(
            table.config,
            settle=0,
            wait=False,
            full_copy_timeout=max(0.001, self._left()),
            max_rate_bytes=_share(table.config.max_rate_bytes, share),
            max_rate_rows=_share(table.config.max_rate_rows, share),
        )
        task = ShardTask(
            pool=pickle_pool(table.pool),
            from_name=self._names[0],
            to_name=self._names[1],
            config=config,
            run=run.report.run_id,
            number=shard.shard,
            table=self._name_of(shard),
            known=plan.known,
            here=InProcess(
                pool=table.pool,
                observer=self._observe,
                stop=self._stop,
                abort=self._abort,
                left=self._left,
                idle=self._idle,
            ),
        )
        executor = self._how.executor or self._own
        future = executor.submit(run_shard, task)
        self._under_way[future] = attempt
        future.add_done_callback(lambda _: run.wake())
        run.notify(
            ShardStarted(
                shard=shard.shard,
                table=task.table,
                first=shard.first,
                last=shard.last,
                next_id=shard.next_id,
                attempt=attempt.of_run,
            )
        )

    def _ended(
        self, run: Run[ShardedReport], future: Future[ShardResult], attempt: _Attempt
    ) -> _Attempt | None:
        """Take note of how an attempt ended; return the next one if the shard is run again."""
        result, error = _outcome(future)
        shard = self._shards[attempt.shard.shard]
        if result is not None:
            self._results.append(result)
            for event in result.events:
                self._observe(event)
            if result.shard is not None:
                rows = result.shard.rows + (0 if result.report is None else result.report.rows)
                next_id = shard.next_id if result.report is None else result.report.next_id
                shard = replace(shard, rows=rows, next_id=next_id, host=result.host)
        stopped = run.stopping and error is not None and not _is_serious(error)
        if error is None:
            shard = replace(shard, state="done", next_id=shard.last + 1)
        again = not stopped and error is not None and _runs_again(error)
        again = again and attempt.of_run <= self._how.shard_retries
        self._shards[shard.shard] = shard
        self._count(run, again=1 if again else 0)
        outcome: ShardOutcome = (
            "done" if error is None else "stopped" if stopped else "lost" if again else "failed"
        )
        run.notify(
            ShardEnded(
                shard=shard.shard,
                host=shard.host,
                table=self._name_of(shard),
                outcome=outcome,
                next_id=shard.next_id,
                rows=shard.rows,
                detail="" if error is None else str(error),
                attempt=attempt.of_run,
                again=again,
            )
        )
        if error is None or stopped:
            return None
        if not again:
            raise _own(error, shard)
        return _Attempt(shard, attempt.of_run + 1)

    def _look(self, run: Run[ShardedReport]) -> None:
        """Ask the ledger how far the shards are whose events do not come while they run."""
        under_way = {attempt.shard.shard for attempt in self._under_way.values()}
        if not under_way - self._live or run.clock.now() < self._looked + _LOOK:
            return
        for shard in run.call(run.target, "shards", run.report.run_id):
            before = self._shards[shard.shard]
            if shard.shard in under_way - self._live and shard != before:
                self._shards[shard.shard] = shard
                run.notify(
                    ShardProgress(
                        shard=shard.shard,
                        host=shard.host,
                        table=self._name_of(shard),
                        next_id=shard.next_id,
                        rows=shard.rows,
                    )
                )
        self._looked = run.clock.now()
        self._count(run)

    def _observe(self, event: Event) -> None:
        """Pass on an event of a shard, or of a step on a table."""
        run = self._run
        if event.shard is not None:
            self._live.add(event.shard)
        elif isinstance(event, Warned):
            run.warn(event.message)
            return
        elif isinstance(event, RunStarted | RunEnded):
            return
        run.notify(event)

    # -- the run

    def _name_of(self, shard: Shard) -> str | None:
        """Return the source's table of the shard, as the pool was told it."""
        table, _ = self._plans[shard.table]
        return getattr(table.pool, "table", None)

    def _left(self) -> float:
        return self._run.left - _RESERVE

    def _pause(self, ends: Callable[[], bool]) -> None:
        """Wait for news, for the next look at most. Raises FullCopyTimeoutError."""
        if self._left() <= 0:
            raise self._run.full_copy_timeout()
        self._run.pause(min(_LOOK, self._left()), ends)

    def _end(self, run: Run[ShardedReport]) -> None:
        """End what still runs, on all hosts: no attempt saves any more, and all sessions end."""
        self._abort.set()
        for future in self._under_way:
            future.cancel()
        run.cut_short()
        run_id = run.report.run_id
        limit = max(0.1, min(_LAST_WORDS, run.config.call_timeout, run.left - 0.05))
        with run.last_steps():
            if run.target.connected and self._shards:
                with suppress(PipecopyError, CutShortError):
                    run.call(run.target, "stop_shards", run_id, limit=limit, retry=False)
            ends = [
                run.begin(side, "end_run", run_id, limit=limit, retry=False)
                for side in run.endpoints.both
                if side.connected and self._shards
            ]
            with suppress(CutShortError):
                for _ in run.errors_of(ends):
                    pass
        mine = [future for future in self._under_way if not future.cancelled()]
        wait_for_all(mine, timeout=max(0.05, min(_LAST_WORDS, run.left)))

    def _count(self, run: Run[ShardedReport], *, again: int = 0) -> None:
        """Reckon the report anew."""
        tables = [self._table_report(name) for name in self._plans]
        only = tables[0] if len(tables) == 1 else None
        reports = [result.report for result in self._results if result.report is not None]
        told = {
            name: sum(getattr(report, name) for report in reports)
            for name in ("batches", "bytes", "calls", "timeouts", "kills", "retries")
        }
        run.update(
            shards=len(self._shards),
            done=sum(table.done for table in tables),
            again=run.report.again + again,
            rows=sum(table.rows for table in tables),
            tables=tuple(tables),
            first_id=0 if only is None else only.first_id,
            next_id=0 if only is None else only.next_id,
            max_id=None if only is None else only.max_id,
            **told,
        )

    def _table_report(self, name: str) -> ShardedTable:
        table, plan = self._plans[name]
        shards = sorted(
            (shard for shard in self._shards.values() if shard.table == name),
            key=lambda shard: shard.first,
        )
        not_done = next((shard for shard in shards if shard.state != "done"), None)
        return ShardedTable(
            table=getattr(table.pool, "table", None),
            target_table=getattr(table.pool, "target_table", None),
            first_id=plan.first_id,
            max_id=plan.max_id,
            next_id=plan.max_id + 1 if not_done is None else not_done.next_id,
            shards=len(shards),
            done=sum(shard.state == "done" for shard in shards),
            rows=sum(shard.rows for shard in shards),
        )


def _share(rate: float | None, jobs: int) -> float | None:
    return None if rate is None else rate / jobs


def _outcome(future: Future[ShardResult]) -> tuple[ShardResult | None, BaseException | None]:
    """Return how an attempt ended, and what ended it; None if it copied its shard."""
    if future.cancelled():
        return None, RuntimeError("the engine has cancelled it")
    if (lost := future.exception()) is not None:
        return None, lost
    result = future.result()
    return result, result.error


def _is_serious(error: BaseException) -> bool:
    """Tell whether it is an error of its own, and not what a stop brings about."""
    return isinstance(error, PipecopyError) and not _runs_again(error)


def _runs_again(error: BaseException) -> bool:
    """Tell whether the shard was lost, or crashed: an error of the tables or of SQL ends the run.

    A time-out does as well: it had its retries. What passes by itself, but for a target that
    another copy holds, is a server that failed over, or a session that somebody ended.
    """
    if not isinstance(error, PipecopyError):
        return True  # the engine's: the host is gone, or the worker
    if isinstance(error, WorkerCrashedError | HostError):
        return True
    return isinstance(error, DatabaseError) and error.passes and not error.in_use


def _own(error: BaseException, shard: Shard) -> PipecopyError:
    if isinstance(error, PipecopyError):
        return error
    said = f": {error}" if str(error) else ""
    return WorkerCrashedError(
        f"shard {shard.shard} of {shard.table} was lost too often: {type(error).__name__}{said}"
    )
