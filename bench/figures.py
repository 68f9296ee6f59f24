"""What the figures of the JSON file come to: throughputs, ratios, and whether goals are reached."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeAlias

Figures: TypeAlias = dict[str, Any]
_DEFAULT = "pipecopy-10000-1"


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
        *_second_copy(figures.get("second_copy")),
        *_slow_line(figures.get("round_trips"), figures.get("latency")),
        *_cost(figures.get("memory"), figures.get("idle_call")),
        *_sparse(figures.get("sparse")),
        *_verify(figures.get("verify")),
    ]


def _throughput(small: Figures) -> Iterator[Goal]:
    for size in (10_000, 100_000):
        value = ratio(small, f"pipecopy-{size}-1", "pipe-binary")
        yield Goal(f"{size:,} rows a batch, of the binary pipe", 0.95, least=True, value=value)
    value = ratio(small, "pipecopy-1000-1", "floor-1000")
    yield Goal("1,000 rows a batch, of the floor", 0.85, least=True, value=value)
    peer = fastest_peer(small)
    yield Goal(
        f"10,000 rows a batch, of the fastest peer{f', {peer}' if peer else ''}",
        1.1,
        least=True,
        value=ratio(small, _DEFAULT, peer) if peer else None,
    )


def _second_copy(second: Figures | None) -> Iterator[Goal]:
    for state in ("vacuumed", "at once"):
        speed = wal = None
        if second is not None:
            speed = second["first"]["seconds"] / second[state]["seconds"]
            wal = second[state]["wal_megabytes"] / second["first"]["wal_megabytes"]
        which = f"second copy over an equal target, {state}"
        yield Goal(f"{which}: throughput, of the first", 0.8, least=True, value=speed)
        yield Goal(f"{which}: WAL, of the first's", 0.02, least=False, value=wal)


def _slow_line(trips: Figures | None, latency: Figures | None) -> Iterator[Goal]:
    for side, bound in (("save", 2), ("load", 1)):
        value = trips["first"][side] if trips else None
        yield Goal(f"round trips per {side}, first copy", bound, least=False, value=value)
    value = ratio(latency["contenders"], "pipecopy-100000-1", "pipe-binary") if latency else None
    yield Goal(
        "20 ms each way, 100,000 rows a batch, of the pipe there", 0.8, least=True, value=value
    )


def _cost(memory: Figures | None, idle: Figures | None) -> Iterator[Goal]:
    peaks = [peak["megabytes"] for peak in memory["peaks"]] if memory else []
    value = max(peaks, default=None)
    yield Goal("peak memory, 10,000 rows a batch", 160, least=False, value=value, unit=" MB")
    grown = peaks[-1] / peaks[0] if peaks else None
    yield Goal("peak memory of most rows, of that of fewest", 1.1, least=False, value=grown)
    value = idle["milliseconds"] if idle else None
    yield Goal("a call that does nothing", 0.5, least=False, value=value, unit=" ms")


def _sparse(sparse: Figures | None) -> Iterator[Goal]:
    value = sparse["sparse"] / sparse["dense"] if sparse else None
    title = "time for rows spread over 10**12 ids, of dense ones"
    yield Goal(title, 2, least=False, value=value)


def _verify(verify: Figures | None) -> Iterator[Goal]:
    for name, title in (("equal", "equal tables"), ("one", "one differing row")):
        value = verify[name] / verify["copy"] if verify else None
        yield Goal(f"time to verify {title}, of the copy's", 1, least=False, value=value)
