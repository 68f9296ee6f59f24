"""Sizes as people write them: `64MiB`, `500kB`, `1GB`; a bare number is bytes."""

from __future__ import annotations

import re
from fractions import Fraction

_UNITS: dict[str, int] = {
    "": 1,
    "b": 1,
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", 1)},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgt", 1)},
}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?b)?\s*", re.IGNORECASE)


def bytes_of(text: str) -> int:
    """Return the number of bytes; a ValueError says what is wrong with it."""
    match = _SIZE.fullmatch(text)
    unit = _UNITS.get((match[2] or "").lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f'"{text}" is no size such as 64MiB, 500kB, 1GB, or a number of bytes')
    return int(Fraction(match[1]) * unit)


def size_text(size: int) -> str:
    """Return the size in the greatest unit of 1024 that it is a multiple of."""
    for unit, name in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if size and size % unit == 0:
            return f"{size // unit}{name}"
    return str(size)
