"""The exit codes: what each means, whether to run again, and which one an error has."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from enum import IntEnum

from pipecopy.cli.main import HOST_ERROR, INTERNAL_ERROR, StoppedBySignal
from pipecopy.errors import (
    ConfigError,
    DatabaseError,
    FullCopyTimeoutError,
    HostError,
    PipecopyError,
    TableMismatchError,
)
from pipecopy.finding import Finding
from pipecopy.report import CheckReport


class Exit(IntEnum):
    """What the process ends with; 128 + the number of the signal if one stopped it."""

    DONE = 0
    USAGE = 2
    SOURCE = 3
    TARGET = 4
    MISMATCH = 5
    INTERNAL = INTERNAL_ERROR
    HOST = HOST_ERROR
    AGAIN = 75
    FULL_COPY_TIMEOUT = 124


@dataclass(frozen=True)
class Meaning:
    """What an exit code says."""

    code: int
    what: str
    again: str
    """Whether it is safe to run the same command again, and when that helps."""


MEANINGS = (
    Meaning(Exit.DONE, "done", "yes: nothing is doubled"),
    Meaning(Exit.USAGE, "wrong usage or configuration", "yes, once it is fixed"),
    Meaning(Exit.SOURCE, "the source failed", "yes, once it is fixed"),
    Meaning(Exit.TARGET, "the target failed", "yes, once it is fixed"),
    Meaning(
        Exit.MISMATCH,
        "the tables do not match, one changed on the way, or `verify` found differences",
        "yes, once it is fixed",
    ),
    Meaning(Exit.INTERNAL, "internal error", "yes, and report it"),
    Meaning(
        Exit.HOST,
        "this machine refused something that a run needs: a process, memory, a descriptor, a"
        " system call",
        "yes, once it is fixed",
    ),
    Meaning(
        Exit.AGAIN,
        "a call timed out on all its attempts, another run holds the target, or a server ended a"
        " session or failed over",
        "yes: it passes by itself",
    ),
    Meaning(Exit.FULL_COPY_TIMEOUT, "the whole run reached its limit", "yes, with more time"),
    Meaning(129, "stopped by SIGHUP", "yes"),
    Meaning(130, "stopped by SIGINT", "yes"),
    Meaning(143, "stopped by SIGTERM", "yes"),
)
_WIDE, _AGAIN_WIDE = 44, 24
"""Characters of the two columns of text in the help."""


def _table() -> str:
    """Return the exit codes as the help has them."""
    lines = [f"{'Exit codes:':<{_WIDE + 7}}safe to run again?"]
    for meaning in MEANINGS:
        left = textwrap.wrap(meaning.what, _WIDE - 2)
        right = textwrap.wrap(meaning.again, _AGAIN_WIDE)
        for number in range(max(len(left), len(right))):
            code = f"{meaning.code:5}" if number == 0 else " " * 5
            what, again = ((part[number : number + 1] or [""])[0] for part in (left, right))
            lines.append(f"{code}  {what:<{_WIDE}}{again}".rstrip())
    return "\n".join(lines)


EXIT_CODES = _table()


def exit_code(error: BaseException) -> int:
    """Return the exit code for the error."""
    code: int = Exit.INTERNAL
    match error:
        case StoppedBySignal(signum=signum):
            code = 128 + signum
        case ConfigError():
            code = Exit.USAGE
        case HostError():
            code = Exit.HOST
        case DatabaseError(lacks_module=True):  # psycopg is missing, or finds no libpq
            code = Exit.INTERNAL
        case PipecopyError(passes=True):
            code = Exit.AGAIN
        case FullCopyTimeoutError():
            code = Exit.FULL_COPY_TIMEOUT
        case TableMismatchError():
            code = Exit.MISMATCH
        case DatabaseError(side=str(side)):
            code = _of_side(side)
    return code


def check_code(report: CheckReport) -> int:
    """Return the exit code that a copy would end with, by the first problem that it would meet."""
    match next(iter(report.problems), None):
        case None:
            return Exit.DONE
        case Finding(cause="timed out" | "busy"):
            return Exit.AGAIN
        case Finding(cause="failed", side=side):
            return _of_side(side)
    return Exit.MISMATCH


def _of_side(side: str | None) -> Exit:
    return Exit.SOURCE if side == "source" else Exit.TARGET
