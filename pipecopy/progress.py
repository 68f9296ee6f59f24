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
    RetryScheduled,
    Where,
    WorkerKilled,
)


@dataclass(frozen=True, kw_only=True)
class UnderWay:
    """A call that has not ended."""

    where: Where
    since: float
    limit: float


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a copy is. Times are those of a monotonic clock."""

    since: float | None = None
    """When the range of ids was known, from which the speed is reckoned."""
    first_id: int = 0
    max_id: int | None = None
    next_id: int = 0
    rows: int = 0
    bytes: int = 0
    kills: int = 0
    retries: int = 0
    source_call: UnderWay | None = None
    target_call: UnderWay | None = None

    def after(self, event: Event, now: float) -> Progress:
        """Return the progress once the event has happened."""
        new = self
        match event:
            case RangeKnown(first_id=first_id, max_id=max_id):
                new = replace(self, since=now, first_id=first_id, next_id=first_id, max_id=max_id)
            case BatchSaved(key_range=(_, end), rows=rows, bytes=size):
                new = replace(self, next_id=end, rows=self.rows + rows, bytes=self.bytes + size)
            case CallStarted(where=where, limit=limit):
                new = self._with_call(where.side, UnderWay(where=where, since=now, limit=limit))
            case CallEnded(where=where):
                new = self._with_call(where.side, None)
            case WorkerKilled():
                new = replace(self, kills=self.kills + 1)
            case RetryScheduled():
                new = replace(self, retries=self.retries + 1)
        return new

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

    def per_second(self, amount: int, now: float) -> float:
        """Return the average speed at which that many were copied."""
        return amount / max(now - self.since, 0.001) if self.since is not None else 0.0

    def seconds_left(self, now: float) -> float | None:
        """Return the time until the last id at the speed so far, where that can be said."""
        share = self.share
        if share is None or self.since is None or share == 0:
            return None
        return (now - self.since) * (1 - share) / share
