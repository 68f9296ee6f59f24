"""Durations as people write them: `250ms`, `30s`, `5m`, `1h30m`; a bare number is seconds."""

from __future__ import annotations

import re
from datetime import timedelta

import durationpy

from pipecopy.config import MAX_SECONDS

# durationpy skips what it does not know between two parts, and takes `mm` for a month
_PARTS = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))+")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")


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
        raise ValueError(f'"{text}" is no duration such as 250ms, 30s, 5m or 1h30m')
    if seconds > MAX_SECONDS:
        raise ValueError(f'"{text}" is longer than {MAX_SECONDS} seconds')
    return seconds


def duration_text(seconds: float) -> str:
    """Return the duration as people write it, without parts too small to matter."""
    if seconds <= 0:
        return "0s"
    text = durationpy.to_str(timedelta(milliseconds=max(1, round(seconds * 1000))))
    return str(text)
