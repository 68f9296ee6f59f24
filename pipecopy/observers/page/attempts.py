"""The attempts of the shards of a run: when each was under way, and on which host."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pipecopy.events import Event, ShardEnded, ShardStarted
from pipecopy.observers.shards import ShardNow, Shards
from pipecopy.redact import redact

_MOST_BARS = 1_200
"""In the chart: of more, those of one kind that follow each other are one."""
_MOST_ROWS = 100
"""Shards that are listed, and as many that are so since they were run again, or did not end."""


@dataclass(kw_only=True)
class Attempt:
    """One attempt of a shard."""

    shard: int
    attempt: int
    begin: float
    """Seconds since the run began, as `end`."""
    end: float | None = None
    """None as long as it is under way."""
    host: str | None = None
    outcome: str = "cut short"
    """As `ShardEnded` tells it; `cut short` if the run ended before it."""


@dataclass(kw_only=True)
class Bar:
    """Attempts that ended alike and followed each other in one lane: most often one."""

    lane: int
    begin: float
    end: float
    outcome: str
    shard: int
    """The first one's, as `attempt`."""
    attempt: int
    busy: float
    """Seconds of all of them together."""
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Host:
    """The lanes of one host, one above the other."""

    host: str | None
    lane: int
    """The first one."""
    lanes: int


@dataclass(kw_only=True)
class _Laid:
    """Attempts in lanes: those of one lane were never under way at once."""

    hosts: list[Host] = field(default_factory=list)
    lanes: list[tuple[int, Attempt]] = field(default_factory=list)


class Attempts:
    """Takes the events of the shards of one run."""

    def __init__(self) -> None:
        self._all: dict[tuple[int, int], Attempt] = {}
        self._last: dict[int, Attempt] = {}
        """Of each shard."""

    def take(self, event: Event, at: float) -> None:
        """Take an event of a shard into account, which came at that time of the run."""
        if event.shard is None:
            return
        match event:
            case ShardStarted(shard=int(shard), attempt=number):
                one = self._attempt(shard, number, at)
                one.begin = min(one.begin, at)
            case ShardEnded(shard=int(shard), attempt=number, outcome=outcome):
                one = self._attempt(shard, number, at)
                one.end, one.outcome = at, outcome
                one.host = event.host or one.host
            case _:
                last = self._last.get(event.shard)
                if last is not None and last.end is None:
                    last.host = event.host or last.host

    def _attempt(self, shard: int, number: int, at: float) -> Attempt:
        new = Attempt(shard=shard, attempt=number, begin=at)
        one = self._all.setdefault((shard, number), new)
        if (last := self._last.get(shard)) is None or last.attempt <= number:
            self._last[shard] = one
        return one

    def to_dict(
        self, shards: Shards, now: float, incidents: Iterable[dict[str, Any]]
    ) -> dict[str, Any]:
        """Return the chart, and the shards that took longest, as values that `json.dumps` takes.

        Each of the incidents is given the lane in which it was.
        """
        whole = [
            replace(one, end=now if one.end is None else one.end) for one in self._all.values()
        ]
        laid = _laid(whole)
        by_shard = defaultdict[int, list[tuple[int, Attempt]]](list)
        for lane, one in laid.lanes:
            by_shard[one.shard].append((lane, one))
        for incident in incidents:
            incident["lane"] = _lane_at(by_shard.get(incident["shard"], ()), incident)
        rows = sorted(
            (_row(one, [each for _, each in by_shard[one.number]]) for one in shards.all),
            key=lambda row: (-row["seconds"], row["shard"]),
        )
        odd = [row for row in rows if _is_odd(row)][:_MOST_ROWS]
        begun = [row for row in rows if row["attempts"] and not _is_odd(row)]
        listed = [*odd, *begun[:_MOST_ROWS]]
        return {
            "jobs": shards.jobs,
            "count": len(shards),
            "states": {name: number for name, number in shards.states.items() if number},
            "again": shards.again,
            "hosts": [asdict(host) for host in laid.hosts],
            "bars": [_rounded(asdict(bar)) for bar in _bars(laid.lanes, now)],
            "listed": [_rounded(row) for row in listed],
            "left_out": len(rows) - len(listed),
        }


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {name: round(v, 4) if isinstance(v, float) else v for name, v in values.items()}


def _end(one: Attempt) -> float:
    return one.begin if one.end is None else one.end


def _laid(attempts: Sequence[Attempt]) -> _Laid:
    """Return the attempts in lanes, those of each host beside each other."""
    laid = _Laid()
    by_host = defaultdict[str | None, list[Attempt]](list)
    for one in attempts:
        by_host[one.host].append(one)
    first = 0
    for host in sorted(by_host, key=lambda name: (name is None, name or "")):
        ends: list[float] = []
        for one in sorted(by_host[host], key=lambda each: each.begin):
            lane = next((n for n, end in enumerate(ends) if end <= one.begin), len(ends))
            ends[lane : lane + 1] = [_end(one)]
            laid.lanes.append((first + lane, one))
        laid.hosts.append(Host(host=host and redact(host), lane=first, lanes=len(ends)))
        first += len(ends)
    return laid


def _bars(lanes: Sequence[tuple[int, Attempt]], now: float) -> list[Bar]:
    slot = max(now, 0.001) / _MOST_BARS
    bars = list(_single(lanes))
    while len(bars) > _MOST_BARS:
        found: dict[tuple[int, int, str], Bar] = {}
        for bar in bars:
            of = found.setdefault((bar.lane, int(bar.begin / slot), bar.outcome), bar)
            if of is not bar:
                of.end = max(of.end, bar.end)
                of.busy += bar.busy
                of.count += bar.count
        bars, slot = list(found.values()), slot * 2
    _lay_apart(bars)
    return bars


def _lay_apart(bars: Sequence[Bar]) -> None:
    """Have no bar cover another one: one that stands for several is as long as these together."""
    until: dict[int, float] = {}
    for bar in sorted(bars, key=lambda each: each.begin):
        bar.begin = max(bar.begin, until.get(bar.lane, 0.0))
        until[bar.lane] = bar.end = bar.begin + bar.busy


def _single(lanes: Sequence[tuple[int, Attempt]]) -> Iterator[Bar]:
    for lane, one in lanes:
        yield Bar(
            lane=lane,
            begin=one.begin,
            end=_end(one),
            busy=_end(one) - one.begin,
            outcome=one.outcome,
            shard=one.shard,
            attempt=one.attempt,
        )


def _lane_at(attempts: Sequence[tuple[int, Attempt]], incident: dict[str, Any]) -> int | None:
    """Return the lane of the attempt in which it was: on its host, if that is known."""
    fits = [
        (one.host != incident["host"], not one.begin <= incident["end"] <= _end(one), lane)
        for lane, one in attempts
    ]
    return min(fits)[-1] if fits else None


def _is_odd(row: dict[str, Any]) -> bool:
    return row["attempts"] > 1 or row["state"] in {"failed", "running"}


def _row(shard: ShardNow, attempts: Sequence[Attempt]) -> dict[str, Any]:
    return {
        "shard": shard.number,
        "table": None if shard.table is None else redact(shard.table),
        "host": None if shard.host is None else redact(shard.host),
        "first_id": shard.first,
        "end_id": shard.first + shard.ids,
        "rows": shard.rows,
        "attempts": len(attempts),
        "seconds": sum(_end(one) - one.begin for one in attempts),
        "state": shard.state,
    }
