"""Progress: how far a copy is, as a value that each event turns into the next one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipecopy.contracts import Side
from pipecopy.events import (
    BatchSaved,
    CallEnded,
    CallStarted,
    Event,
    RangeKnown,
    RangeVerified,
    RetryScheduled,
    RunStarted,
    TransactionsAwaited,
    Where,
    WorkerKilled,
)

_WINDOW = 10.0
"""Seconds over which the speed is reckoned, so that a hang is soon forgotten."""
_STEP = 0.5
"""Seconds that lie between two marks at the least: so there are few of them."""


@dataclass(frozen=True, kw_only=True)
class UnderWay:
    """A call that has not ended."""

    where: Where
    since: float
    limit: float


@dataclass(frozen=True, kw_only=True)
class Mark:
    """How far the copy was at a time."""

    at: float
    next_id: int
    rows: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What is copied in a second."""

    ids: float = 0.0
    rows: float = 0.0
    bytes: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a copy is. Times are those of a monotonic clock."""

    marks: tuple[Mark, ...] = ()
    """When the range of ids was known, and saves since; the last one, and those of the window."""
    first_id: int = 0
    max_id: int | None = None
    next_id: int = 0
    rows: int = 0
    bytes: int = 0
    differences: int | None = None
    """Ids that a verification found to differ; None where it is none."""
    kills: int = 0
    retries: int = 0
    source_call: UnderWay | None = None
    target_call: UnderWay | None = None
    awaited: TransactionsAwaited | None = None
    """For whom the first load waits, if it does."""
    awaited_since: float = 0.0

    def after(self, event: Event, now: float) -> Progress:
        """Return the progress once the event has happened."""
        new = self
        match event:
            case RangeKnown(first_id=first_id, max_id=max_id):
                begun = replace(self, first_id=first_id, next_id=first_id, max_id=max_id)
                new = replace(begun, awaited=None).marked(now)
            case TransactionsAwaited():
                since = now - event.seconds
                new = replace(self, awaited=event if event.open else None, awaited_since=since)
            case BatchSaved(key_range=(_, end), rows=rows, bytes=size):
                rows, size = self.rows + rows, self.bytes + size
                new = replace(self, next_id=end, rows=rows, bytes=size).marked(now)
            case RunStarted(mode="verify"):
                new = replace(self, differences=0)
            case RangeVerified(key_range=(_, end)):
                found = event.missing + event.surplus + event.differing
                differences = found + (self.differences or 0)
                rows = self.rows + event.rows
                new = replace(self, next_id=end, rows=rows, differences=differences).marked(now)
            case CallStarted(where=where, limit=limit):
                new = self._with_call(where.side, UnderWay(where=where, since=now, limit=limit))
            case CallEnded(where=where):
                new = self._with_call(where.side, None)
            case WorkerKilled():
                new = replace(self, kills=self.kills + 1)
            case RetryScheduled():
                new = replace(self, retries=self.retries + 1)
        return new

    def marked(self, now: float) -> Progress:
        """Return it with a mark of how far it is."""
        marks = list(self.marks)
        if len(marks) > 1 and marks[-1].at - marks[-2].at < _STEP:
            marks.pop()
        while len(marks) > 1 and marks[1].at <= now - _WINDOW:
            marks.pop(0)
        mark = Mark(at=now, next_id=self.next_id, rows=self.rows, bytes=self.bytes)
        return replace(self, marks=(*marks, mark))

    def _with_call(self, side: Side, call: UnderWay | None) -> Progress:
        if side == "source":
            return replace(self, source_call=call)
        return replace(self, target_call=call)

    @property
    def share(self) -> float | None:
        """How much of the range of ids is done, from 0 to 1."""
        if self.max_id is None:
            return None
        return min(1.0, (self.next_id - self.first_id) / max(1, self.max_id + 1 - self.first_id))

    def speed(self, now: float) -> Speed:
        """Return the speed of the last seconds; of one save at least, where they take longer."""
        if not self.marks:
            return Speed()
        first, *later = self.marks[:-1] or self.marks
        base = next((mark for mark in reversed(later) if mark.at <= now - _WINDOW), first)
        seconds = max(now - base.at, 0.001)
        return Speed(
            ids=(self.next_id - base.next_id) / seconds,
            rows=(self.rows - base.rows) / seconds,
            bytes=(self.bytes - base.bytes) / seconds,
        )

    def seconds_left(self, now: float) -> float | None:
        """Return the time until the last id at the present speed, where that can be said."""
        ids = self.speed(now).ids
        if self.max_id is None or ids <= 0:
            return None
        return max(0, self.max_id + 1 - self.next_id) / ids
