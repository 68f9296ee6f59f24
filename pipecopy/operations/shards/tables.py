"""What comes once for each table of a sharded run, before its shards and after them.

Each step is a supervised run of its own, in a thread; it has what is left of the whole run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from pipecopy.contracts import Side
from pipecopy.errors import FullCopyTimeoutError
from pipecopy.events import Event, Observer, RunEnded, RunStarted, Warned
from pipecopy.operations.copy import analyze, finish
from pipecopy.operations.fit import fit
from pipecopy.operations.parts import (
    by_plan,
    left_for_parts,
    new_part,
    of_whole_run,
    on_each,
    warn_once,
)
from pipecopy.operations.shards.plan import TableCopy, TablePlan, plan_table
from pipecopy.report import CopyReport
from pipecopy.supervisor.run import Run
from pipecopy.supervisor.supervise import NOTHING_KNOWN, supervise

Made = TypeVar("Made")
Item = TypeVar("Item")


class TableSteps:
    """Those of one run."""

    def __init__(
        self, run: Run[Any], names: tuple[str, str], observer: Observer, *, jobs: int
    ) -> None:
        """So many `jobs` are under way at once, at most."""
        self._run, self._names, self._observer, self.jobs = run, names, observer, jobs
        self._abort = threading.Event()

    def plan(self, tables: Sequence[TableCopy], parts: Sequence[int]) -> list[TablePlan]:
        """Plan each table, for at most so many shards. Raises the error of the first that fails."""
        each = list(zip(tables, parts, strict=True))
        return self._on_each("the plan", each, self._plan)

    def finish(self, tables: Iterable[tuple[TableCopy, TablePlan]]) -> None:
        """Set the sequence of each table, and analyze it. Raises as `plan` does."""
        self._on_each("the last steps", list(tables), self._finish)

    def abort(self) -> None:
        """Have the steps end at once."""
        self._abort.set()

    def _plan(self, asked: tuple[TableCopy, int]) -> tuple[TablePlan, tuple[str, ...]]:
        table, parts = asked
        found: list[TablePlan] = []
        warnings = self._on_table(table, lambda run: found.append(plan_table(run, table, parts)))
        return found[0], warnings

    def _finish(self, planned: tuple[TableCopy, TablePlan]) -> tuple[None, tuple[str, ...]]:
        table, plan = planned

        def operate(run: Run[CopyReport]) -> None:
            run.connect()
            fit(run)
            finish(run, plan.max_id)
            analyze(run)

        at_once = replace(table, config=replace(table.config, wait=False))
        # the source has been read: the target has to be what the shards were saved to
        known: Mapping[Side, Mapping[str, Any]] = {"target": plan.known["target"]}
        with by_plan(self._run.report.run_id):
            return None, self._on_table(at_once, operate, known)

    def _on_table(
        self,
        table: TableCopy,
        operation: Callable[[Run[CopyReport]], None],
        known: Mapping[Side, Mapping[str, Any]] = NOTHING_KNOWN,
    ) -> tuple[str, ...]:
        """Return the warnings."""
        left = max(0.001, left_for_parts(self._run))
        return supervise(
            operation,
            replace(CopyReport.of(table.pool, *self._names), run_id=self._run.report.run_id),
            replace(table.config, full_copy_timeout=left),
            table.pool,
            self._names,
            mode="copy",
            writes=True,
            observer=lambda event: self._observe(replace(event, table=table.name)),
            abort=self._abort,
            part=new_part("table"),
            known=known,
        ).warnings

    def _observe(self, event: Event) -> None:
        if not isinstance(event, RunStarted | RunEnded | Warned):
            self._observer(event)

    def _on_each(
        self,
        what: str,
        items: Sequence[Item],
        step: Callable[[Item], tuple[Made, tuple[str, ...]]],
    ) -> list[Made]:
        def took(made: tuple[Made, tuple[str, ...]]) -> None:
            warn_once(self._run, made[1])

        try:
            made = on_each(self._run, items, step, jobs=self.jobs, took=took)
        except FullCopyTimeoutError as error:
            raise of_whole_run(self._run, error, what) from error
        return [each for each, _ in made]
