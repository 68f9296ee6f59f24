"""How a command ends: its exit code, its last lines, and its report as JSON."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pipecopy.cli.codes import Exit, check_code, exit_code
from pipecopy.cli.going_on import Asked, how_to_go_on
from pipecopy.cli.main import GO_ON, StoppedBySignal
from pipecopy.cli.options import Messages
from pipecopy.cli.result import as_text, result
from pipecopy.cli.said import Said, lines_of, warned
from pipecopy.errors import FullCopyTimeoutError, PipecopyError, TableMismatchError
from pipecopy.events import CommandEnded
from pipecopy.finding import and_more
from pipecopy.observers.summary import summary_lines
from pipecopy.observers.text import ERROR, INFO, one_line
from pipecopy.redact import redact
from pipecopy.report import CheckReport, CopyReport, Report, VerifyReport
from pipecopy.sharded import PlanReport, RunsReport, ShardedReport, VerifiedTables
from pipecopy.supervisor.progress import far
from pipecopy.units import counted


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What is left to do before the process ends."""

    code: int
    lines: tuple[str, ...] = ()
    """For standard error."""
    as_json: bool = False
    """They are JSON, and what comes after them is."""
    text: str = ""
    """For standard output."""


Tell: TypeAlias = Callable[[CommandEnded], Sequence[str]]
"""Hands the end to the command's observers; returns what the user should know of them."""


def _nobody(_end: CommandEnded) -> Sequence[str]:
    return ()


def _untold(_warning: str) -> bool:
    return False


def completed(
    report: Report,
    output: Messages,
    command: str | None,
    asked: Asked = Asked(),  # noqa: B008 - a frozen value
    *,
    tell: Tell = _nobody,
    told: Callable[[str], bool] = _untold,
) -> Ending:
    """Return the ending of a command whose run is complete.

    `told` tells whether a warning of the run was written as it happened.
    """
    code, text = int(Exit.DONE), ""
    *more, last = summary_lines(report) or [""]
    match report:
        case CheckReport():
            code, text = check_code(report), _page(report)  # which has the outcome, for people
            last = f"complete: {_verdict(report)}" if output.as_json_lines else ""
        case PlanReport() | RunsReport():
            text = _page_of_shards(report, asked)
            last = f"complete: {text.splitlines()[0]}" if output.as_json_lines else ""
        case VerifyReport():
            code = Exit.DONE if report.equal else Exit.MISMATCH
    said = [Said(line, "summary") for line in more]
    if asked.shard is not None:
        last = _of_shard(report, asked.shard, last)
    if last:
        said.append(Said(last, "run_ended", ERROR if code else INFO))
    shown = result(command, code, report=report)
    end = CommandEnded(
        exit_code=code, error=None, go_on=None, stopped_by=None, report=report, result=shown
    )
    said = [*_warnings(report, told, tell(end)), *said]
    if output.json:
        text = as_text(shown)
    return _ending(said, output, code, text, report, shard=asked.shard)


def _ending(  # noqa: PLR0917 - all that is known of the end
    said: Sequence[Said],
    output: Messages,
    code: int,
    text: str,
    report: Report | None,
    error: BaseException | None = None,
    shard: int | None = None,
) -> Ending:
    outcome = "failed" if report is None else None
    lines = lines_of(
        (each for each in said if each.level >= output.shown.least),
        as_json=output.as_json_lines,
        report=report,
        exit_code=code,
        error=error,
        outcome="stopped" if isinstance(error, StoppedBySignal) else outcome,
        shard=shard,
    )
    return Ending(code=code, lines=lines, text=text, as_json=output.as_json_lines)


_NOTHING = {
    "copy": "nothing was copied",
    "check": "nothing more was checked",
    "verify": "nothing was compared",
    "plan": "nothing was planned",
    "demo": "the servers of the demo are removed",
    "drill": "the servers of the drill are removed",
}
"""What is said after a signal if no report says how far the command came."""


