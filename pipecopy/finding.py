"""What was found out about a table: a driver tells it, reports show it.

A file of its own: a fork server imports it with the drivers, and the reports would take 6 ms more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Mark: TypeAlias = Literal["ok", "warning", "problem"]
Cause: TypeAlias = Literal["failed", "timed out", "busy", "unfit"]
"""What a copy would end of: a call that failed, one that timed out, another copy that holds the
target, tables that do not fit together."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at: that it is well, or what speaks against a copy."""

    side: Literal["source", "target"] | None = None
    """None for what is about both, and for what a driver says of its own side."""
    what: str
    """A word or two, such as `rights`."""
    mark: Mark
    message: str
    remedy: str | None = None
    """What to do about it: a sentence, or SQL that ends with a semicolon."""
    cause: Cause | None = None
    """Of a problem; None for `unfit`."""

    def __str__(self) -> str:
        """Return it as one line, with its side."""
        line = with_remedy(self.message, self.remedy)
        return line if self.side is None else f"{self.side}: {line}"


def problem(message: str, remedy: str | None = None, *, what: str = "table") -> Finding:
    """Return a reason not to copy."""
    return Finding(what=what, mark="problem", message=message, remedy=remedy)


def warning(message: str, remedy: str | None = None, *, what: str = "table") -> Finding:
    """Return what one should know before a copy."""
    return Finding(what=what, mark="warning", message=message, remedy=remedy)


def with_remedy(message: str, remedy: str | None) -> str:
    """Return a message, and what to do about it, as one line."""
    return message if remedy is None else f"{message} What to do: {remedy}"
