"""The timeline of a run, by its events, in constant memory however long the run is."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

from pipecopy.contracts import Side
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
    ShardEnded,
    ShardProgress,
    ShardStarted,
    StopRequested,
    Where,
    WorkerKilled,
)
from pipecopy.observers.page.attempts import Attempts
from pipecopy.observers.page.bounded import Block, Kept, Lane, Longest, Throughput, gathered
from pipecopy.observers.shards import Shards, Whole
from pipecopy.observers.text import one_line
from pipecopy.redact import redact
from pipecopy.units import seconds_text

# a page of them has less than 2 MB, whatever they say: bokeh 3.10 takes 1.4 MB of it (measured)
_INCIDENTS = 120, 60
"""The first ones and the last ones that are kept."""
_PAUSES = 60
"""The longest ones are kept: a limit of the rate makes a short one after each batch."""
_MOST_STACKS = 15
_LONGEST_STACK, _LONGEST_TEXT = 3000, 150
"""Characters."""
_WHAT = {"raised": "failed"}
_OF_DRIVER = (ShardStarted, ShardProgress, ShardEnded)
"""Events of a shard that this machine tells."""
_Who: TypeAlias = tuple[int | None, str | None]
"""Which shard, on which host."""


@dataclass(frozen=True, kw_only=True)
class Incident:
    """An attempt that did not return, or that the run was asked to stop."""

    what: str
    """`killed`, `timed out`, `failed`, `crashed`, `cut short`, or `stop requested`."""
    shard: int | None = None
    host: str | None = None
    side: Side | None = None
    call: str = ""
    first_id: int | None = None
    end_id: int | None = None
    attempt: int | None = None
    begin: float
    """Seconds since the run began, as `end`."""
    end: float
    detail: str = ""
    stack: int | None = None
    """Which of the stacks shows where it was stuck."""
    retry: float | None = None
    """Seconds after which it was tried again; None if it was not."""


@dataclass(frozen=True, kw_only=True)
class Pause:
    """The run waited on purpose."""

    reason: str
    detail: str
    begin: float
    """Seconds since the run began, as `end`."""
    end: float


class Timeline:
    """Takes the events of one run; `to_dict` may be called at any time."""

    def __init__(self) -> None:
        self.began: float | None = None
        """Seconds since 1970 UTC, of the first event."""
        self._whole, self._shards, self._attempts = Whole(), Shards(), Attempts()
        self._live: set[_Who] = set()
        """Those whose events come as they happen: of the others, they come with the result."""
        self._now = self._at = 0.0
        """The time by now, and that of the event: seconds since the run began."""
        self._since: dict[int | None, float] = {}
        """When the work began that will be done next, by the shard."""
        self._throughput = Throughput()
        self._lanes: dict[Side, Lane] = {"source": Lane("source"), "target": Lane("target")}
        self._incidents: Kept[Incident] = Kept(*_INCIDENTS)
        self._failed: dict[tuple[_Who, Side], Incident] = {}
        """The last one of each side, as long as it may be tried again."""
        self._killed: dict[tuple[_Who, Side], WorkerKilled] = {}
        self._pauses: Longest[Pause] = Longest(_PAUSES)
        self._open: dict[str, Pause] = {}
        self._paused: dict[str, set[_Who]] = {}
        """Who is, for each reason: several shards may be at once."""
        self._stacks: dict[str, int] = {}

    def take(self, event: Event) -> None:
        """Take an event into account."""
        if self.began is None:
            self.began = event.at
        of_run, at, rows = self._whole.has(event), event.at - self.began, self._shards.rows
        if isinstance(event, CallStarted):
            self._live.add((event.shard, event.host))
        is_live = (event.shard, event.host) in self._live or isinstance(event, _OF_DRIVER)
        if of_run or is_live:
            self._now = max(self._now, at)  # the clock may be set back meanwhile
        self._at = self._now if of_run else min(self._now, max(0.0, at))
        self._shards.take(event)
        self._attempts.take(event, self._at)
        match event:
            case CallStarted() | CallEnded() | WorkerKilled() | RetryScheduled():
                self._take_call(event)
            case Paused() | Resumed():
                self._take_pause(event)
            case ShardStarted() | RangeKnown():
                self._since[event.shard] = self._at
            case BatchSaved() | RangeVerified() | ShardProgress() | ShardEnded():
                done = self._shards.rows - rows if self._shards.is_known else event.rows
                size = event.bytes if isinstance(event, BatchSaved) else 0
                self._done(event.shard, max(0, done), size)
            case StopRequested() if of_run:
                self._take_stop(event)

    def _take_stop(self, event: StopRequested) -> None:
        said = ""
        if event.finishing is not None:
            said = f"finishing {event.finishing}, at most {seconds_text(event.grace)}"
        stop = Incident(what="stop requested", begin=self._at, end=self._at, detail=said)
        self._incidents.add(stop)

    def _done(self, shard: int | None, rows: int, size: int) -> None:
        since = min(self._at, self._since.get(shard, 0.0))
        self._throughput.add(since, self._at, rows, size)
        self._since[shard] = self._at

    def _take_call(self, event: CallStarted | CallEnded | WorkerKilled | RetryScheduled) -> None:
        side = event.where.side
        of = ((event.shard, event.host), side)
        match event:
            case CallStarted(where=where):
                self._keep_failed(of)
                if where.attempt > 1:
                    self._since[event.shard] = self._at  # nothing was done while it hung before
            case CallEnded(where=where, outcome=outcome, seconds=seconds):
                begin, failed = max(0.0, self._at - seconds), outcome != "returned"
                block = self._lanes[side].block(where.call, begin, failed=failed)
                block.extend(begin, self._at, _ids(where))
                block.count_one(seconds)
                if failed:
                    self._keep_failed(of)
                    self._failed[of] = self._incident(event)
            case WorkerKilled():
                self._killed[of] = event
            case RetryScheduled(delay=delay):
                if of in self._failed:
                    self._failed[of] = replace(self._failed[of], retry=delay)

    def _keep_failed(self, of: tuple[_Who, Side]) -> None:
        if (failed := self._failed.pop(of, None)) is not None:
            self._incidents.add(failed)

    def _incident(self, event: CallEnded) -> Incident:
        where = event.where
        killed = self._killed.pop(((event.shard, event.host), where.side), None)
        first, end = _ids(where)
        rows = "" if where.rows is None else f" of up to {where.rows:,} rows"
        return Incident(
            what="killed" if killed is not None else _WHAT.get(event.outcome, event.outcome),
            shard=event.shard,
            host=event.host,
            side=where.side,
            call=redact(f"{where.call}{rows}"),
            first_id=first,
            end_id=end,
            attempt=where.attempt,
            begin=max(0.0, self._at - event.seconds),
            end=self._at,
            detail=_short(event.detail),
            stack=None if killed is None else self._stack(killed),
        )

    def _stack(self, killed: WorkerKilled) -> int | None:
        stack = (
            "" if killed.hang is None else redact(killed.hang.stack.strip("\n"))[:_LONGEST_STACK]
        )
        if not stack or (stack not in self._stacks and len(self._stacks) == _MOST_STACKS):
            return None
        return self._stacks.setdefault(stack, len(self._stacks))

    def _take_pause(self, event: Paused | Resumed) -> None:
        who, paused = (event.shard, event.host), self._paused.setdefault(event.reason, set())
        match event:
            case Paused(reason=reason, detail=detail):
                paused.add(who)
                self._goes_on(reason, detail)
            case Resumed(reason=reason):
                paused.discard(who)
                if not paused:
                    self._pause_ended(reason)
                self._since[event.shard] = self._at

    def _goes_on(self, reason: str, detail: str) -> None:
        begin = self._open[reason].begin if reason in self._open else self._at
        pause = Pause(reason=reason, detail=_short(detail), begin=begin, end=self._at)
        self._open[reason] = pause

    def _pause_ended(self, reason: str) -> None:
        if (pause := self._open.pop(reason, None)) is not None:
            self._pauses.add(replace(pause, end=self._at), self._at - pause.begin)

    def to_dict(self) -> dict[str, Any]:
        """Return it as values that `json.dumps` takes; times are seconds since `began`."""
        blocks = [each for lane in self._lanes.values() for each in lane.blocks]
        incidents = sorted([*self._incidents.all, *self._failed.values()], key=lambda one: one.end)
        told = [_rounded(asdict(each)) for each in incidents]
        shards = None
        if self._shards.is_known:
            shards = self._attempts.to_dict(self._shards, self._now, told)
        pauses = [*self._pauses.all, *(replace(w, end=self._now) for w in self._open.values())]
        return {
            "began": None if self.began is None else round(self.began, 3),
            "utc_offset": time.localtime(self.began).tm_gmtoff,
            "seconds": round(self._now, 3),
            "throughput": {
                "seconds": self._throughput.seconds,
                "rows": [round(each, 1) for each in self._throughput.rows],
                "bytes": [round(each) for each in self._throughput.bytes],
            },
            "calls": _dicts(sorted(blocks, key=lambda one: one.begin)),
            "calls_by_kind": _dicts(_by_kind(blocks)),
            "shards": shards,
            "incidents": told,
            "incidents_left_out": self._incidents.left_out,
            "pauses": [_rounded(asdict(each)) for each in pauses],
            "pauses_left_out": self._pauses.left_out,
            "stacks": list(self._stacks),
        }


def _by_kind(blocks: Iterable[Block]) -> list[Block]:
    """Return the blocks of each kind as one, that which took most time first."""
    kinds = gathered(blocks, lambda one: (one.side, one.call, one.failed))
    return sorted(kinds.values(), key=lambda one: -one.busy)


def _dicts(blocks: Iterable[Block]) -> list[dict[str, Any]]:
    return [_rounded(block.to_dict()) for block in blocks]


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {name: round(v, 4) if isinstance(v, float) else v for name, v in values.items()}


def _ids(where: Where) -> tuple[int | None, int | None]:
    """Return the first id and where they end: that is not known of a call for so many rows."""
    first, end = where.key_range or (None, None)
    return first, None if where.rows is not None else end


def _short(text: str) -> str:
    text = redact(one_line(text))
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
