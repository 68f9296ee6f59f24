"""The reports: how far a run came, and what it took; each step of a run makes a new one."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from typing import Any, Literal, Self, TypeAlias

from pipecopy.contracts import SavedRows
from pipecopy.errors import DatabaseError
from pipecopy.finding import Finding, Mark
from pipecopy.redact import shown_name

Outcome: TypeAlias = Literal["complete", "failed", "timed out", "stopped"]
"""`timed out`: by a limit of pipecopy's own; `stopped`: by an exception in the calling thread, or
since `stop` was set."""


def utc_now() -> str:
    """Return the time, such as `2026-07-31T02:00:00.125Z`."""
    seconds, milliseconds = divmod(time.time_ns() // 1_000_000, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03}Z"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What every run tells: a copy, a verification, a check."""

    run_id: str
    """12 hex digits, also in the `application_name` of the run's server sessions."""
    source: str
    """The database's name as it was given, without a password."""
    target: str
    table: str | None = None
    """The source's table as the pool was told it; None if the pool has no `table`."""
    target_table: str | None = None
    """The target's; the same unless the pool was told another one."""
    key: str | None = None
    """The key's column; None if the pool has no `key`."""
    outcome: Outcome = "failed"
    """`failed` as long as the run is under way."""
    started: str | None = None
    """When it began: UTC, as ISO 8601 has it, by the clock of this machine."""
    ended: str | None = None
    """When it ended; None as long as it is under way."""
    calls: int = 0
    """Attempts of database calls that were started."""
    timeouts: int = 0
    """Attempts that timed out: killed at their limit, or by a `TimeoutError` of the driver."""
    kills: int = 0
    """Workers killed at a limit, an interrupted call's included."""
    retries: int = 0
    """Attempts that followed a timed-out one."""
    seconds: float = 0.0
    """How long the run took, its clean-up included."""
    paused: float = 0.0
    """Seconds of these for which it waited: before the first batch, by `wait` or `settle`; between
    two, by `max_rate_bytes`, `max_rate_rows`, `pause_file`, `max_lag` or `max_load`."""
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, pool: object, from_name: object, to_name: object, **fields: Any) -> Self:
        """Return the report of a run between the pool's two databases that has just begun."""
        source, target = (
            shown_name(name) if isinstance(name, str) else "" for name in (from_name, to_name)
        )
        table, target_table, key = (
            value if isinstance(value := getattr(pool, name, None), str) else None
            for name in ("table", "target_table", "key")
        )
        return cls(
            run_id=os.urandom(6).hex(),
            source=source,
            target=target,
            table=table,
            target_table=target_table or table,
            key=key,
            started=utc_now(),
            **fields,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values that `json.dumps` takes."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True, kw_only=True)
class CopyReport(Report):
    """What `copy_table` returns, and what the errors that it raises carry."""

    rows: int = 0
    """Rows in the batches that were saved."""
    inserted: int | None = 0
    """Of these rows, those whose id the target did not have; None, as the other two, if the
    target's driver does not tell."""
    updated: int | None = 0
    """Those whose id the target had with other values."""
    unchanged: int | None = 0
    """Those that the target had already, also from an attempt to save them that was cut off after
    its commit."""
    batches: int = 0
    """Batches that were saved; one without rows is not."""
    bytes: int = 0
    """Bytes of the batches that were saved, as they went from reader to writer."""
    first_id: int = 0
    """Where the copy began: later than 0 by `from_id`, or where it was resumed."""
    max_id: int | None = None
    """The last id of the copy: the source's greatest one when it began, or `to_id`; None if that
    was not reached."""
    next_id: int = 0
    """Every id from `first_id` on and below it is durably in the target."""
    batch_size: int | None = None
    """Rows (ids) of the next batch, adapted to `batch_time`; None if that is not set, or no batch
    was saved."""

    def saved(self, saved: SavedRows | None, *, rows: int, size: int, next_id: int) -> Self:
        """Return it with a batch more, which is durably in the target or had no rows."""
        return replace(
            self,
            rows=self.rows + rows,
            inserted=_sum(self.inserted, None if saved is None else saved.inserted),
            updated=_sum(self.updated, None if saved is None else saved.updated),
            unchanged=_sum(self.unchanged, None if saved is None else saved.unchanged),
            bytes=self.bytes + size,
            batches=self.batches + (1 if rows else 0),
            next_id=next_id,
        )


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


LISTED_IDS = 1_000
"""How many ids of each kind of difference a report lists."""


_COUNTS = (
    *("rows", "ranges", "calls", "timeouts", "kills", "retries"),
    *("missing", "surplus", "differing", "not_comparable", "not_repaired"),
    *("repaired", "deleted", "differing_generated"),
)
"""Of what several runs have found among different ids: their sums are those of one run."""


@dataclass(frozen=True, kw_only=True)
class Failed:
    """An id on which a side failed, or several in a row for the same reason."""

    first_id: int
    last_id: int
    """The same as `first_id`, but for neighbours, and where looking closer would have taken too
    many calls."""
    side: str
    reason: str
    sqlstate: str | None

    @classmethod
    def of(cls, error: DatabaseError, key_range: tuple[int, int]) -> Self:
        """Return what the error says of these ids."""
        first, past_last = key_range
        return cls(
            first_id=first,
            last_id=past_last - 1,
            side=str(error.side),
            reason=" ".join(str(error.driver_message or error).split()),
            sqlstate=error.sqlstate,
        )

    def joined(self, after: Self) -> Self | None:
        """Return both as one, None if they are not neighbours with the same reason."""
        both = replace(self, last_id=after.last_id)
        same_reason = both == replace(after, first_id=self.first_id)
        return both if same_reason and self.last_id + 1 == after.first_id else None


@dataclass(frozen=True, kw_only=True)
class VerifyReport(Report):
    """What `verify_tables` returns, and what the errors that it raises carry.

    Counts of what differs are of ids: a key that the target has twice is one that differs.
    """

    rows: int = 0
    """Rows of the source that were compared."""
    ranges: int = 0
    """Ranges of ids that were compared."""
    first_id: int = 0
    """Where the comparison began: `from_id`."""
    max_id: int | None = None
    """The last id: the greatest one of both sides when it began, or `to_id`; None if that was not
    reached."""
    next_id: int = 0
    """Every id from `first_id` on and below it was compared, but for `not_comparable_ids`."""
    missing: int = 0
    """In the source and not in the target."""
    surplus: int = 0
    """In the target and not in the source."""
    differing: int = 0
    """In both, with other values or another number of rows."""
    missing_ids: tuple[int, ...] = ()
    """The first 1,000, as are those of the other two kinds."""
    surplus_ids: tuple[int, ...] = ()
    differing_ids: tuple[int, ...] = ()
    not_comparable: int = 0
    """Ids that could not be compared, since a side failed on a row: they count as none of these,
    and are not repaired."""
    not_comparable_ids: tuple[Failed, ...] = ()
    """The first 1,000, each with the reason."""
    not_repaired: int = 0
    """Of the missing and differing ones, those whose rows the target refused."""
    not_repaired_ids: tuple[Failed, ...] = ()
    """The first 1,000, each with the reason; of several, ids between them may be repaired."""
    repaired: int = 0
    """Of all of these, those whose rows were copied again and are equal now."""
    deleted: int = 0
    """Of the surplus ones, those whose rows were removed."""
    without_id: int = 0
    """Of the surplus ones, rows whose id is NULL or negative: they are never removed."""
    repair: bool = False
    """Whether what differed was to be repaired."""
    delete_surplus: bool = False
    """Whether surplus rows were to be removed."""
    generated: tuple[str, ...] = ()
    """The generated columns that were compared too: each side computes its own."""
    not_compared: tuple[str, ...] = ()
    """Those that were not, since the other side has none of that name and type."""
    differing_generated: int = 0
    """Of the ids that are left differing, those whose copied columns are equal: copying their rows
    again does not help."""
    jobs: int = 1
    """How many ranges were compared at once, at most. With more than one, ids above `next_id` may
    have been compared as well, and what was found there is among the rest."""

    @property
    def equal(self) -> bool:
        """Whether all ids were compared, and nothing is left that differs."""
        return self.outcome == "complete" and not self.left and not self.not_comparable

    @property
    def left(self) -> int:
        """How many ids still differ."""
        found = self.missing + self.surplus + self.differing
        return found - self.repaired - self.deleted

    @property
    def cut_lists(self) -> tuple[str, ...]:
        """The names of the lists that do not hold all ids of their kind."""
        counts = (("missing", self.missing), ("surplus", self.surplus - self.without_id))
        cut = [
            f"{name}_ids"
            for name, count in (*counts, ("differing", self.differing))
            if count > LISTED_IDS
        ]
        held = sum(each.last_id - each.first_id + 1 for each in self.not_comparable_ids)
        if held < self.not_comparable:
            cut.append("not_comparable_ids")
        if len(self.not_repaired_ids) == LISTED_IDS:
            cut.append("not_repaired_ids")
        return tuple(cut)

    def found(
        self, *, missing: Sequence[int], surplus: Sequence[int], differing: Sequence[int]
    ) -> Self:
        """Return it with more ids that differ."""
        return replace(
            self,
            missing=self.missing + len(missing),
            surplus=self.surplus + len(surplus),
            differing=self.differing + len(differing),
            missing_ids=(*self.missing_ids, *missing)[:LISTED_IDS],
            surplus_ids=(*self.surplus_ids, *surplus)[:LISTED_IDS],
            differing_ids=(*self.differing_ids, *differing)[:LISTED_IDS],
        )

    def joined(self, part: Self) -> Self:
        """Return it with all that another run has found among the ids that come after its own."""
        counts: dict[str, Any] = {
            name: getattr(self, name) + getattr(part, name) for name in _COUNTS
        }
        lists: dict[str, Any] = {
            name: (*getattr(self, name), *getattr(part, name))[:LISTED_IDS]
            for name in ("missing_ids", "surplus_ids", "differing_ids")
        }
        new = tuple(text for text in part.warnings if text not in self.warnings)
        return replace(
            self,
            **counts,
            **lists,
            not_comparable_ids=reduce(_with, part.not_comparable_ids, self.not_comparable_ids),
            not_repaired_ids=reduce(_with, part.not_repaired_ids, self.not_repaired_ids),
            warnings=(*self.warnings, *new),
        )

    def unread(self, found: Failed) -> Self:
        """Return it with more ids that could not be compared; `found` comes after all others."""
        count = self.not_comparable + found.last_id - found.first_id + 1
        listed = _with(self.not_comparable_ids, found)
        return replace(self, not_comparable=count, not_comparable_ids=listed)

    def refused(self, found: Failed, count: int) -> Self:
        """Return it with so many more ids whose rows could not be repaired."""
        listed = _with(self.not_repaired_ids, found)
        return replace(self, not_repaired=self.not_repaired + count, not_repaired_ids=listed)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values that `json.dumps` takes, with `equal` and `cut_lists`."""
        return {**super().to_dict(), "cut_lists": list(self.cut_lists), "equal": self.equal}


def _with(listed: tuple[Failed, ...], found: Failed) -> tuple[Failed, ...]:
    joined = listed[-1].joined(found) if listed else None
    if joined is not None:
        return (*listed[:-1], joined)
    return (*listed, found)[:LISTED_IDS]


@dataclass(frozen=True, kw_only=True)
class CheckColumn:
    """One column on both sides; a type is None if the side has no such column."""

    name: str
    source: str | None
    target: str | None
    mark: Mark


@dataclass(frozen=True, kw_only=True)
class CheckPlan:
    """What a copy would do; None for what nobody can tell."""

    first_id: int
    max_id: int
    """The last id of the copy; below `first_id` if there is nothing to copy."""
    rows: int | None
    """Estimated, as are the bytes and the batches."""
    bytes: int | None
    """As the rows travel: of all batches together."""
    batches: int | None
    format: str | None
    """How the rows travel, such as `binary`."""
    format_reason: str | None
    method: str | None
    """How a batch is saved, such as `direct` or `upsert`."""
    method_reason: str | None
    resume_id: int | None
    """The target's greatest id, if it resumes there; None if it begins at the first id."""
    ends_before: str
    """The latest time at which the copy ends if it begins now: local, as ISO 8601 has it."""


@dataclass(frozen=True, kw_only=True)
class CheckReport(Report):
    """What `check_copy` returns."""

    items: tuple[Finding, ...] = ()
    columns: tuple[CheckColumn, ...] = ()
    """Empty if one of the tables is not known."""
    plan: CheckPlan | None = None
    """None if the range of ids is not known."""

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The items that keep a copy from starting, the one that would end it first."""
        found = [item for item in self.items if item.mark == "problem"]
        return tuple(sorted(found, key=_turn))

    @property
    def can_start(self) -> bool:
        """Whether a copy can start: all was looked at, and there is no problem."""
        return self.outcome == "complete" and not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values that `json.dumps` takes, with `can_start`."""
        return {**super().to_dict(), "can_start": self.can_start}


_UNFIT = 3
_TURNS = {
    "connect": 0,
    "lock": 1,
    "describe": 2,
    "meet": _UNFIT,
    "lag": 4,
    "active_sessions": 4,
    "get_max_id": 5,
    "get_max_id_in": 5,
}


def _turn(problem: Finding) -> int:
    """Return when a copy would meet the problem: it connects to both sides before all else."""
    return _UNFIT if problem.cause == "unfit" else _TURNS.get(problem.what, _UNFIT)
