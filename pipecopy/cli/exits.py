"""How a command ends: its exit code, its last lines, and its report as JSON."""

from __future__ import annotations

import json
import traceback
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from pipecopy.cli.main import INTERNAL_ERROR, StoppedBySignal
from pipecopy.cli.options import Output
from pipecopy.cli.text import far_line, one_line, summary_lines, verdict_line
from pipecopy.errors import (
    ConfigError,
    DatabaseError,
    FullCopyTimeoutError,
    HostError,
    PipecopyError,
    TableMismatchError,
)
from pipecopy.redact import redact
from pipecopy.report import CheckReport, CopyReport, Report, VerifyReport


class Exit(IntEnum):
    """What the process ends with; 128 + the number of the signal if one stopped it."""

    DONE = 0
    USAGE = 2
    SOURCE = 3
    TARGET = 4
    MISMATCH = 5
    INTERNAL = INTERNAL_ERROR
    HOST = 71
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
   71  this machine refused something that a run needs
   75  a call timed out on all its attempts, another copy holds the
       target, or a server ended a session or failed over: run it
       again
  124  the full-copy timeout was reached
  129, 130, 143  stopped by SIGHUP, SIGINT, SIGTERM"""


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
            code = Exit.SOURCE if side == "source" else Exit.TARGET
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


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What is left to do before the process ends."""

    code: int
    lines: tuple[str, ...] = ()
    """For standard error."""
    text: str = ""
    """For standard output."""


def completed(report: Report, output: Output) -> Ending:
    """Return the ending of a run that is complete."""
    code, lines, text = int(Exit.DONE), list[str](), ""
    match report:
        case CheckReport():
            code, text = check_code(report), _page(report)
        case VerifyReport():
            code = Exit.DONE if report.equal else Exit.MISMATCH
            lines = [verdict_line(report)] if code else []
    if not (output.quiet or isinstance(report, CheckReport)):
        lines = [*_warnings(report), *summary_lines(report)]
    if output.json:
        text = f"{json.dumps(report.to_dict())}\n"
    return Ending(code=code, lines=tuple(lines), text=text)


def failed(error: BaseException, output: Output, *, nothing: str = "nothing was copied") -> Ending:
    """Return the ending of a command that an error or a signal ended.

    `nothing` is what is said after a signal if no report says how far the command came.
    """
    report: Report | None = getattr(error, "report", None)
    stopped = isinstance(error, StoppedBySignal)
    if stopped and report is not None and report.outcome == "complete":
        return completed(report, output)  # the signal came as the run ended, and changed nothing
    far = None if report is None else far_line(report)
    lines = _tracebacks(error) if output.traceback else []
    if report is not None and not output.quiet:
        lines += [*_warnings(report), *(summary_lines(report) if _has_begun(report) else [])]
    if stopped:
        lines.append(f"{error}; {far or nothing}")
    else:
        lines.append(_error_line(error, f"; {far}" if far else "", shown=output.traceback))
    text = _page(report) if isinstance(report, CheckReport) else ""
    if output.json:
        whole = {**(report.to_dict() if report else {}), "error": error_dict(error)}
        text = f"{json.dumps(whole)}\n"
    return Ending(code=exit_code(error), lines=tuple(map(redact, lines)), text=text)


def _page(report: CheckReport) -> str:
    from pipecopy.cli.checklist import page  # noqa: PLC0415 - loads rich: for a check alone

    return page(report)


def _has_begun(report: Report) -> bool:
    match report:
        case CopyReport(batches=done) | VerifyReport(ranges=done):
            return done > 0
    return False


def error_dict(error: BaseException) -> dict[str, Any]:
    """Return the error as values that `json.dumps` takes."""
    where = ("side", "dbname", "call", "key_range", "attempts", "sqlstate")
    values = {name: getattr(error, name, None) for name in where}
    return {
        "class": type(error).__name__,
        "message": redact(str(error)),
        **{name: redact(v) if isinstance(v, str) else v for name, v in values.items()},
        "exit_code": exit_code(error),
    }


def _error_line(error: BaseException, far: str, *, shown: bool) -> str:
    """Return what is wrong and how far the run came: with `--quiet`, the only line."""
    if isinstance(error, PipecopyError):
        return f"error: {one_line(str(error))}{far}"
    hint = "" if shown else "; run again with --traceback to see where"
    return f"internal error: {type(error).__name__}: {one_line(str(error))}{far}{hint}"


def _warnings(report: Report) -> list[str]:
    return [f"warning: {redact(one_line(warning))}" for warning in report.warnings]


def _tracebacks(error: BaseException) -> list[str]:
    driver = getattr(error, "driver_traceback", None)
    own = "".join(traceback.format_exception(error)).rstrip()
    return [driver.rstrip(), own] if driver else [own]
