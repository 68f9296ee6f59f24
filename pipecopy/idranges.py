"""Ids as people write them: `5-9, 12`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

_RANGES = 10
"""How many ranges are written out."""


def id_ranges(ids: Iterable[int], *, count: int) -> str:
    """Return the first of the ids, in order, as `5-9, 12`; with `…` if they are not all `count`."""
    shown = list(islice(_ranges(ids), _RANGES))
    text = ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in shown)
    held = sum(last - first + 1 for first, last in shown)
    return text if held >= count else f"{text}, …"


def _ranges(ids: Iterable[int]) -> Iterator[tuple[int, int]]:
    first = last = None
    for key in ids:
        if first is None or last is None:
            first = last = key
        elif key == last + 1:
            last = key
        else:
            yield first, last
            first = last = key
    if first is not None and last is not None:
        yield first, last
