"""copy_shard: one shard of a planned run, by a process that some scheduler starts.

Whoever copies the last one finishes the run: no process is left that waits for them all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from pipecopy.config import Config
from pipecopy.contracts import ConnectionPool
from pipecopy.errors import ConfigError, DatabaseError, PipecopyError
from pipecopy.events import Observer
from pipecopy.operations.shards.keeper import finish_tables, keep
from pipecopy.operations.shards.plan import TableCopy
from pipecopy.operations.shards.planned import Planned, planned, refuse_bad_run, shards_of_run
from pipecopy.operations.shards.shard import InProcess, ShardAttempt, ShardTask
from pipecopy.operations.shards.tables import TableSteps
from pipecopy.report import CopyReport
from pipecopy.shard import Shard
from pipecopy.supervisor.run import Run
from pipecopy.supervisor.supervise import supervise


def copy_shard(
    config: Config,
    pool: ConnectionPool,
    from_name: str,
    to_name: str,
    *,
    run: str,
    shard: int,
    observer: Observer | None = None,
    stop: threading.Event | None = None,
) -> CopyReport:
    """Copy one shard of a run that `plan_sharded` has planned, or that `copy_sharded` began.

    It goes on where the attempt before it ended, also if the run was stopped; an attempt that is
    still under way elsewhere can save no more. If it is done already, nothing is copied. Whoever
    copies the last shard of a run does what comes once: the sequence and the statistics; and drops
    the run from the ledger.

    Args:
        config: the limits, of this shard alone and of what comes after the last one.
        pool: opens databases by name; it has to select what the run was planned for.
        from_name: the source's name, for the pool.
        to_name: the target's name, for the pool.
        run: the run, by its `run_id`.
        shard: its number, from 0 on.
        observer: is called with each event, in a thread of its own.
        stop: once another thread sets it, the batch in flight is loaded and saved, within
            `Config.grace`, and nothing else begins.

    Returns:
        How this attempt went: its `rows` are those that it has saved, from `first_id` on; or all of
        the shard's, if that was done before. `run_id` is the run's.

    Raises what `copy_table` raises; ConfigError as well if the ledger has no such run or shard, or
    the run was planned for something else. The ledger has the error, if the target can be reached.

    """
    refuse_bad_run(run)
    tables, names = [TableCopy(pool=pool, config=config)], (from_name, to_name)
    return OneShard(config, tables, names, run=run, number=shard).copy(observer, stop)


class OneShard:
    """One shard of a run of these tables, which are all that the run has."""

    def __init__(
        self,
        config: Config,
        tables: Sequence[TableCopy],
        names: tuple[str, str],
        *,
        run: str,
        number: int,
    ) -> None:
        self._config, self._tables, self._names = config, tables, names
        self._run_id, self._number = run, number
        self._began = time.monotonic()
        self._is_last = False
        """All shards were done when this one was."""

    def copy(self, observer: Observer | None, stop: threading.Event | None) -> CopyReport:
        """Copy it, and finish the run if it was the last; see `copy_shard`."""
        plan, shard = self._read(stop)
        if shard.state == "done":
            report = self._was_done(plan, shard, observer)
            self._is_last = all(each.state == "done" for each in plan.shards)
        else:
            report = self._copy(plan, shard, observer, stop)
        if self._is_last:  # also if that was asked to stop meanwhile: nobody else may come
            try:
                told = self._finish()
            except PipecopyError as error:
                error.report = report
                if not error.anew:
                    error.add(
                        f"all shards are done, and the run is not finished: run shard"
                        f" {self._number} again, or go on with `run='{self._run_id}'`"
                    )
                raise
            report = replace(report, warnings=tuple(dict.fromkeys((*report.warnings, *told))))
        return report

    def _read(self, stop: threading.Event | None) -> tuple[Planned, Shard]:
        found: list[tuple[Planned, Shard]] = []

        def operate(run: Run[CopyReport]) -> None:
            run.connect_target()
            plan = planned(shards_of_run(run, self._run_id), self._tables)
            shard = next((each for each in plan.shards if each.shard == self._number), None)
            if shard is None:
                raise ConfigError(
                    f"run {self._run_id} has no shard {self._number}: it has {len(plan.shards)},"
                    " from 0 on"
                )
            found.append((plan, shard))

        self._keep(operate, stop)
        return found[0]

    def _copy(
        self, plan: Planned, shard: Shard, observer: Observer | None, stop: threading.Event | None
    ) -> CopyReport:
        table, of_table = plan.tables[shard.table]
        task = ShardTask(
            pool=b"",
            from_name=self._names[0],
            to_name=self._names[1],
            config=replace(self._rest(table.config), settle=0, wait=False),
            run=self._run_id,
            number=self._number,
            table=table.name,
            known=of_table.known,
            stopped=True,
            here=InProcess(pool=table.pool, stop=stop),
        )
        observe = None if observer is None else lambda event: observer(task.own(event))
        return ShardAttempt(task).run(observe, then=self._look)

    def _look(self, run: Run[CopyReport]) -> None:
        shards = run.call(run.target, "shards", self._run_id)
        self._is_last = all(shard.state == "done" for shard in shards)

    def _was_done(self, plan: Planned, shard: Shard, observer: Observer | None) -> CopyReport:
        table, _ = plan.tables[shard.table]

        def operate(run: Run[CopyReport]) -> None:
            run.update(
                rows=shard.rows,
                inserted=None,
                updated=None,
                unchanged=None,
                first_id=shard.first,
                next_id=shard.next_id,
                max_id=shard.last,
            )

        report, config = self._report(table), self._rest(table.config)
        return supervise(
            operate, report, config, table.pool, self._names, mode="copy", observer=observer
        )

    def _finish(self) -> tuple[str, ...]:
        """Finish the run, unless another process does, or has; return the warnings."""

        def operate(run: Run[CopyReport]) -> None:
            run.connect_target()
            try:
                run.call(run.target, "hold_run", self._run_id)
            except DatabaseError as error:
                if error.in_use:
                    return
                raise
            shards: Sequence[Shard] = run.call(run.target, "shards", self._run_id)
            if not shards or not all(shard.state == "done" for shard in shards):
                return
            steps = TableSteps(run, self._names, run.notify, jobs=1)
            try:
                lost = finish_tables(run, steps, planned(shards, self._tables))
            finally:
                steps.abort()
            if lost:
                raise DatabaseError(
                    f"{run.target} has lost rows that were saved, as after a failover: shard"
                    f" {lost[0].shard} is not done",
                    sqlstate="08006",
                    side="target",
                )

        return self._keep(operate, None).warnings

    def _keep(
        self, operation: Callable[[Run[CopyReport]], None], stop: threading.Event | None
    ) -> CopyReport:
        table = self._tables[0]
        report, config = self._report(table), self._rest(self._config)
        return keep(operation, report, config, table.pool, self._names, observer=None, stop=stop)

    def _report(self, table: TableCopy) -> CopyReport:
        return replace(CopyReport.of(table.pool, *self._names), run_id=self._run_id)

    def _rest(self, config: Config) -> Config:
        """Return the limits with what is left of the whole."""
        left = self._config.full_copy_timeout - (time.monotonic() - self._began)
        return replace(config, full_copy_timeout=max(0.001, left))
