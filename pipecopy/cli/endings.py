"""How a command ends: its exit code, its last lines, and its report as JSON."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Any

from pipecopy.cli.exits import Exit, exit_code, verify_code
from pipecopy.cli.options import Output
from pipecopy.cli.stop import StoppedBySignal
from pipecopy.cli.text import far_line, one_line, summary_lines
from pipecopy.cli.verdict import compared_line, verdict, verdict_lines
from pipecopy.errors import PipecopyError
from pipecopy.redact import redact
from pipecopy.report import CopyReport, Report, VerifyReport


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What is left to do before the process ends."""

    code: int
    lines: tuple[str, ...] = ()
    """For standard error."""
    text: str = ""
    """For standard output, as is the JSON in its place."""
    json: dict[str, Any] | None = None


def done(report: CopyReport | VerifyReport, output: Output) -> Ending:
    """Return the ending of a copy, or of a verification, that is complete."""
    code: int = Exit.DONE
    lines: tuple[str, ...] = () if output.quiet else (*_warnings(report), *_summary(report))
    if isinstance(report, VerifyReport):
        code = verify_code(report)
        if output.quiet and code:
            lines = (verdict(report),)
    return Ending(code=code, lines=lines, json=report.to_dict() if output.json else None)


def failed(
    error: BaseException, output: Output, *, without_report: str = "nothing was copied"
) -> Ending:
    """Return the ending of a command that an error or a signal ended.

    `without_report` is what is said after a signal where no report tells how far a copy came.
    """
    report: Report | None = getattr(error, "report", None)
    copied = report if isinstance(report, CopyReport | VerifyReport) else None
    stopped = isinstance(error, StoppedBySignal)
    if stopped and copied is not None and copied.outcome == "complete":
        return done(copied, output)  # the signal came as the copy ended, and changed nothing
    lines: list[str] = []
    if output.traceback:
        lines += _tracebacks(error)
    if report is not None and not output.quiet:
        lines += _warnings(report)
        lines += _summary(copied) if copied is not None and _has_begun(copied) else ()
    if stopped:
        lines.append(f"{error}; {without_report if copied is None else _far(copied)}")
    else:
        lines.append(_error_line(error, copied, shown=output.traceback))
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


def _summary(report: CopyReport | VerifyReport) -> list[str]:
    return verdict_lines(report) if isinstance(report, VerifyReport) else summary_lines(report)


def _has_begun(report: CopyReport | VerifyReport) -> bool:
    return bool(report.ranges if isinstance(report, VerifyReport) else report.batches)


def _far(report: CopyReport | VerifyReport) -> str:
    return compared_line(report) if isinstance(report, VerifyReport) else far_line(report)


def _error_line(
    error: BaseException, report: CopyReport | VerifyReport | None, *, shown: bool
) -> str:
    """Return what is wrong and how far the run came: with `--quiet`, the only line."""
    far = f"; {_far(report)}" if report is not None and report.max_id is not None else ""
    if isinstance(error, PipecopyError):
        return f"error: {one_line(str(error))}{far}"
    hint = "" if shown else "; run it again with --traceback to see where"
    return f"internal error: {type(error).__name__}: {one_line(str(error))}{far}{hint}"


def _warnings(report: Report) -> list[str]:
    return [f"warning: {redact(one_line(warning))}" for warning in report.warnings]


def _tracebacks(error: BaseException) -> list[str]:
    driver = getattr(error, "driver_traceback", None)
    own = "".join(traceback.format_exception(error)).rstrip()
    return [driver.rstrip(), own] if driver else [own]
