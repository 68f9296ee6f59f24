"""How many shards each table of a run gets, by its size."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

_SMALLEST = 32 * 2**20
"""Bytes below which a table is not divided, unless a number of shards is asked for: they take about
half a second, ten times what a shard costs by itself."""
_OF_EACH_JOB = 4
"""Shards for each of those that are copied at once, so that none is left alone at the end."""


def default_shards(jobs: int) -> int:
    """Return how many shards there are in all if no size is known."""
    return _OF_EACH_JOB * jobs


def share(sizes: Sequence[int | None], shards: int | None, jobs: int) -> list[int]:
    """Return at most how many shards each table has, at least 1, by its size: bytes, or rows.

    All together have at most so many `shards`, if there are fewer tables than that. None: no shard
    is more than a part of all bytes that is small beside what `jobs` copy at once; then all sizes
    are known. Otherwise one that is not counts as the average.
    """
    known = [size for size in sizes if size is not None]
    if shards is not None:
        average = sum(known) / len(known) if known else 1.0
        return _divided([average if size is None else size for size in sizes], shards)
    biggest = max(_SMALLEST, sum(known) / default_shards(jobs))
    return [max(1, math.ceil(size / biggest)) for size in known]


def _divided(sizes: Sequence[float], shards: int) -> list[int]:
    """Give each shard to the table whose shards are the biggest."""
    parts = [1] * len(sizes)
    queue = [(-size, number) for number, size in enumerate(sizes)]
    heapq.heapify(queue)
    for _ in range(shards - len(sizes)):
        _, number = queue[0]
        parts[number] += 1
        heapq.heapreplace(queue, (-sizes[number] / parts[number], number))
    return parts
