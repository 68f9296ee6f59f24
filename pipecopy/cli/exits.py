"""How a command ends: its exit code, its last lines, and its report as JSON."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pipecopy.cli.codes import Exit, check_code, exit_code
from pipecopy.cli.going_on import how_to_go_on
from pipecopy.cli.main import StoppedBySignal
from pipecopy.cli.options import Output
from pipecopy.cli.result import as_text, result
from pipecopy.errors import FullCopyTimeoutError, PipecopyError, TableMismatchError
from pipecopy.events import CommandEnded
from pipecopy.finding import and_more
from pipecopy.observers.text import one_line, printable, summary_lines, verdict_line
from pipecopy.redact import redact
from pipecopy.report import CheckReport, CopyReport, Report, VerifyReport
from pipecopy.supervisor.progress import far


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What is left to do before the process ends."""

    code: int
    lines: tuple[str, ...] = ()
    """For standard error."""
    text: str = ""
    """For standard output."""


Tell: TypeAlias = Callable[[CommandEnded], Sequence[str]]
"""Hands the end to the command's observers; returns what the user should know of them."""


def _nobody(_end: CommandEnded) -> Sequence[str]:
    return ()


def completed(
    report: Report, output: Output, command: str | None, *, tell: Tell = _nobody
) -> Ending:
    """Return the ending of a command whose run is complete."""
    code, lines, text = int(Exit.DONE), list[str](), ""
    match report:
        case CheckReport():
            code, text = check_code(report), _page(report)
        case VerifyReport():
            code = Exit.DONE if report.equal else Exit.MISMATCH
            lines = [verdict_line(report)] if code else []
    if not (output.quiet or isinstance(report, CheckReport)):
        lines = [*_warnings(report.warnings), *summary_lines(report)]
    shown = result(command, code, report=report)
    end = CommandEnded(exit_code=code, error=None, go_on=None, report=report, result=shown)
    lines = [*_warnings(tell(end)), *lines]
    if output.json:
        text = as_text(shown)
    return Ending(code=code, lines=tuple(map(printable, lines)), text=text)


_NOTHING = {
    "copy": "nothing was copied",
    "check": "nothing more was checked",
    "verify": "nothing was compared",
    "demo": "the servers of the demo are removed",
    "drill": "the servers of the drill are removed",
}
"""What is said after a signal if no report says how far the command came."""


def failed(
    error: BaseException,
    output: Output,
    command: str | None,
    *,
    resume: bool | None = None,
    tell: Tell = _nobody,
) -> Ending:
    """Return the ending of a command that an error or a signal ended.

    `command` is None if none was given; `resume` tells whether a copy was resumed, None for what
    can't be.
    """
    report: Report | None = getattr(error, "report", None)
    stopped = isinstance(error, StoppedBySignal)
    if stopped and report is not None and report.outcome == "complete":
        # the signal came as the run ended, and changed nothing
        return completed(report, output, command, tell=tell)
    how_far = None if report is None else far(report)
    lines = _tracebacks(error) if output.traceback else []
    if report is not None and not output.quiet:
        lines += [
            *_warnings(report.warnings),
            *(summary_lines(report) if _has_begun(report) else []),
        ]
    said = _error_line(error, how_far)
    if stopped:
        said = f"{error}; {how_far or _NOTHING.get(command or '', 'nothing was done')}"
    go_on = how_to_go_on(error, command, report, resume=resume)
    code = exit_code(error)
    shown = result(command, code, report=report, error=error)
    end = CommandEnded(
        exit_code=code, error=redact(said), go_on=redact(go_on), report=report, result=shown
    )
    lines += [*_warnings(tell(end)), said, go_on]
    text = _page(report) if isinstance(report, CheckReport) else ""
    if output.json:
        text = as_text(shown)
    return Ending(code=code, lines=tuple(printable(redact(line)) for line in lines), text=text)


def _page(report: CheckReport) -> str:
    from pipecopy.cli.checklist import page  # noqa: PLC0415 - loads rich: for a check alone

    return page(report)


def _has_begun(report: Report) -> bool:
    match report:
        case CopyReport(batches=done) | VerifyReport(ranges=done):
            return done > 0
    return False


def _error_line(error: BaseException, how_far: str | None) -> str:
    """Return what is wrong and how far the run came, if the error does not say that itself."""
    # one for each thing that does not fit; those of other errors are a driver's
    own_lines = str(error).splitlines() if isinstance(error, TableMismatchError) else [str(error)]
    said = "\n".join(map(one_line, own_lines))
    if not isinstance(error, PipecopyError):
        said = f"internal error: {type(error).__name__}: {said}"
    elif type(error) is not PipecopyError:  # what `supervise` could not foresee says so
        said = f"error: {said}"
    if how_far is None or isinstance(error, FullCopyTimeoutError):
        return said
    return and_more(said, how_far)


def _warnings(warnings: Sequence[str]) -> list[str]:
    return [f"warning: {redact(one_line(warning))}" for warning in warnings]


def _tracebacks(error: BaseException) -> list[str]:
    driver = getattr(error, "driver_traceback", None)
    own = "".join(traceback.format_exception(error)).rstrip()
    return [driver.rstrip(), own] if driver else [own]
