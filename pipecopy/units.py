"""Durations, sizes, counts and ids as people write them: `1d12h`, `64M`, `10k`, `5-9, 12`.

A bare number is a number of seconds, or of bytes. In bytes `M` and `MiB` are 2**20, as for GNU's
tools, and `MB` is 10**6; in a count, such as of rows, `k` is 1,000.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from itertools import islice

import durationpy

from pipecopy.config import MAX_RATE, MAX_SECONDS

# durationpy skips what it does not know between two parts, and takes `mm` for a month
_PARTS = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|min|m|h|d|w))+")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_BYTES: dict[str, int] = {
    "": 1,
    "b": 1,
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", 1)},
    **{
        f"{prefix}{rest}": 1024**power
        for power, prefix in enumerate("kmgt", 1)
        for rest in ("", "i", "ib")
    },
}
_COUNTS: dict[str, int] = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3}
_MINUTE, _TEN_MINUTES = 60, 600
_RANGES = 10
"""How many ranges of ids are written out."""
_AMOUNT = re.compile(r"([0-9]+)(?:\.([0-9]+))?\s*([a-z]*)", re.IGNORECASE)
_ROWS = re.compile(r"\s*rows?$", re.IGNORECASE)
_LONGEST = 40
"""Characters of a number: Python reads no text of more than 4,300 digits."""


def seconds_of(text: str) -> float:
    """Return the seconds that the text stands for; a ValueError says what is wrong with it."""
    if _NUMBER.fullmatch(text):
        seconds = float(text)
    elif _PARTS.fullmatch(text):
        try:
            seconds = durationpy.from_str(text.replace("min", "m")).total_seconds()
        except durationpy.DurationError:  # too long for a timedelta
            seconds = float("inf")
    else:
        raise ValueError(f'"{text}" is not a valid duration such as 250ms, 30s, 5m, 1h30m or 1d')
    if seconds > MAX_SECONDS:
        raise ValueError(f'"{text}" is longer than {MAX_SECONDS} seconds')
    return seconds


def duration_text(seconds: float) -> str:
    """Return the duration as people write it, without parts too small to matter."""
    if seconds <= 0:
        return "0s"
    days, rest = divmod(timedelta(milliseconds=max(1, round(seconds * 1000))), timedelta(days=1))
    text = str(durationpy.to_str(rest)) if rest or not days else ""
    return f"{days}d{text}" if days else text


def seconds_text(seconds: float) -> str:
    """Return the duration as sentences have it: `250 ms`, `2.03 s`, `1m30s`, to three digits or so.

    An option's value is told as it is written: see `duration_text`.
    """
    rounded = float(f"{max(0.0, seconds):.3g}")
    if 0 < rounded < 1:
        return f"{max(1, round(1000 * rounded))} ms"
    if rounded < _MINUTE:
        return f"{rounded:g} s"
    return duration_text(round(seconds, 1 if seconds < _TEN_MINUTES else 0))


def bytes_of(text: str) -> int:
    """Return the number of bytes; a ValueError says what is wrong with it."""
    amount = _amount(text, _BYTES)
    if amount is None:
        raise ValueError(f'"{text}" is not a valid size such as 64M, 64MiB or 500kB')
    whole, _ = amount
    return whole


def count_of(text: str) -> int:
    """Return the whole number; a ValueError says what is wrong with it."""
    sign = text[:1] if text[:1] in {"+", "-"} else ""
    amount = _amount(text.removeprefix(sign), _COUNTS)
    if amount is None or amount[1]:
        raise ValueError(f'"{text}" is not a whole number such as 500 or 10k')
    return -amount[0] if sign == "-" else amount[0]


def rate_of(text: str) -> tuple[int | None, int | None]:
    """Return the bytes and the rows a second, one of which the text gives.

    A ValueError says what is wrong with it.
    """
    a_second = text.strip().removesuffix("/s").rstrip()
    amount = _ROWS.sub("", a_second)
    try:
        size = bytes_of(amount) if amount == a_second else None
        rows = count_of(amount) if size is None else None
    except ValueError:
        raise ValueError(f'"{text}" is not a valid rate such as 20MB or 5000rows') from None
    if not 0 < (size or rows or 0) <= MAX_RATE:
        raise ValueError(f'"{text}" is not more than 0 and at most {MAX_RATE} a second')
    return size, rows


def _amount(text: str, units: Mapping[str, int]) -> tuple[int, bool] | None:
    """Return how many it is, rounded down, and whether it was; None if it has none of the units."""
    match = _AMOUNT.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    unit = units.get(match[3].lower()) if match else None
    if match is None or unit is None:
        return None
    part = match[2] or ""
    whole, rest = divmod(int(match[1] + part) * unit, 10 ** len(part))
    return whole, rest > 0


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
