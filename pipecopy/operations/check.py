"""check_copy: both sides are looked at, read-only, and all that speaks against a copy is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pipecopy.arguments import bad_ids, bad_resume
from pipecopy.config import Config
from pipecopy.contracts import ConnectionPool, Fit, Mode, OpenTransaction, TableDescription
from pipecopy.errors import CallTimeoutError, ConfigError, DatabaseError, PipecopyError
from pipecopy.events import Observer
from pipecopy.operations.copy import Extent
from pipecopy.operations.findings import (
    columns_of,
    failed_call,
    fit_of,
    merged,
    own_items,
    plan_of,
    sentences,
    side_of,
    surveyed_items,
    transactions_item,
)
from pipecopy.operations.settle import CALL
from pipecopy.report import CheckColumn, CheckItem, CheckPlan, CheckReport, Outcome
from pipecopy.supervisor.seat import Seat
from pipecopy.supervisor.story import Stage
from pipecopy.supervisor.supervise import supervise
from pipecopy.supervisor.tally import Tally
from pipecopy.workers import Task


def check_copy(
    config: Config,
    pool: ConnectionPool,
    from_name: str,
    to_name: str,
    *,
    observer: Observer | None = None,
    resume: bool = False,
    from_id: int = 0,
    to_id: int | None = None,
) -> CheckReport:
    """Say whether `copy_table` with these arguments can start, and what it would do.

    Both sides are looked at, also where the other can't be reached; nothing is written, and no
    lock is taken that keeps others from the table. A call that fails is a problem in the report.

    Args:
        config: the limits of the copy; the check keeps to them too.
        pool: as for `copy_table`. What its databases offer besides the contract is asked:
            `describe`, `meet`, `survey`.
        from_name: the source's name, for the pool.
        to_name: the target's name, for the pool.
        observer: is called with each event, in a thread of its own.
        resume: as for `copy_table`, as are `from_id` and `to_id`.
        from_id: the first id.
        to_id: the last one, itself included; None for the source's greatest.

    Returns:
        What was found, each with a mark and what to do about it; `can_start`; and the plan.

    Raises:
        ConfigError: as from `copy_table`.
        FullCopyTimeoutError: the whole check reached the limit `full_copy_timeout`; the report on
            the error has what was found until then.

    """
    bad = bad_ids(from_id, to_id) + bad_resume(resume=resume, where=getattr(pool, "where", None))
    if bad:
        raise ConfigError("; ".join(bad))
    extent = Extent(from_id=from_id, to_id=to_id, resume=resume)
    story = _CheckStory(Tally.of(from_name, to_name), extent)
    return supervise(config, pool, from_name, to_name, story, observer=observer)


_SIDES = ("source", "target", None)
"""The order of the items."""


class _CheckStory:
    what = "check"
    mode: Mode = "check"
    writes = False
    deletes = False

    def __init__(self, tally: Tally, extent: Extent) -> None:
        self.tally = tally
        self._extent = extent
        self._items: list[CheckItem] = []
        self._columns: tuple[CheckColumn, ...] = ()
        self._plan: CheckPlan | None = None

    def tell(self, stage: Stage) -> None:
        """Connect to both, look at both tables, at how they fit, and at what a copy would do."""
        seats = self._connected(stage)
        if stage.target in seats:
            self._extent.refuse_target_without_ranges(stage.target)
        described = self._ask(stage, {s: Task("describe") for s in seats if "describe" in s.offers})
        for seat, table in described.items():
            self._items += own_items(seat.side, table)
        self._look_at_fit(stage, described)
        max_id = self._last_id(stage, seats)
        transactions = self._open_transactions(stage) if max_id else []
        resume_id = self._resume_id(stage, seats, max_id)
        first_id = self._extent.from_id if resume_id is None else resume_id
        resumed = resume_id is not None
        # the one row where a resumed copy begins is there, and tells nothing of all the others
        begins = {stage.source: first_id, stage.target: first_id + int(resumed)}
        surveys = self._surveys(stage, seats, described, begins, max_id)
        if transactions:  # those that end so soon are none to tell of
            transactions = self._open_transactions(stage, [each["id"] for each in transactions])
        if transactions:
            self._items.append(transactions_item(transactions, stage.run.config.settle))
        self._items = sorted(self._items, key=lambda item: _SIDES.index(item.side))
        if max_id is not None:
            self._plan = plan_of(
                stage.run.config,
                first_id=first_id,
                max_id=max_id,
                resume_id=resume_id,
                resumed=resumed,
                source=surveys.get(stage.source, {}),
                target=surveys.get(stage.target, {}),
                by_rows="end_of_batch" in stage.source.offers,
            )

    def _ask(
        self,
        stage: Stage,
        tasks: Mapping[Seat, Task],
        on_return: Callable[[Seat], None] = lambda _: None,
    ) -> dict[Seat, Any]:
        """Make calls on both sides at the same time; return what those returned that did not fail.

        A failing one becomes a problem. Raises what ends the whole check.
        """
        calls = {}
        failed = set()
        for seat, task in tasks.items():
            try:
                calls[seat] = stage.calls.begin(seat, task, on_return=partial(on_return, seat))
            except (CallTimeoutError, DatabaseError) as error:
                failed.add(self._failed(error))
        for call in calls.values():
            while not call.done:  # the other one's error may come first
                try:
                    stage.calls.wait(call)
                except (CallTimeoutError, DatabaseError) as error:
                    failed.add(self._failed(error))
        return {seat: call.value for seat, call in calls.items() if seat.side not in failed}

    def _failed(self, error: PipecopyError) -> str | None:
        self._items.append(failed_call(error))
        return side_of(error)

    def _connected(self, stage: Stage) -> list[Seat]:
        both = (stage.source, stage.target)
        connected = self._ask(stage, {seat: Task("connect") for seat in both}, self._reached)
        for seat, answer in connected.items():
            seat.offers = answer.offers
        return list(connected)

    def _reached(self, seat: Seat) -> None:
        self._items.append(
            CheckItem(side=seat.side, what="connect", mark="ok", message="It can be reached.")
        )

    def _look_at_fit(self, stage: Stage, described: Mapping[Seat, Any]) -> None:
        source, target = (described.get(seat) for seat in (stage.source, stage.target))
        if source is None or target is None:
            return
        meets = "meet" in stage.target.offers
        fit = fit_of(source, target, types=not meets)
        problems, warnings = [*fit.problems], [*fit.warnings]
        if _has_columns(source) and _has_columns(target):
            for seat, other in ((stage.target, source), (stage.source, target)):
                met = self._met(stage, seat, other)
                problems += met.problems
                warnings += met.warnings
        self._items += sentences(problems, "problem", None, "columns")
        self._items += sentences(warnings, "warning", None, "columns")
        self._columns = columns_of(
            source, target, Fit(problems=tuple(problems), warnings=tuple(warnings))
        )

    def _met(self, stage: Stage, seat: Seat, other: Any) -> Fit:
        """Tell one side of the other's table."""
        if "meet" not in seat.offers:
            return Fit()
        known = any(i.side == seat.side and i.mark == "problem" for i in self._items)
        seat.other = other
        met = self._ask(stage, {seat: Task("meet", (other,))})
        if seat not in met and known:
            self._items.pop()  # it failed of what is known to be wrong there
        fit = met.get(seat)
        return fit if isinstance(fit, Fit) else Fit()

    def _last_id(self, stage: Stage, seats: list[Seat]) -> int | None:
        greatest = self._ask_sound(stage, seats, stage.source, Task("get_max_id"))
        return None if greatest is None else self._extent.last_id(greatest)

    def _resume_id(self, stage: Stage, seats: list[Seat], max_id: int | None) -> int | None:
        """Return where the copy resumes, None where it begins with the first id."""
        # without a last id there is no plan; and a target that lacks its table has a problem
        question = None if max_id is None else self._extent.how_far(max_id)
        if question is None:
            return None
        reached = self._ask_sound(stage, seats, stage.target, question)
        return reached if reached is not None and reached > self._extent.from_id else None

    def _ask_sound(self, stage: Stage, seats: list[Seat], seat: Seat, task: Task) -> int | None:
        """Ask one side, unless something is known to be wrong with it."""
        bad = {item.side for item in self._items if item.mark == "problem"}
        if seat not in seats or seat.side in bad:
            return None
        answer: int | None = self._ask(stage, {seat: task}).get(seat)
        return answer

    def _surveys(
        self,
        stage: Stage,
        seats: list[Seat],
        described: Mapping[Seat, Any],
        begins: Mapping[Seat, int],
        max_id: int | None,
    ) -> dict[Seat, Mapping[str, Any]]:
        past_last = None if max_id is None else max_id + 1
        others = {stage.source: stage.target, stage.target: stage.source}
        found = self._ask(
            stage,
            {
                s: Task("survey", (begins[s], past_last, described.get(others[s])))
                for s in seats
                if "survey" in s.offers
            },
        )
        surveys: dict[Seat, Mapping[str, Any]] = {
            seat: survey for seat, survey in found.items() if isinstance(survey, dict)
        }
        for seat, survey in surveys.items():
            if survey.get("creates"):
                self._items = [i for i in self._items if (i.side, i.what) != (seat.side, "table")]
            self._items = merged(self._items, surveyed_items(seat.side, survey))
        return surveys

    def _open_transactions(self, stage: Stage, *among: list[str]) -> list[OpenTransaction]:
        """Return those whose rows a copy that began now could miss."""
        if CALL not in stage.source.offers:
            return []
        found = self._ask(stage, {stage.source: Task(CALL, among)}).get(stage.source)
        if isinstance(found, str):
            self._items += sentences([found], "warning", "source", "transactions")
        return found if isinstance(found, list) else []

    def report(self, outcome: Outcome, seconds: float) -> CheckReport:
        counts = self.tally.report(outcome, seconds)
        return CheckReport(
            **vars(counts), items=tuple(self._items), columns=self._columns, plan=self._plan
        )


def _has_columns(table: Any) -> bool:
    return isinstance(table, TableDescription) and bool(table.columns)
