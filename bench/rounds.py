"""Rounds: every contender in turn, so that a slow minute of the machine strikes all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median

from bench.contenders import Contender
from bench.servers import Servers


def run_rounds(
    servers: Servers,
    contenders: Sequence[Contender],
    rounds: int,
    progress: Callable[[str], None],
) -> dict[str, list[float]]:
    """Return each contender's seconds, by name; the first copy of each is checked."""
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        for contender in _rotated(contenders, number):
            servers.empty_target()
            start = time.monotonic()
            contender.copy(servers)
            seconds[contender.name].append(time.monotonic() - start)
            progress(f"round {number + 1}: {seconds[contender.name][-1]:6.2f} s  {contender.name}")
            if number == 0:
                servers.assert_copied()
    return seconds


def _rotated(contenders: Sequence[Contender], number: int) -> Iterator[Contender]:
    # Nobody always follows the same one.
    first = number % len(contenders)
    yield from contenders[first:]
    yield from contenders[:first]


def summary(seconds: dict[str, list[float]], rows: int) -> dict[str, dict[str, float]]:
    """Return medians, and the throughput as a share of the first contender's."""
    limit = median(next(iter(seconds.values())))
    return {
        name: {
            "seconds": round(median(times), 3),
            "rows_per_second": round(rows / median(times)),
            "ratio": round(limit / median(times), 3),
        }
        for name, times in seconds.items()
    }
