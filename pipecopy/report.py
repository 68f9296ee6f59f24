"""The reports: how far a run came, and what it took."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

Outcome: TypeAlias = Literal["complete", "failed", "timed out", "stopped"]
"""`timed out`: by a limit of pipecopy's own; `stopped`: by an exception in the calling thread."""


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
