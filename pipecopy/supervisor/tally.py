"""The counts of one run while it goes on; the supervisor's thread alone changes them."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from pipecopy.redact import redact, secrets_in
from pipecopy.report import CopyReport, Outcome, Report, VerifyReport


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

    def forfeit(self, from_id: int) -> None:
        """Claim nothing of what was saved: the target may have lost it, or what was there before.

        `from_id` is the first id that was asked for; where a copy resumed is known of the target.
        """
        with self.saving:
            self.first_id = self.next_id = from_id

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


LISTED_IDS = 1_000
"""How many ids of each kind of difference a report lists."""


@dataclass(kw_only=True)
class VerifyTally(Tally):
    """What the report of a verification will say."""

    rows: int = 0
    ranges: int = 0
    first_id: int = 0
    max_id: int | None = None
    next_id: int = 0
    missing: int = 0
    surplus: int = 0
    differing: int = 0
    missing_ids: list[int] = field(default_factory=list)
    surplus_ids: list[int] = field(default_factory=list)
    differing_ids: list[int] = field(default_factory=list)
    repaired: int = 0
    deleted: int = 0
    left: int = 0
    """Ids that still differ."""
    without_id: int = 0
    repair: bool = False
    delete_surplus: bool = False
    generated: tuple[str, ...] = ()
    not_compared: tuple[str, ...] = ()
    differing_generated: int = 0
    counting: threading.Lock = field(default_factory=threading.Lock, repr=False)
    """Held while several counts change together."""

    def begins(self, first_id: int, max_id: int) -> None:
        """Note the range of ids that is compared."""
        with self.counting:
            self.first_id = self.next_id = first_id
            self.max_id = max_id

    def compared(self, *, rows: int, next_id: int) -> None:
        """Count a range that was compared, and whose differences were counted."""
        with self.counting:
            self.rows += rows
            self.ranges += 1
            self.next_id = next_id

    def found(
        self, *, missing: Sequence[int], surplus: Sequence[int], differing: Sequence[int]
    ) -> None:
        """Count ids that differ."""
        with self.counting:
            self.missing += len(missing)
            self.surplus += len(surplus)
            self.differing += len(differing)
            self.left += len(missing) + len(surplus) + len(differing)
            for listed, ids in (
                (self.missing_ids, missing),
                (self.surplus_ids, surplus),
                (self.differing_ids, differing),
            ):
                listed.extend(ids[: LISTED_IDS - len(listed)])

    def found_without_id(self, rows: int) -> None:
        """Count rows that the target alone has, and that no id stands for."""
        with self.counting:
            self.surplus += rows
            self.without_id += rows
            self.left += rows

    def left_by_generators(self, ids: int) -> None:
        """Count ids that differ still, in generated columns alone."""
        with self.counting:
            self.differing_generated += ids

    def put_right(self, *, repaired: int, deleted: int) -> None:
        """Count ids that differed, and do no more."""
        with self.counting:
            self.repaired += repaired
            self.deleted += deleted
            self.left -= repaired + deleted

    def report(self, outcome: Outcome, seconds: float) -> VerifyReport:
        """Return the counts as a value; for any thread."""
        with self.counting:
            return VerifyReport(
                **self._common(outcome, seconds),
                rows=self.rows,
                ranges=self.ranges,
                first_id=self.first_id,
                max_id=self.max_id,
                next_id=self.next_id,
                missing=self.missing,
                surplus=self.surplus,
                differing=self.differing,
                missing_ids=tuple(self.missing_ids),
                surplus_ids=tuple(self.surplus_ids),
                differing_ids=tuple(self.differing_ids),
                repaired=self.repaired,
                deleted=self.deleted,
                equal=outcome == "complete" and not self.left,
                without_id=self.without_id,
                repair=self.repair,
                delete_surplus=self.delete_surplus,
                generated=self.generated,
                not_compared=self.not_compared,
                differing_generated=self.differing_generated,
            )
