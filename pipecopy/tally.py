"""The counts of one run while it goes on; the supervisor's thread alone changes them."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field
from typing import Any, Self

from pipecopy.redact import redact, secrets_in
from pipecopy.report import CopyReport, Outcome, Report


@dataclass(kw_only=True)
class Tally:
    """What the report of any run will say."""

    run_id: str
    source: str
    target: str
    calls: int = 0
    timeouts: int = 0
    kills: int = 0
    retries: int = 0
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, from_name: object, to_name: object) -> Self:
        """Return the counts of a new run between the two databases."""
        source, target = (
            redact(name, secrets_in(name)) if isinstance(name, str) else ""
            for name in (from_name, to_name)
        )
        return cls(run_id=secrets.token_hex(6), source=source, target=target)

    def report(self, outcome: Outcome, seconds: float) -> Report:
        """Return the counts as a value; for any thread."""
        return Report(**self._common(outcome, seconds))

    def _common(self, outcome: Outcome, seconds: float) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "source": self.source,
            "target": self.target,
            "outcome": outcome,
            "calls": self.calls,
            "timeouts": self.timeouts,
            "kills": self.kills,
            "retries": self.retries,
            "seconds": round(seconds, 3),
            "warnings": tuple(self.warnings),
        }


@dataclass(kw_only=True)
class CopyTally(Tally):
    """What the report of a copy will say."""

    rows: int = 0
    batches: int = 0
    bytes: int = 0
    first_id: int = 0
    max_id: int | None = None
    next_id: int = 0
    saving: threading.Lock = field(default_factory=threading.Lock, repr=False)
    """Held while several counts change together."""

    def begins(self, first_id: int, max_id: int) -> None:
        """Note the range of ids that is copied."""
        with self.saving:
            self.first_id = self.next_id = first_id
            self.max_id = max_id

    def saved(self, *, rows: int, size: int, next_id: int) -> None:
        """Count a batch that is durably in the target, or had no rows."""
        with self.saving:
            self.rows += rows
            self.bytes += size
            self.batches += 1 if rows else 0
            self.next_id = next_id

    def report(self, outcome: Outcome, seconds: float) -> CopyReport:
        """Return the counts as a value; for any thread."""
        with self.saving:
            return CopyReport(
                **self._common(outcome, seconds),
                rows=self.rows,
                batches=self.batches,
                bytes=self.bytes,
                first_id=self.first_id,
                max_id=self.max_id,
                next_id=self.next_id,
            )
