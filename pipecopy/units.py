"""Durations, sizes, counts and ids as people write them: `250ms`, `64MiB`, `2 retries`, `5-9, 12`.

A bare number is a number of seconds, or of bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import islice

import durationpy

from pipecopy.config import MAX_SECONDS

# durationpy skips what it does not know between two parts, and takes `mm` for a month
_PARTS = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))+")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_UNITS: dict[str, int] = {
    "": 1,
    "b": 1,
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", 1)},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgt", 1)},
}
_RANGES = 10
"""How many ranges of ids are written out."""
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?b)?\s*", re.IGNORECASE)


def seconds_of(text: str) -> float:
    """Return the seconds that the text stands for; a ValueError says what is wrong with it."""
    if _NUMBER.fullmatch(text):
        seconds = float(text)
    elif _PARTS.fullmatch(text):
        try:
            seconds = durationpy.from_str(text).total_seconds()
        except durationpy.DurationError:  # too long for a timedelta
            seconds = float("inf")
    else:
        raise ValueError(f'"{text}" is not a valid duration such as 250ms, 30s, 5m or 1h30m')
    if seconds > MAX_SECONDS:
        raise ValueError(f'"{text}" is longer than {MAX_SECONDS} seconds')
    return seconds


def duration_text(seconds: float) -> str:
    """Return the duration as people write it, without parts too small to matter."""
    if seconds <= 0:
        return "0s"
    text = durationpy.to_str(timedelta(milliseconds=max(1, round(seconds * 1000))))
    return str(text)


def bytes_of(text: str) -> int:
    """Return the number of bytes; a ValueError says what is wrong with it."""
    match = _SIZE.fullmatch(text)
    unit = _UNITS.get((match[2] or "").lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f'"{text}" is not a valid size such as 64MiB, 500kB or 1GB')
    whole, _, part = match[1].partition(".")
    scale: int = 10 ** len(part)
    return int(whole + part) * unit // scale


def size_text(size: int) -> str:
    """Return the size in the greatest unit of 1024 that it is a multiple of."""
    for unit, name in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if size and size % unit == 0:
            return f"{size // unit}{name}"
    return str(size)


def counted(number: int, one: str) -> str:
    """Return `1 kill`, `2 kills`; `retry` becomes `retries`, `batch` `batches`."""
    many = re.sub("y$", "ie", re.sub("ch$", "che", one)) + "s"
    return f"{number:,} {one if number == 1 else many}"


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
