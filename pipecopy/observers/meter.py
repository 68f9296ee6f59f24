"""How far a run is, by its events: what is done, how fast, and what is waited for."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from pipecopy.events import (
    BatchSaved,
    CallEnded,
    CallStarted,
    Event,
    Paused,
    RangeKnown,
    RangeVerified,
    Resumed,
    RetryScheduled,
    RunStarted,
    ShardEnded,
    ShardProgress,
    ShardsKnown,
    StopRequested,
    WorkerKilled,
)
from pipecopy.observers.shards import Shards, Whole
from pipecopy.observers.text import ShardStatus, Status, part_text, printable
from pipecopy.redact import redact
from pipecopy.units import seconds_text

_SLOW = 1.0
"""Seconds after which a call is worth showing."""
_SPEED_WINDOW = 10.0
"""Seconds, at least, over which a speed is measured."""
_MOST_STEPS = 1000
_MOST_WAITS = 3
"""Of shards, that are shown: those that last longest."""


@dataclass(frozen=True, kw_only=True)
class _Wait:
    """What the run waits for: a call, a pause, the end of what is in flight."""

    shard: int | None
    part: str
    """What goes before: of which shard it is."""
    verb: str
    what: str
    since: float
    limit: float | None
    """None if only the whole run's bounds it."""
    shown_after: float = 0.0

    def said(self, now: float) -> str:
        """Return the line: what is long comes last, since the bar cuts it."""
        so_long = seconds_text(round(now - self.since))
        of_limit = "" if self.limit is None else f" of {seconds_text(self.limit)}"
        return printable(f"{self.part}{self.verb} {so_long}{of_limit}{self.what}")


class _Done(NamedTuple):
    """How much is done at a time."""

    at: float = 0.0
    ids: int = 0
    """Of a run without shards, the next one."""
    rows: int = 0
    bytes: int = 0


