"""CopyReport: how far a copy came, and what it took."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

Outcome: TypeAlias = Literal["complete", "failed", "timed out", "stopped"]
"""`timed out`: by a limit of pipecopy's own; `stopped`: by an exception in the calling thread."""


@dataclass(frozen=True, kw_only=True)
class CopyReport:
    """What `copy_table` returns, and what the errors that it raises carry."""

    run_id: str
    """12 hex digits, also in the `application_name` of the run's server sessions."""
    source: str
    target: str
    outcome: Outcome
    rows: int
    """Rows in the batches that were saved."""
    batches: int
    """Batches that were saved; one without rows is not."""
    bytes: int
    """Bytes of the batches that were saved, as they went from reader to writer."""
    max_id: int | None
    """The source's greatest id when the copy began; None where it was not reached."""
    next_id: int
    """Every id below it is durably in the target."""
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
        return {**asdict(self), "warnings": list(self.warnings)}
