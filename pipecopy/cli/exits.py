"""The exit codes: one place says what each error ends the process with."""

from __future__ import annotations

from enum import IntEnum

from pipecopy.cli.stop import StoppedBySignal
from pipecopy.errors import (
    CallTimeoutError,
    ConfigError,
    DatabaseError,
    FullCopyTimeoutError,
    TableMismatchError,
)
from pipecopy.report import CheckReport, VerifyReport

_HELD = ("55006", "pipecopy.postgres.errors.PostgresError")
"""The SQLSTATE and the class of a refusal where another copy holds the target.

The class tells it from what the server itself calls "object in use": only what takes the
copy's lock raises it with that SQLSTATE: `connect`, a call that had to connect again, `create`.
"""


_PASSING = ("08", "40001", "40P01", "53300", "57P01", "57P02", "57P03")
"""SQLSTATEs, or their beginnings, of what passes: a connection that broke or leads to another
server, a session that the server ended, and what it says of itself while it starts or is full."""
_PROTOCOL_VIOLATION = "08P01"
"""Of class 08, but it does not pass: a value that the server can't read."""


class Exit(IntEnum):
    """What the process ends with; 128 + the signal's number where a signal stopped it."""

    DONE = 0
    USAGE = 2
    SOURCE = 3
    TARGET = 4
    MISMATCH = 5
    INTERNAL = 70
    AGAIN = 75
    FULL_COPY_TIMEOUT = 124


EXIT_CODES = """\
Exit codes:
    0  done
    2  wrong usage or configuration
    3  the source failed
    4  the target failed
    5  the two tables do not fit together, one changed on the way,
       or `verify` found differences
   70  internal error
   75  a call timed out on all its attempts, another copy holds the
       target, or a server ended a session or failed over: run it
       again
  124  the full-copy timeout was reached
  129, 130, 143  stopped by SIGHUP, SIGINT, SIGTERM"""


def exit_code(error: BaseException) -> int:
    """Return the exit code that tells of the error."""
    code: int = Exit.INTERNAL
    match error:
        case StoppedBySignal(signum=signum):
            code = 128 + signum
        case ConfigError():
            code = Exit.USAGE
        case CallTimeoutError():
            code = Exit.AGAIN
        case DatabaseError(side="target", sqlstate=sqlstate, driver_error=name) if (
            sqlstate,
            name,
        ) == _HELD:
            code = Exit.AGAIN
        case DatabaseError(sqlstate=str(sqlstate)) if (
            sqlstate.startswith(_PASSING) and sqlstate != _PROTOCOL_VIOLATION
        ):
            code = Exit.AGAIN
        case FullCopyTimeoutError():
            code = Exit.FULL_COPY_TIMEOUT
        case TableMismatchError():
            code = Exit.MISMATCH
        case DatabaseError(side="source"):
            code = Exit.SOURCE
        case DatabaseError(side="target"):
            code = Exit.TARGET
    return code


def check_code(report: CheckReport) -> int:
    """Return the exit code that a copy would end with, by the first problem that it would meet."""
    for problem in report.problems:
        if problem.cause in {"timed out", "busy"}:
            return Exit.AGAIN
        if problem.cause == "failed":
            return Exit.SOURCE if problem.side == "source" else Exit.TARGET
        return Exit.MISMATCH
    return Exit.DONE


def verify_code(report: VerifyReport) -> int:
    """Return the exit code of a verification that came to its end."""
    return Exit.DONE if report.equal else Exit.MISMATCH
