"""How far the shards of a run are, by the events of all their attempts, in whatever order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from pipecopy.events import (
    BatchSaved,
    Event,
    RangeVerified,
    RunEnded,
    RunStarted,
    ShardEnded,
    ShardOutcome,
    ShardProgress,
    ShardsKnown,
    ShardStarted,
)

Now: TypeAlias = Literal["waiting", "running", "done", "failed", "stopped"]
"""`waiting`: it was not begun, or is run again."""
STATES: tuple[Now, ...] = ("waiting", "running", "done", "failed", "stopped")


class Whole:
    """Tells the events of the run itself from those of its shards.

    Of a shard that is copied by hand, all events are those of the run itself.
    """

    def __init__(self) -> None:
        self._has_begun = False
        self._number: int | None = None

    def has(self, event: Event) -> bool:
        """Return whether the event, which has to be the next one, is of the run itself."""
        if isinstance(event, RunStarted) and (event.shard is None or not self._has_begun):
            self._has_begun, self._number = True, event.shard
        if event.shard not in {None, self._number}:
            return False
        if isinstance(event, RunEnded):
            self._has_begun = False
        return True


@dataclass(frozen=True, kw_only=True)
class ShardNow:
    """One shard, as far as its events tell."""

    number: int
    table: str | None = None
    host: str | None = None
    """Of the last event that had one."""
    first: int = 0
    ids: int = 0
    """How many it has; 0 if that is not known yet."""
    next_id: int = 0
    rows: int = 0
    started: int = 0
    """Attempts, as `ended`: the two events may come in either order."""
    ended: int = 0
    outcome: ShardOutcome | None = None
    """Of the last attempt that ended; `done` stays."""

    @property
    def state(self) -> Now:
        """What becomes of it now."""
        if self.outcome == "done":
            return "done"
        if self.started > self.ended:
            return "running"
        return "waiting" if self.outcome is None or self.outcome == "lost" else self.outcome

    @property
    def ids_done(self) -> int:
        """How many of its ids are done."""
        return min(self.ids, max(0, self.next_id - self.first))

    @property
    def share(self) -> float:
        """How much of its ids is done, from 0 to 1."""
        if self.outcome == "done":
            return 1.0
        return self.ids_done / self.ids if self.ids else 0.0


class Shards:
    """Counts the shards of one run, and their rows; `is_known` once the run has some."""

    def __init__(self) -> None:
        self._all: dict[int, ShardNow] = {}
        self.is_known = False
        self.jobs = 0
        self.again = 0
        """Attempts that were lost, and run again."""
        self.rows = self.ids = self.ids_done = 0
        self.states: Counter[Now] = Counter()
        self._running: set[int] = set()
        self.estimated_rows: int | None = None

    def take(self, event: Event) -> None:
        """Take an event into account: that of a shard, or the shards themselves."""
        if isinstance(event, ShardsKnown):
            self._know(event)
        if event.shard is None:
            return
        one = before = self._all.get(event.shard) or ShardNow(number=event.shard)
        if event.host not in {None, one.host} or event.table not in {None, one.table}:
            one = replace(one, host=event.host or one.host, table=event.table or one.table)
        match event:
            case ShardStarted(first=first, last=last, next_id=next_id):
                # of two attempts at once, the second may begin behind the first one
                next_id = max(one.next_id, next_id) if one.started > one.ended else next_id
                one = replace(
                    one, first=first, ids=last + 1 - first, next_id=next_id, started=one.started + 1
                )
            case BatchSaved(key_range=(_, end)) | RangeVerified(key_range=(_, end)):
                if end > one.next_id:  # else the ledger has told it, or another attempt
                    one = replace(one, next_id=end, rows=one.rows + event.rows)
            case ShardProgress(next_id=next_id, rows=rows):
                one = replace(one, next_id=next_id, rows=rows)
            case ShardEnded():
                one = self._end(one, event)
        if one is not before:  # most events are of calls: they change nothing here
            self._set(one)

    def _know(self, event: ShardsKnown) -> None:
        self.is_known, self.jobs, self.estimated_rows = True, event.jobs, event.estimated_rows
        for shard in event.shards:
            one = self._all.get(shard.shard, ShardNow(number=shard.shard, table=shard.table))
            self._set(
                replace(
                    one,
                    first=shard.first,
                    ids=shard.last + 1 - shard.first,
                    next_id=max(one.next_id, shard.next_id),
                    rows=max(one.rows, shard.rows),
                    outcome="done" if shard.state == "done" else one.outcome,
                )
            )

    def _end(self, one: ShardNow, event: ShardEnded) -> ShardNow:
        self.again += event.again
        one = replace(one, ended=one.ended + 1)
        if one.outcome == "done":
            return one
        next_id, rows, outcome = event.next_id, event.rows, event.outcome
        return replace(one, next_id=next_id, rows=rows, outcome=outcome)

    def _set(self, one: ShardNow) -> None:
        before = self._all.get(one.number)
        self._all[one.number] = one
        for shard, sign in ((before, -1), (one, 1)):
            if shard is not None:
                self.rows += sign * shard.rows
                self.ids += sign * shard.ids
                self.ids_done += sign * shard.ids_done
                self.states[shard.state] += sign
        if one.state == "running":
            self._running.add(one.number)
        else:
            self._running.discard(one.number)

    def __len__(self) -> int:
        return len(self._all)

    def get(self, number: int) -> ShardNow:
        """Return the shard."""
        return self._all.get(number, ShardNow(number=number))

    @property
    def all(self) -> list[ShardNow]:
        """All shards, by their numbers."""
        return [self._all[number] for number in sorted(self._all)]

    @property
    def running(self) -> list[ShardNow]:
        """Those under way, by their numbers."""
        return [self._all[number] for number in sorted(self._running)]

    @property
    def share(self) -> float:
        """How much is done, from 0 to 1: by the estimated rows, else by ids; 1 if all is."""
        if self.states["done"] == len(self._all):
            return 1.0
        if self.estimated_rows:
            return min(0.99, self.rows / self.estimated_rows)
        return min(0.99, self.ids_done / max(1, self.ids))