def failed(
    error: BaseException,
    output: Messages,
    command: str | None,
    asked: Asked = Asked(),  # noqa: B008 - a frozen value
    *,
    tell: Tell = _nobody,
    told: Callable[[str], bool] = _untold,
) -> Ending:
    """Return the ending of a command that an error or a signal ended.

    `command` is None if none was given; `told` is that of `completed`.
    """
    report: Report | None = getattr(error, "report", None)
    stopped_by = error.name if isinstance(error, StoppedBySignal) else None
    if stopped_by and report is not None and report.outcome == "complete":
        # the signal came as the run ended, and changed nothing
        return completed(report, output, command, asked, tell=tell, told=told)
    how_far = None if report is None else far(report)
    tracebacks = _tracebacks(error) if output.traceback else []
    summary = summary_lines(report) if report is not None and _has_begun(report) else []
    if stopped_by:
        outcome = ""
        said = f"{error}; {how_far or _NOTHING.get(command or '', 'nothing was done')}"
    else:
        outcome = _outcome(error, began=report is not None)
        if asked.shard is not None:
            outcome += f"shard {asked.shard}: "
        said = _what_was_wrong(error, how_far)
    go_on = how_to_go_on(error, command, report, asked)
    code = exit_code(error)
    shown = result(command, code, report=report, error=error)
    end = CommandEnded(
        exit_code=code,
        error=redact(said),
        go_on=redact(go_on),
        stopped_by=stopped_by,
        report=report,
        result=shown,
    )
    event, ran = ("error", False) if report is None else ("run_ended", True)
    lines = [
        *(Said(text, "traceback", ERROR, timed=False) for text in tracebacks),
        *_warnings(report, told, tell(end)),
        *(Said(line, "summary") for line in summary),
        Said(f"{outcome}{said}", event, ERROR, timed=ran),
        Said(f"{GO_ON}{go_on}", "to_go_on", ERROR, timed=False),
    ]
    text = _page(report) if isinstance(report, CheckReport) else ""
    if output.json:
        text = as_text(shown)
    return _ending(lines, output, code, text, report, error, asked.shard)


def _page(report: CheckReport) -> str:
    from pipecopy.cli.checklist import page  # noqa: PLC0415 - loads rich: for a check alone

    return page(report)


def _verdict(report: CheckReport) -> str:
    from pipecopy.cli.checklist import verdict  # noqa: PLC0415 - as above

    return verdict(report)


def _of_shard(report: Report, shard: int, last: str) -> str:
    """Return the last line for a copy of that shard alone."""
    if isinstance(report, CopyReport) and report.rows and not report.batches:
        return f"complete: shard {shard} was done already: {counted(report.rows, 'row')}"
    return last.replace("complete: ", f"complete: shard {shard}: ", 1)


def _page_of_shards(report: PlanReport | RunsReport, asked: Asked) -> str:
    from pipecopy.cli.shardspage import page  # noqa: PLC0415 - for these alone

    return page(report, asked.typed)


def _has_begun(report: Report) -> bool:
    match report:
        case ShardedReport(tables=(_, _, *_)) | VerifiedTables(tables=(_, *_)):
            return True  # each of several tables has a line
        case CopyReport(batches=done) | VerifyReport(ranges=done):
            return done > 0
    return False


def _outcome(error: BaseException, *, began: bool) -> str:
    """Return the words before what was wrong; of a run that began they are the outcome."""
    if began:
        return "failed: "
    if isinstance(error, PipecopyError) and type(error) is not PipecopyError:
        return "error: "
    return ""  # what `supervise` could not foresee says so


def _what_was_wrong(error: BaseException, how_far: str | None) -> str:
    """Return that, and how far the run came, if the error does not say that itself."""
    # one for each thing that does not fit; those of other errors are a driver's
    own_lines = str(error).splitlines() if isinstance(error, TableMismatchError) else [str(error)]
    said = "\n".join(map(one_line, own_lines))
    if not isinstance(error, PipecopyError):
        said = f"internal error: {type(error).__name__}: {said}"
    if how_far is None or isinstance(error, FullCopyTimeoutError):
        return said
    return and_more(said, how_far)


def _warnings(
    report: Report | None, told: Callable[[str], bool], others: Sequence[str]
) -> list[Said]:
    """Return those that were not written as they happened, and `others`."""
    of_run = () if report is None else report.warnings
    return [warned(each) for each in (*(one for one in of_run if not told(one)), *others)]


def _tracebacks(error: BaseException) -> list[str]:
    driver = getattr(error, "driver_traceback", None)
    own = "".join(traceback.format_exception(error)).rstrip()
    return [driver.rstrip(), own] if driver else [own]
