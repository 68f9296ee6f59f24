"""The tally of a sharded run: what is known of its shards, and the report that comes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pipecopy.operations.shards.plan import TableCopy, TablePlan
from pipecopy.operations.shards.planned import Planned
from pipecopy.report import CopyReport
from pipecopy.shard import Shard
from pipecopy.sharded import ShardedTable

_SUMMED = ("batches", "bytes", "calls", "timeouts", "kills", "retries")
_BECAME = ("inserted", "updated", "unchanged")


class Tally:
    """For the thread of the run alone."""

    def __init__(self, planned: Planned) -> None:
        self._planned = planned
        self.shards = {shard.shard: shard for shard in planned.shards}
        """As they are now, as far as is known; by their numbers."""
        self._rows_before = sum(shard.rows for shard in planned.shards)
        self._counts = Counter(shard.table for shard in planned.shards)
        self._sizes = _sizes(planned)
        self._reports: list[CopyReport] = []
        self.again = 0
        """Attempts that were lost, and run again."""

    def table_of(self, shard: Shard) -> tuple[TableCopy, TablePlan]:
        """Return the shard's table, and the plan of that."""
        return self._planned.tables[shard.table]

    def size(self, shard: Shard) -> float:
        """Return about how much of the shard is left, to be compared with others of the run.

        The shards of a table have about as many bytes, or rows, each; if neither is known, it goes
        by ids.
        """
        size = self._sizes.get(shard.table)
        if size is None:
            return shard.ids
        ids = max(1, shard.last + 1 - shard.first)
        return size / self._counts[shard.table] * shard.ids / ids

    @property
    def is_done(self) -> bool:
        """Whether all shards are."""
        return all(shard.state == "done" for shard in self.shards.values())

    def waiting_tables(self) -> set[str]:
        """Return those that refer to one that is not done."""
        comes_after = self._planned.references.comes_after
        if not comes_after:
            return set()
        left = {shard.table for shard in self.shards.values() if shard.state != "done"}
        return {table for table, others in comes_after.items() if left.intersection(others)}

    def heard(self, shards: Iterable[Shard]) -> None:
        """Take note of what the ledger says."""
        self.shards.update((shard.shard, shard) for shard in shards)

    def ended(self, number: int, claimed: Shard, report: CopyReport) -> None:
        """Take note of how far an attempt came which had claimed the shard so."""
        self._reports.append(report)
        self.set(
            number,
            rows=claimed.rows + report.rows,
            next_id=report.next_id,
            attempt=claimed.attempt,
        )

    def set(self, number: int, **fields: Any) -> Shard:
        """Replace these fields of the shard, and return it."""
        self.shards[number] = replace(self.shards[number], **fields)
        return self.shards[number]

    def fields(self) -> dict[str, Any]:
        """Return the fields of the report."""
        tables = [self._table(name) for name in self._planned.tables]
        only = tables[0] if len(tables) == 1 else None
        rows = sum(table.rows for table in tables)
        known = sum(report.rows for report in self._reports) == rows
        became: dict[str, int | None] = dict.fromkeys(_BECAME)
        if known:  # else an attempt was lost, or is of an earlier run
            for name in _BECAME:
                counts = [getattr(report, name) for report in self._reports]
                became[name] = None if None in counts else sum(counts)
        return {
            **{name: sum(getattr(each, name) for each in self._reports) for name in _SUMMED},
            **became,
            "shards": len(self.shards),
            "done": sum(table.done for table in tables),
            "again": self.again,
            "rows": rows,
            "rows_before": self._rows_before,
            "hosts": tuple(sorted({each.host for each in self.shards.values() if each.host})),
            "tables": tuple(tables),
            "first_id": 0 if only is None else only.first_id,
            "next_id": 0 if only is None else only.next_id,
            "max_id": None if only is None else only.max_id,
        }

    def _table(self, name: str) -> ShardedTable:
        table, plan = self._planned.tables[name]
        shards = sorted(
            (shard for shard in self.shards.values() if shard.table == name),
            key=lambda shard: shard.first,
        )
        not_done = next((shard for shard in shards if shard.state != "done"), None)
        return ShardedTable(
            table=table.name,
            target_table=table.target_name,
            first_id=plan.first_id,
            max_id=plan.max_id,
            next_id=shards[-1].next_id if not_done is None else not_done.next_id,
            shards=len(shards),
            done=sum(shard.state == "done" for shard in shards),
            rows=sum(shard.rows for shard in shards),
        )


def _sizes(planned: Planned) -> dict[str, int]:
    """Return the size of each table, in what is known of all of them; none if nothing is."""
    for measure in ("bytes", "rows"):
        sizes = {name: getattr(plan, measure) for name, (_, plan) in planned.tables.items()}
        if None not in sizes.values():
            return sizes
    return {}
