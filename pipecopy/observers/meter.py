"""How far a run is, by its events: what is done, how fast, and what is waited for."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
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
    StopRequested,
    WorkerKilled,
)
from pipecopy.observers.text import Status, printable
from pipecopy.redact import redact
from pipecopy.units import seconds_text

_SLOW = 1.0
"""Seconds after which a call is worth showing."""
_SPEED_WINDOW = 10.0
"""Seconds, at least, over which a speed is measured."""
_MOST_STEPS = 1000


@dataclass(frozen=True, kw_only=True)
class _Wait:
    """What the run waits for: a call, a pause, the end of what is in flight."""

    verb: str
    what: str
    since: float
    limit: float | None
    """None if only the whole run's bounds it."""
    shown_after: float = 0.0

    def so_long(self, now: float) -> str:
        return seconds_text(round(now - self.since))

    @property
    def of_limit(self) -> str:
        return "" if self.limit is None else f" of {seconds_text(self.limit)}"


class _Done(NamedTuple):
    """How much is done at a time."""

    at: float = 0.0
    next_id: int = 0
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
        self._waits: dict[str, _Wait] = {}

    def take(self, event: Event) -> None:
        """Take an event into account."""
        match event:
            case RunStarted(config=config, mode=mode):
                # so a call that hung until its limit is soon out of the speed
                self._window = max(_SPEED_WINDOW, config.call_timeout)
                self._differences = 0 if mode == "verify" else None
            case RangeKnown(first_id=first_id, max_id=max_id):
                self._first_id, self._max_id = first_id, max_id
                self._advance(first_id, rows=0, size=0)
            case BatchSaved(key_range=(_, end), rows=rows, bytes=size):
                self._advance(end, rows, size)
            case RangeVerified(key_range=(_, end), rows=rows):
                found = event.missing + event.surplus + event.differing
                self._differences = (self._differences or 0) + found
                self._advance(end, rows, size=0)
            case WorkerKilled():
                self._kills += 1
            case RetryScheduled():
                self._retries += 1
            case CallStarted() | CallEnded() | Paused() | Resumed() | StopRequested():
                self._wait(event)

    def _advance(self, next_id: int, rows: int, size: int) -> None:
        done = self._done
        self._done = _Done(self._get_time(), next_id, done.rows + rows, done.bytes + size)
        self._steps.append(self._done)

    def _wait(self, event: CallStarted | CallEnded | Paused | Resumed | StopRequested) -> None:
        now = self._get_time()
        match event:
            case CallStarted(where=where, limit=limit):
                self._waits[where.side] = _Wait(
                    verb="running for",
                    what=f": {redact(str(where))}",
                    since=now,
                    limit=limit,
                    shown_after=_SLOW,
                )
            case CallEnded(where=where):
                self._waits.pop(where.side, None)
            case Paused(detail=detail, seconds=seconds):
                self._waits["pause"] = _Wait(
                    verb="paused for",
                    what=f": {redact(detail)}",
                    since=now - seconds,
                    limit=None,
                    shown_after=_SLOW,
                )
            case Resumed():
                self._waits.pop("pause", None)
            case StopRequested(grace=grace, finishing=str(what)):
                self._waits["stop"] = _Wait(
                    verb="stopping:", what=f" for {what}", since=now, limit=grace
                )

    def status(self) -> Status:
        """Return how far the run is now."""
        now = self._get_time()
        ids, rows, size = self._speeds(now - self._window)
        share, left = None, None
        if self._max_id is not None:
            total = max(1, self._max_id + 1 - self._first_id)
            to_do = max(0, self._first_id + total - self._done.next_id)
            share = 1 - to_do / total
            left = math.ceil(to_do / ids) if ids else None
            if not to_do:
                left = 0
        return Status(
            share=share,
            next_id=self._done.next_id,
            max_id=self._max_id,
            rows=self._done.rows,
            rows_speed=rows,
            bytes_speed=size if self._differences is None else None,
            differences=self._differences,
            kills=self._kills,
            retries=self._retries,
            seconds_left=left,
            waits=tuple(
                # what is long comes last: the bar cuts its lines
                printable(f"{wait.verb} {wait.so_long(now)}{wait.of_limit}{wait.what}")
                for wait in self._waits.values()
                if now - wait.since >= wait.shown_after
            ),
        )

    def _speeds(self, since: float) -> tuple[float, float, float] | tuple[None, None, None]:
        """Return the ids, rows and bytes per second, None if that is not known."""
        while self._steps and self._steps[0].at < since:
            self._steps.popleft()
        if not self._steps or self._steps[0].at == self._steps[-1].at:
            return None, None, None
        first, last = self._steps[0], self._steps[-1]
        seconds = last.at - first.at
        ids, rows, size = (
            last.next_id - first.next_id,
            last.rows - first.rows,
            last.bytes - first.bytes,
        )
        return ids / seconds, rows / seconds, size / seconds