class Meter:
    """Counts by the events of a run. rich's Progress would, but is not loaded off a terminal."""

    def __init__(self, get_time: Callable[[], float] = time.monotonic) -> None:
        self._get_time = get_time
        self._window = _SPEED_WINDOW
        self._done = _Done()
        self._steps: deque[_Done] = deque(maxlen=_MOST_STEPS)
        """What was done by when, within the window of the speed."""
        self._first_id = 0
        self._max_id: int | None = None
        self._differences: int | None = None
        self._kills = self._retries = 0
        self._waits: dict[tuple[object, ...], _Wait] = {}
        """By what they are of: the shard with its host, and the side."""
        self._whole = Whole()
        self._shards = Shards()
        self._told_rows = 0
        """Of shards, those whose bytes were told as well."""

    def take(self, event: Event) -> None:
        """Take an event into account."""
        self._shards.take(event)
        if self._whole.has(event):
            self._take_of_run(event)
        else:
            self._take_of_shard(event)
        match event:
            case WorkerKilled():
                self._kills += 1
            case RetryScheduled():
                self._retries += 1
            case CallStarted() | CallEnded() | Paused() | Resumed():
                self._wait(event)

    def _take_of_run(self, event: Event) -> None:
        match event:
            case RunStarted(config=config, mode=mode):
                # so a call that hung until its limit is soon out of the speed
                self._window = max(_SPEED_WINDOW, config.call_timeout)
                self._differences = 0 if mode == "verify" else None
            case RangeKnown(first_id=first_id, max_id=max_id):
                self._first_id, self._max_id = first_id, max_id
                self._advance(first_id, rows=0, size=0)
            case BatchSaved(key_range=(_, end), rows=rows, bytes=size):
                self._advance(end, self._done.rows + rows, size)
            case RangeVerified(key_range=(_, end), rows=rows):
                found = event.missing + event.surplus + event.differing
                self._differences = (self._differences or 0) + found
                self._advance(end, self._done.rows + rows, size=0)
            case ShardsKnown():  # what was done before counts for no speed
                self._advance(self._shards.ids_done, self._shards.rows, size=0)
            case StopRequested(grace=grace, finishing=str(what)):
                self._waits["stop",] = _Wait(
                    shard=None,
                    part="",
                    verb="stopping:",
                    what=f" for {what}",
                    since=self._get_time(),
                    limit=grace,
                )

    def _take_of_shard(self, event: Event) -> None:
        match event:
            case BatchSaved(rows=rows, bytes=size):
                self._told_rows += rows
                self._advance(self._shards.ids_done, self._shards.rows, size)
            case RangeVerified():
                found = event.missing + event.surplus + event.differing
                self._differences = (self._differences or 0) + found
                self._advance(self._shards.ids_done, self._shards.rows, size=0)
            case ShardProgress() | ShardEnded():
                self._advance(self._shards.ids_done, self._shards.rows, size=0)
        if isinstance(event, ShardEnded):  # one that was lost tells no end of what it waited for
            self._waits = {
                key: wait
                for key, wait in self._waits.items()
                if wait.shard != event.shard or event.host not in {None, key[1]}
            }

    def _advance(self, ids: int, rows: int, size: int) -> None:
        self._done = _Done(self._get_time(), ids, rows, self._done.bytes + size)
        self._steps.append(self._done)

    def _wait(self, event: CallStarted | CallEnded | Paused | Resumed) -> None:
        now = self._get_time()
        of = (event.shard, event.host, event.table)
        match event:
            case CallStarted(where=where, limit=limit):
                self._waits[*of, where.side] = _Wait(
                    shard=event.shard,
                    part=part_text(event),
                    verb="running for",
                    what=f": {redact(str(where))}",
                    since=now,
                    limit=limit,
                    shown_after=_SLOW,
                )
            case CallEnded(where=where):
                self._waits.pop((*of, where.side), None)
            case Paused(detail=detail, seconds=seconds):
                self._waits[*of, "pause"] = _Wait(
                    shard=event.shard,
                    part=part_text(event),
                    verb="paused for",
                    what=f": {redact(detail)}",
                    since=now - seconds,
                    limit=None,
                    shown_after=_SLOW,
                )
            case Resumed():
                self._waits.pop((*of, "pause"), None)

    def status(self) -> Status:
        """Return how far the run is now."""
        now = self._get_time()
        ids, rows, size = self._speeds(now - self._window)
        share, left = None, None
        if self._shards.is_known:
            share, left = self._shards.share, self._left_of_shards(ids, rows)
            size = rows and self._done.bytes / self._told_rows * rows if self._told_rows else None
        elif self._max_id is not None:
            total = max(1, self._max_id + 1 - self._first_id)
            to_do = max(0, self._first_id + total - self._done.ids)
            share = 1 - to_do / total
            left = math.ceil(to_do / ids) if ids else None
            if not to_do:
                left = 0
        return Status(
            share=share,
            next_id=0 if self._shards.is_known else self._done.ids,
            max_id=self._max_id,
            rows=self._done.rows,
            rows_speed=rows,
            bytes_speed=size if self._differences is None else None,
            differences=self._differences,
            kills=self._kills,
            retries=self._retries,
            seconds_left=left,
            shards=self._shards_now() if self._shards.is_known else None,
            waits=tuple(self._waits_now(now)),
        )

    def _left_of_shards(self, ids: float | None, rows: float | None) -> float | None:
        """Return the seconds left, by the estimated rows, else by ids; None if not known."""
        of = self._shards
        if of.share == 1:
            return 0
        if of.estimated_rows:
            return math.ceil(max(0, of.estimated_rows - of.rows) / rows) if rows else None
        return math.ceil((of.ids - of.ids_done) / ids) if ids else None

    def _shards_now(self) -> ShardStatus:
        of, hosts = self._shards, dict[str | None, list[str]]()
        for one in of.running:
            hosts.setdefault(one.host, []).append(f"{one.number} ({one.share:.0%})")
        where = "; ".join(
            f"{'' if host is None else f'on {host}: '}{', '.join(those)}"
            for host, those in hosts.items()
        )
        return ShardStatus(
            shards=len(of),
            done=of.states["done"],
            running=of.states["running"],
            again=of.again,
            where=where and printable(f"under way {where}"),
        )

    def _waits_now(self, now: float) -> Iterator[str]:
        """Yield a line for each wait of the run, and for those of shards that last longest."""
        long = [wait for wait in self._waits.values() if now - wait.since >= wait.shown_after]
        yield from (wait.said(now) for wait in long if wait.shard is None)
        same = dict[tuple[str, str], list[_Wait]]()
        for wait in sorted(long, key=lambda one: one.since):
            if wait.shard is not None:
                same.setdefault((wait.verb, wait.what), []).append(wait)
        lines = [
            (
                waits[0] if len(waits) == 1 else replace(waits[0], part=f"{len(waits)} shards: ")
            ).said(now)
            for waits in same.values()
        ]
        shown = _MOST_WAITS if len(lines) <= _MOST_WAITS else _MOST_WAITS - 1
        yield from lines[:shown]
        if len(lines) > shown:
            yield f"and {len(lines) - shown} more such waits"

    def _speeds(self, since: float) -> tuple[float, float, float] | tuple[None, None, None]:
        """Return the ids, rows and bytes per second, None if that is not known."""
        while self._steps and self._steps[0].at < since:
            self._steps.popleft()
        if not self._steps or self._steps[0].at == self._steps[-1].at:
            return None, None, None
        first, last = self._steps[0], self._steps[-1]
        seconds = last.at - first.at
        ids, rows, size = (
            last.ids - first.ids,
            max(0, last.rows - first.rows),  # a target that failed over may have lost some
            last.bytes - first.bytes,
        )
        return ids / seconds, rows / seconds, size / seconds
