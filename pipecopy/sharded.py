"""The reports of sharded runs: what was planned, how far each came, what the ledger has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipecopy.report import CheckReport, CopyReport, Report, VerifyReport
from pipecopy.shard import Shard, ShardState, table_text


@dataclass(frozen=True, kw_only=True)
class ShardedTable:
    """One table of a sharded run."""

    table: str | None
    """The source's, as the pool was told it."""
    target_table: str | None
    """The target's, likewise."""
    first_id: int
    max_id: int
    """The last id of the copy; below `first_id` if there was nothing to copy."""
    next_id: int
    """Every id from `first_id` on and below it is durably in the target."""
    shards: int
    done: int
    """Of its shards."""
    rows: int
    """That were saved by all attempts of its shards, as the ledger counts them."""


@dataclass(frozen=True, kw_only=True)
class ShardedReport(CopyReport):
    """What `copy_sharded` returns, and what the errors that it raises carry.

    `rows` is what the ledger counts, also of what the run had done before it went on; the other
    counts are of the attempts whose end is known, and `inserted`, `updated`, `unchanged` None if
    that is not all of them. `first_id`, `max_id` and `next_id` are those of the table if there is
    one, else 0, None and 0.
    """

    shards: int = 0
    done: int = 0
    """Of the shards."""
    again: int = 0
    """Attempts of shards that were lost, and run again."""
    rows_before: int = 0
    """Of `rows`, those that were saved before this run began, or went on."""
    hosts: tuple[str, ...] = ()
    """On which shards were copied, as far as is known."""
    tables: tuple[ShardedTable, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PlannedTable:
    """One table of a plan."""

    table: str | None
    """The source's, as the pool was told it."""
    target_table: str | None
    """The target's, likewise."""
    first_id: int
    max_id: int
    """The last id of the copy; below `first_id` if there is nothing to copy."""
    shards: int
    rows: int | None
    """Estimated; None if that is not known."""


@dataclass(frozen=True, kw_only=True)
class PlanReport(Report):
    """What `plan_sharded` returns: the shards that the ledger has now, for others to copy."""

    tables: tuple[PlannedTable, ...] = ()
    shards: tuple[Shard, ...] = ()
    """In the order of their numbers."""


@dataclass(frozen=True, kw_only=True)
class LedgerRun:
    """One run as the ledger has it."""

    run: str
    """12 hex digits."""
    tables: tuple[str, ...]
    """The targets', such as `public.profiles`."""
    state: ShardState
    """`done`: all its shards are, and what comes after them is not; `running`: an attempt of one
    has claimed it, which may be gone; else `failed` or `stopped`, if one of the shards is."""
    shards: int
    done: int
    """Of the shards."""
    rows: int
    """That were saved, exactly."""
    updated: str | None
    """When a shard changed last, by the target's clock: UTC, as ISO 8601 has it."""
    idle: float
    """Seconds since then."""
    hosts: tuple[str, ...]
    """On which attempts of shards are under way, if they are."""
    error: str | None
    """Of a shard that failed."""

    @classmethod
    def of(cls, shards: Sequence[Shard]) -> LedgerRun:
        """Return the run with these shards, at least one."""
        states = {shard.state for shard in shards} - {"done"}
        last = min(shards, key=lambda shard: shard.idle)
        return cls(
            run=shards[0].run,
            tables=tuple(dict.fromkeys(table_text(shard.table) for shard in shards)),
            state=next((state for state in _WORST_FIRST if state in states), "done"),
            shards=len(shards),
            done=sum(shard.state == "done" for shard in shards),
            rows=sum(shard.rows for shard in shards),
            updated=last.updated,
            idle=last.idle,
            hosts=tuple(sorted({s.host for s in shards if s.state == "running" and s.host})),
            error=next((shard.error for shard in shards if shard.error is not None), None),
        )


_WORST_FIRST: tuple[ShardState, ...] = ("running", "stopping", "failed", "stopped", "waiting")


@dataclass(frozen=True, kw_only=True)
class RunsReport(Report):
    """What `runs_of` returns."""

    runs: tuple[LedgerRun, ...] = ()
    """Those of the ledger that are not complete."""
    dropped: bool = False
    """They were removed from it, by `drop_run`."""


@dataclass(frozen=True, kw_only=True)
class FoundTable:
    """A table of the source that is meant."""

    name: str
    """As a pool takes it, with the schema."""
    key: str
    """The column by which it can be copied, likewise."""
    pattern: str | None
    """By which it was found; None if it was named."""
    bytes: int | None
    """Its size in the database; None if that is not known."""


@dataclass(frozen=True, kw_only=True)
class TablesReport(Report):
    """What `find_tables` returns."""

    tables: tuple[FoundTable, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CheckedTables(CheckReport):
    """What `check_each` returns: the items of all tables, each with the name of its table."""

    tables: tuple[CheckReport, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values that `json.dumps` takes."""
        return {**super().to_dict(), "tables": [table.to_dict() for table in self.tables]}


@dataclass(frozen=True, kw_only=True)
class VerifiedTables(VerifyReport):
    """What `verify_each` returns: the counts are of all tables; which ids, each table tells."""

    tables: tuple[VerifyReport, ...] = ()

    @property
    def cut_lists(self) -> tuple[str, ...]:
        """The names of the lists that do not hold all ids of their kind: each table has its own."""
        kinds = ("missing", "surplus", "differing", "not_comparable", "not_repaired")
        return tuple(f"{kind}_ids" for kind in kinds if getattr(self, kind))

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values that `json.dumps` takes."""
        return {**super().to_dict(), "tables": [table.to_dict() for table in self.tables]}
