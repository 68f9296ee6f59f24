"""The reports: how far a run came, and what it took."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

Outcome: TypeAlias = Literal["complete", "failed", "timed out", "stopped"]
"""`timed out`: by a limit of pipecopy's own; `stopped`: by an exception in the calling thread."""
Mark: TypeAlias = Literal["ok", "warning", "problem"]
Cause: TypeAlias = Literal["failed", "timed out", "busy", "unfit"]
"""What a copy would end of: a call that failed, one that timed out, another copy that holds the
target, tables that do not fit together."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What every run tells: a copy, a verification, a check."""

    run_id: str
    """12 hex digits, also in the `application_name` of the run's server sessions."""
    source: str
    target: str
    outcome: Outcome
    calls: int
    """Attempts of database calls that were started."""
    timeouts: int
    """Attempts that timed out: killed at their limit, or by a `TimeoutError` of the driver."""
    kills: int
    """Workers killed at a limit, an interrupted call's included."""
    retries: int
    """Attempts that followed a timed-out one."""
    seconds: float
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values that `json.dumps` takes."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True, kw_only=True)
class CopyReport(Report):
    """What `copy_table` returns, and what the errors that it raises carry."""

    rows: int
    """Rows in the batches that were saved."""
    batches: int
    """Batches that were saved; one without rows is not."""
    bytes: int
    """Bytes of the batches that were saved, as they went from reader to writer."""
    first_id: int = 0
    """Where the copy began: later than 0 by `from_id`, or where it was resumed."""
    max_id: int | None
    """The last id of the copy: the source's greatest one when it began, or `to_id`; None where
    that was not reached."""
    next_id: int
    """Every id from `first_id` on and below it is durably in the target."""


@dataclass(frozen=True, kw_only=True)
class VerifyReport(Report):
    """What `verify_tables` returns, and what the errors that it raises carry.

    Counts of what differs are of ids: a key that the target has twice is one that differs.
    """

    rows: int
    """Rows of the source that were compared."""
    ranges: int
    first_id: int
    max_id: int | None
    """The last id: the greatest one of both sides when it began, or `to_id`; None where that was
    not reached."""
    next_id: int
    """Every id from `first_id` on and below it was compared."""
    missing: int
    """In the source and not in the target."""
    surplus: int
    """In the target and not in the source."""
    differing: int
    """In both, with other values or another number of rows."""
    missing_ids: tuple[int, ...]
    """The first 1,000, as are those of the other two kinds."""
    surplus_ids: tuple[int, ...]
    differing_ids: tuple[int, ...]
    repaired: int
    """Of all of these, those that were put right by copying their rows again."""
    deleted: int
    """Of the surplus ones, those whose rows were removed."""
    equal: bool
    """All ids were compared, and nothing is left that differs."""
    without_id: int = 0
    """Of the surplus ones, rows whose id is NULL or negative: they are never removed."""
    repair: bool = False
    """Whether what differed was to be put right."""
    delete_surplus: bool = False
    """Whether surplus rows were to be removed."""
    generated: tuple[str, ...] = ()
    """The generated columns that were compared too: each side computes its own."""
    not_compared: tuple[str, ...] = ()
    """Those that were not, since the other side has none of that name and type."""
    differing_generated: int = 0
    """Of the ids that are left differing, those whose copied columns are equal: no copy of their
    rows puts them right."""


@dataclass(frozen=True, kw_only=True)
class CheckItem:
    """One thing that a check looked at."""

    side: Literal["source", "target"] | None
    """None for what is about both."""
    what: str
    """A word or two, such as `rights`."""
    mark: Mark
    message: str
    remedy: str | None = None
    """What to do about it: a sentence, or SQL that ends with a semicolon."""
    cause: Cause | None = None
    """Of a problem."""


@dataclass(frozen=True, kw_only=True)
class CheckColumn:
    """One column on both sides; a type is None where the side has no such column."""

    name: str
    source: str | None
    target: str | None
    mark: Mark


@dataclass(frozen=True, kw_only=True)
class CheckPlan:
    """What a copy would do; None for what nobody can tell."""

    first_id: int
    max_id: int
    """The last id of the copy; below `first_id` where there is nothing to copy."""
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
    """The target's greatest id, where it resumes there; None where it begins at the first id."""
    ends_before: str
    """The latest time at which the copy ends if it begins now: local, as ISO 8601 has it."""


@dataclass(frozen=True, kw_only=True)
class CheckReport(Report):
    """What `check_copy` returns."""

    items: tuple[CheckItem, ...]
    columns: tuple[CheckColumn, ...]
    """Empty where one of the tables is not known."""
    plan: CheckPlan | None
    """None where the range of ids is not known."""

    @property
    def problems(self) -> tuple[CheckItem, ...]:
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


_BUSY, _UNFIT = 1, 3
_TURNS = {"connect": 0, "describe": 2, "meet": 3, "get_max_id": 4, "get_max_id_in": 4, "survey": 5}


def _turn(problem: CheckItem) -> int:
    """Return when a copy would meet the problem: it connects to both sides before all else."""
    if problem.cause == "unfit":
        return _UNFIT
    return _BUSY if problem.cause == "busy" else _TURNS.get(problem.what, _UNFIT)
