"""What the ledger says of a run: its plan, which whoever goes on with it has to keep to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipecopy.arguments import argument
from pipecopy.errors import ConfigError
from pipecopy.operations.shards.plan import TableCopy, TablePlan
from pipecopy.operations.shards.references import References
from pipecopy.shard import LEDGER_CALLS, Shard, table_text
from pipecopy.supervisor.run import Run


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The plan of a run."""

    tables: Mapping[str, tuple[TableCopy, TablePlan]]
    """By their names in the ledger."""
    shards: Sequence[Shard]
    references: References = References()  # noqa: RUF009 - a frozen value

    @property
    def estimated_rows(self) -> int | None:
        """About how many rows all tables have; None if that is not known."""
        rows = [plan.rows for _, plan in self.tables.values()]
        return None if None in rows else sum(row or 0 for row in rows)


def bad_run(run_id: object) -> list[str]:
    """Say what is wrong with the id of a run."""
    if isinstance(run_id, str) and re.fullmatch("[0-9a-f]{12}", run_id):
        return []
    return [f"run must be the 12 hex digits of a run, not {run_id!r}"]


def refuse_bad_run(run_id: object) -> None:
    """Raise ConfigError for what is no id of a run."""
    if bad := bad_run(run_id):
        raise ConfigError(bad[0])


def refuse_without_ledger(run: Run[Any]) -> None:
    """Raise ConfigError if the target keeps no ledger."""
    if not run.target.offers.issuperset(LEDGER_CALLS):
        raise ConfigError(f"the Database of {run.target} keeps no ledger: it can't be sharded")


def shards_of_run(run: Run[Any], run_id: str) -> list[Shard]:
    """Return the shards of a run. Raises ConfigError if there is none of that id."""
    refuse_without_ledger(run)
    shards: list[Shard] = run.call(run.target, "shards", run_id)
    if not shards:
        raise ConfigError(
            f"the ledger of {run.target} has no run {run_id}: it is complete, was dropped, or was"
            " planned for another target"
        )
    return shards


def planned(shards: Sequence[Shard], tables: Sequence[TableCopy]) -> Planned:
    """Return the plan of a run as the ledger has it, for these tables, which have to be its own.

    Raises ConfigError for any that differ, which says in what, and for shards that are missing.
    """
    run_id = shards[0].run
    found: dict[str, tuple[TableCopy, TablePlan]] = {}
    missing: list[TablePlan] = []
    left = list(tables)
    for shard in shards:
        if shard.plan is not None:
            plan = TablePlan.of_plain(shard.table, shard.plan)
            table = next((each for each in left if each.selection == plan.selection), None)
            if table is None:
                missing.append(plan)
            else:
                left.remove(table)
                found[plan.table] = (table, plan)
    left = [table for table in left if not table.if_planned]
    if missing or left:
        raise ConfigError("; ".join(_differences(run_id, missing, left)))
    for _, plan in found.values():
        _refuse_gaps(plan, [shard for shard in shards if shard.table == plan.table])
    return Planned(tables=found, shards=shards)


def _refuse_gaps(plan: TablePlan, shards: Sequence[Shard]) -> None:
    """Raise ConfigError if the shards are not all ids of the plan: somebody changed the ledger."""
    ends = [plan.first_id - 1, *(shard.last for shard in shards)]
    begins = [*(shard.first for shard in shards), max(plan.first_id, plan.max_id + 1)]
    for last, first in zip(ends, begins, strict=True):
        if first != last + 1:
            raise ConfigError(
                f"the ledger lacks ids {last + 1} to {first - 1} of {table_text(plan.table)},"
                f" which run {shards[0].run} has to copy: drop the run, and begin a new one"
            )


def _differences(
    run_id: str, missing: Sequence[TablePlan], left: Sequence[TableCopy]
) -> Iterator[str]:
    if len(missing) == len(left) == 1:
        was, now = (each[0].selection or {} for each in (missing, left))
        differing = [name for name in {**was, **now} if was.get(name) != now.get(name)]
        was, now = ({name: each.get(name) for name in differing} for each in (was, now))
        yield f"run {run_id} was planned {_options(was)}, and is to go on {_options(now)}"
        return
    for plan in missing:
        yield f"run {run_id} also copies {table_text(plan.table)}: name all of its tables"
    for table in left:
        name = table.name or "the table"
        yield f"run {run_id} was not planned for {name} as it is to be copied now"


def _options(values: Mapping[str, Any]) -> str:
    return " and ".join(
        f"without `{name}`" if not value else f"with {argument(**{name: value})}"
        for name, value in values.items()
    )
