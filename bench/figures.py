"""What the figures of the JSON file come to: throughputs, ratios, and whether goals are reached."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeAlias

Figures: TypeAlias = dict[str, Any]
_DEFAULT, _SMALL_BATCHES = "pipecopy-10000-1", "pipecopy-1000-1"


def rows_per_second(result: Figures) -> float | None:
    """Return the median throughput; None if it did not take part."""
    return result["rows"] / median(result["seconds"]) if result["seconds"] else None


def throughput(contenders: Figures, name: str) -> float | None:
    """Return a contender's, None if there is none."""
    return rows_per_second(contenders[name]) if name in contenders else None


def ratio(contenders: Figures, name: str, to: str) -> float | None:
    """Return the one's throughput as a share of the other's."""
    one, other = throughput(contenders, name), throughput(contenders, to)
    return one / other if one and other else None


def fastest_peer(contenders: Figures) -> str | None:
    """Return the name of the fastest one that was measured."""
    peers = {
        name: speed
        for name, result in contenders.items()
        if result["kind"] == "peer" and (speed := rows_per_second(result))
    }
    return max(peers, key=lambda name: peers[name]) if peers else None


@dataclass(frozen=True)
class Goal:
    """A figure beside its bound."""

    title: str
    bound: float
    least: bool
    """The figure has to be at least the bound; else at most."""
    value: float | None
    """None if it was not measured."""
    unit: str = ""

    @property
    def goal(self) -> str:
        return f"{'≥' if self.least else '≤'} {self.bound:g}{self.unit}"

    @property
    def measured(self) -> str:
        return "not measured" if self.value is None else f"{self.value:.3g}{self.unit}"

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "—"
        reached = self.value >= self.bound if self.least else self.value <= self.bound
        return "reached" if reached else "**not reached**"


def goals(figures: Figures) -> list[Goal]:
    """Return all of them."""
    return [
        *_throughput(figures.get("data_sets", {}).get("small", {}).get("contenders", {})),
        *_other_sizes(figures.get("data_sets", {})),
        *_second_copy(figures.get("second_copy")),
        *_trips(figures.get("round_trips")),
        *_slow_line(figures.get("latency", {}).get("contenders", {})),
        *_cost(figures.get("memory"), figures.get("idle_call"), figures.get("cpu")),
        *_starts(figures.get("start_and_stop")),
        *_sparse(figures.get("sparse")),
        *_verify(figures.get("verify")),
    ]


def _least(
    title: str, bound: float, contenders: Figures, name: str, to: str | None = "pipe-binary"
) -> Goal:
    value = ratio(contenders, name, to) if to else None
    return Goal(title, bound, least=True, value=value)


def _throughput(small: Figures) -> Iterator[Goal]:
    for size in (10_000, 100_000):
        title = f"{size:,} rows a batch, of the binary pipe"
        yield _least(title, 0.95, small, f"pipecopy-{size}-1")
    yield _least("1,000 rows a batch, of the floor", 0.85, small, _SMALL_BATCHES, "floor-1000")
    peer = fastest_peer(small)
    title = f"10,000 rows a batch, of the fastest peer{f', {peer}' if peer else ''}"
    yield _least(title, 1.1, small, _DEFAULT, peer)


def _other_sizes(data_sets: Figures) -> Iterator[Goal]:
    fewer, more = (
        data_sets.get(name, {}).get("contenders", {}) for name in ("small_600k", "small_2m")
    )
    title = "rows, the whole command, of the binary pipe"
    yield _least(f"600,000 {title}", 0.9, fewer, "command-10000")
    yield _least(f"2,000,000 {title}", 0.95, more, "command-10000")
    yield _least("600,000 rows, 10,000 a batch, of the binary pipe", 0.93, fewer, _DEFAULT)
    title = "600,000 rows, 1,000 a batch, of the floor"
    yield _least(title, 0.88, fewer, _SMALL_BATCHES, "floor-1000")


def _second_copy(second: Figures | None) -> Iterator[Goal]:
    for state in ("vacuumed", "at once"):
        speed = wal = None
        if second is not None:
            speed = second["first"]["seconds"] / second[state]["seconds"]
            wal = second[state]["wal_megabytes"] / second["first"]["wal_megabytes"]
        which = f"second copy over an equal target, {state}"
        yield Goal(f"{which}: throughput, of the first", 0.8, least=True, value=speed)
        yield Goal(f"{which}: WAL, of the first's", 0.02, least=False, value=wal)


def _trips(trips: Figures | None) -> Iterator[Goal]:
    for when, title, bounds in (
        ("batch", "per batch", (1, 2)),
        ("before", "before the first load", (5, 5)),
        ("after", "after the last save", (2, 2)),
    ):
        for side, bound in zip(("source", "target"), bounds, strict=True):
            value = trips["first"][side][when] if trips else None
            yield Goal(f"round trips {title}, {side}", bound, least=False, value=value)


def _slow_line(contenders: Figures) -> Iterator[Goal]:
    title = "20 ms each way, 100,000 rows a batch, of the pipe there"
    yield _least(title, 0.88, contenders, "pipecopy-100000-1")
    title = "20 ms each way, `--batch-time 2s`, of 10,000 rows a batch"
    yield _least(title, 2, contenders, f"{_DEFAULT}-2s", _DEFAULT)


def _cost(memory: Figures | None, idle: Figures | None, cpu: Figures | None) -> Iterator[Goal]:
    peaks = [peak["megabytes"] for peak in memory["peaks"]] if memory else []
    value = max(peaks, default=None)
    yield Goal("peak memory, 10,000 rows a batch", 160, least=False, value=value, unit=" MB")
    grown = peaks[-1] / peaks[0] if peaks else None
    yield Goal("peak memory of most rows, of that of fewest", 1.1, least=False, value=grown)
    value = idle["milliseconds"] if idle else None
    yield Goal("a call that does nothing", 0.5, least=False, value=value, unit=" ms")
    ours, psql = (sum(cpu[name].values()) for name in ("pipecopy", "psql")) if cpu else (0, 0)
    value = ours / psql if psql else None
    yield Goal("CPU time of the client, of psql's two", 2.5, least=False, value=value)


def _starts(starts: Figures | None) -> Iterator[Goal]:
    command = copy = None
    if starts:
        command = starts["command"] / starts["python"]
        copy = starts["next_copy"] / 1000
    python = '`python -c "import psycopg"`'
    title = f"time of `pipecopy copy` of one row, of {python}"
    yield Goal(title, 1.8, least=False, value=command)
    title = "time of each copy of one row after the first in a process"
    yield Goal(title, 0.06, least=False, value=copy, unit=" s")


def _sparse(sparse: Figures | None) -> Iterator[Goal]:
    value = sparse["sparse"] / sparse["dense"] if sparse else None
    title = "time for rows spread over 10**12 ids, of dense ones"
    yield Goal(title, 2, least=False, value=value)


def _verify(verify: Figures | None) -> Iterator[Goal]:
    for name, title in (("equal", "equal tables"), ("one", "one differing row")):
        value = verify[name] / verify["copy"] if verify else None
        yield Goal(f"time to verify {title}, of the copy's", 1, least=False, value=value)
