"""How a command ends: its exit code, its last lines, and its report as JSON."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Any

from pipecopy.cli.exits import Exit, exit_code
from pipecopy.cli.options import Output
from pipecopy.cli.stop import StoppedBySignal
from pipecopy.cli.views import far_line, one_line, summary_lines
from pipecopy.errors import PipecopyError
from pipecopy.redact import redact
from pipecopy.report import CopyReport


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What is left to do before the process ends."""

    code: int
    lines: tuple[str, ...] = ()
    """For standard error."""
    json: dict[str, Any] | None = None
    """For standard output."""


def done(report: CopyReport, output: Output) -> Ending:
    """Return the ending of a copy that is complete."""
    lines = () if output.quiet else (*_warnings(report), *summary_lines(report))
    return Ending(code=Exit.DONE, lines=lines, json=report.to_dict() if output.json else None)


def failed(
    error: BaseException, output: Output, *, without_report: str = "nothing was copied"
) -> Ending:
    """Return the ending of a command that an error or a signal ended.

    `without_report` is what is said after a signal where no report tells how far a copy came.
    """
    report: CopyReport | None = getattr(error, "report", None)
    stopped = isinstance(error, StoppedBySignal)
    if stopped and report is not None and report.outcome == "complete":
        return done(report, output)  # the signal came as the copy ended, and changed nothing
    lines: list[str] = []
    if output.traceback:
        lines += _tracebacks(error)
    if report is not None and not output.quiet:
        lines += [*_warnings(report), *(summary_lines(report) if report.batches else ())]
    if stopped:
        lines.append(f"{error}; {without_report if report is None else far_line(report)}")
    else:
        lines.append(_error_line(error, report, shown=output.traceback))
    json = {**(report.to_dict() if report else {}), "error": error_dict(error)}
    return Ending(
        code=exit_code(error),
        lines=tuple(redact(line) for line in lines),
        json=json if output.json else None,
    )


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


def _error_line(error: BaseException, report: CopyReport | None, *, shown: bool) -> str:
    """Return what is wrong and how far the copy came: with `--quiet`, the only line."""
    far = f"; {far_line(report)}" if report is not None and report.max_id is not None else ""
    if isinstance(error, PipecopyError):
        return f"error: {one_line(str(error))}{far}"
    hint = "" if shown else "; run it again with --traceback to see where"
    return f"internal error: {type(error).__name__}: {one_line(str(error))}{far}{hint}"


def _warnings(report: CopyReport) -> list[str]:
    return [f"warning: {redact(one_line(warning))}" for warning in report.warnings]


def _tracebacks(error: BaseException) -> list[str]:
    driver = getattr(error, "driver_traceback", None)
    own = "".join(traceback.format_exception(error)).rstrip()
    return [driver.rstrip(), own] if driver else [own]
