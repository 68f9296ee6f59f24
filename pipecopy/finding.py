"""What was found out about a table: a driver tells it, reports show it.

A file of its own: a fork server imports it with the drivers, and the reports would take 6 ms more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pipecopy.arguments import argument

Mark: TypeAlias = Literal["ok", "warning", "problem"]
Cause: TypeAlias = Literal["failed", "timed out", "busy", "unfit"]
"""What a copy would end of: a call that failed, one that timed out, what passes by itself (another
copy holds the target, a server is full or ends sessions), tables that do not match."""

_ALIKE = 0.75
"""How like a known name has to be, from 0 to 1."""
_PLAIN = re.compile("[a-z_][a-z0-9_]*")
"""A name that means this very column without quotes."""


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
    """What to do about it: a clause such as `check the name`, or SQL that ends with a semicolon."""
    cause: Cause | None = None
    """Of a problem; None for `unfit`."""

    def __str__(self) -> str:
        """Return it as one line."""
        return " ".join(with_remedy(self.message, self.remedy).splitlines())  # a name may have two


def problem(message: str, remedy: str | None = None, *, what: str = "table") -> Finding:
    """Return a reason not to copy."""
    return Finding(what=what, mark="problem", message=message, remedy=remedy)


def warning(message: str, remedy: str | None = None, *, what: str = "table") -> Finding:
    """Return what one should know before a copy."""
    return Finding(what=what, mark="warning", message=message, remedy=remedy)


def with_remedy(message: str, remedy: str | None) -> str:
    """Return a message, and what to do about it unless it says so already, as one line."""
    if remedy is None or message.endswith(remedy):
        return message
    return and_more(message, _to_do(remedy))


def and_more(message: str, more: str) -> str:
    """Return a message, which may end with what to do, and what follows, as one line."""
    return f"{message.rstrip('.;')}; {more}"


def _to_do(remedy: str) -> str:
    is_sql = remedy.endswith(";") and remedy.split(maxsplit=1)[0].isupper()
    return f"run {remedy}" if is_sql else remedy


def without_remedy(text: str, remedy: str | None) -> str:
    """Return the message alone."""
    return text if remedy is None else text.removesuffix(f"; {_to_do(remedy)}")


def side_name(side: str, dbname: str) -> str:
    """Return a side and its database, such as `source prod`."""
    return f"{side} {name_text(dbname)}"


def name_text(dbname: str) -> str:
    """Return a database's name as messages have it: in quotes if it is empty or has spaces."""
    return repr(dbname) if " " in dbname or not dbname else dbname


def leaving_out(*columns: str) -> str:
    """Return what to do so that these columns are not copied."""
    return f"leave it out ({argument(exclude=[*map(as_written, columns)])})"


def did_you_mean(name: str, known: Iterable[str], shown: Callable[[str], str] = str) -> str:
    """Return what to say about an unknown name that is like a known one; "" if none is."""
    from difflib import get_close_matches  # noqa: PLC0415 - takes 3 ms: seldom needed

    like = get_close_matches(name, [*known], n=1, cutoff=_ALIKE)
    return f" (did you mean {shown(like[0])}?)" if like else ""


def as_written(column: str) -> str:
    """Return the name as a list of columns has it."""
    doubled = column.replace('"', '""')
    return column if _PLAIN.fullmatch(column) else f'"{doubled}"'
