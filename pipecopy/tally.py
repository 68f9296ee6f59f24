"""The counts of one copy while it runs; the supervisor's thread alone changes them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from pipecopy.report import CopyReport, Outcome


@dataclass(kw_only=True)
class Tally:
    """What the report will say."""

    run_id: str
    source: str
    target: str
    rows: int = 0
    batches: int = 0
    bytes: int = 0
    max_id: int | None = None
    next_id: int = 0
    calls: int = 0
    timeouts: int = 0
    kills: int = 0
    retries: int = 0
    warnings: list[str] = field(default_factory=list)
    saving: threading.Lock = field(default_factory=threading.Lock, repr=False)
    """Held while several counts change together."""

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
                run_id=self.run_id,
                source=self.source,
                target=self.target,
                outcome=outcome,
                rows=self.rows,
                batches=self.batches,
                bytes=self.bytes,
                max_id=self.max_id,
                next_id=self.next_id,
                calls=self.calls,
                timeouts=self.timeouts,
                kills=self.kills,
                retries=self.retries,
                seconds=round(seconds, 3),
                warnings=tuple(self.warnings),
            )
