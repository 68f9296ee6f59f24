"""How to go on after a command that failed: what the last line that it writes says."""

from __future__ import annotations

from dataclasses import dataclass

from pipecopy.cli.codes import exit_code
from pipecopy.cli.main import EXPLAINED, FIX_AND_AGAIN
from pipecopy.cli.typed import Typed
from pipecopy.errors import (
    CallTimeoutError,
    ConfigError,
    DatabaseError,
    FullCopyTimeoutError,
    Holder,
    HostError,
    PipecopyError,
    TableMismatchError,
    WorkerCrashedError,
)
from pipecopy.report import CopyReport, Report, VerifyReport
from pipecopy.sharded import RunsReport, ShardedReport

_NOT_THERE = "42704"
"""The SQLSTATE of what a server does not have, and of a ledger that lacks a shard."""
_OF_A_SERVER = ("08", "57P")
"""SQLSTATEs, or their beginnings, of a server that went away or is not up yet."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a command was asked for, as far as the last lines depend on it."""

    typed: Typed = Typed()  # noqa: RUF009 - a frozen value
    resume: bool | None = None
    """Whether a copy was resumed; None for what can't be."""
    shard: int | None = None
    """The one shard of a run that was to be copied."""

    @property
    def names_run(self) -> bool:
        """Whether it was asked for a run of the ledger."""
        return not {"run", "drop"}.isdisjoint(self.typed.options)


def how_to_go_on(
    error: BaseException, command: str | None, report: Report | None, asked: Asked
) -> str:
    """Return it, without the words before it; `command` is None if none was given."""
    if isinstance(error, ConfigError) and report is not None and asked.names_run:
        return f"fix that; `{asked.typed.runs()}` lists the runs that there are"
    if isinstance(error, ConfigError):
        page = "lists the commands" if command is None else "explains each option"
        name = "" if command is None else f"{command} "
        return f"fix that; `pipecopy {name}--help` {page}"
    is_sharded = isinstance(report, ShardedReport) and report.shards > 0
    if report is not None and isinstance(error, PipecopyError) and error.anew:
        return f"{_anew(asked.typed, report.run_id)}{_hint(error, report)}"
    if report is not None and _is_gone(error):
        runs = f"`{asked.typed.runs()}` lists the runs that there are"
        return f"begin a new run: it writes only what differs; {runs}{_hint(error, report)}"
    if report is not None and is_sharded:
        again = f"`{asked.typed.go_on(report.run_id)}`"
        when = _when(error, report, asked, again)
        return f"{when}{_leaving_out(error, asked.typed, report.run_id)}{_hint(error, report)}"
    resume = asked.resume if asked.shard is None else True  # by the ledger
    where = _where(report, resume=resume, certain=not _may_have_lost(error))
    if report is not None and asked.shard is not None:
        where += _leaving_out(error, asked.typed, report.run_id)
    return f"{_when(error, report, asked)}{where}{_hint(error, report)}"


def _is_gone(error: BaseException) -> bool:
    """Tell whether the ledger no longer has the shard that was to be copied."""
    match error:
        case DatabaseError(call="claim_shard", sqlstate=code):
            return code == _NOT_THERE
    return False


def _anew(typed: Typed, run_id: str) -> str:
    """Return what to do if the plan of a run no longer holds."""
    drop = typed.runs("--drop", run_id)
    return f"drop the run, `{drop}`, and begin a new one: it writes only what differs"


def _leaving_out(error: BaseException, typed: Typed, run_id: str) -> str:
    """Return how a run leaves out a row that was refused: what it copies is in its plan."""
    if not (isinstance(error, DatabaseError) and error.is_of_a_row):
        return ""
    drop = typed.runs("--drop", run_id)
    return f"; to leave out a row or a column, drop the run first, `{drop}`, and begin a new one"


def _when(
    error: BaseException, report: Report | None, asked: Asked, again: str = "it again"
) -> str:
    """Return when to run it again; `again` is what to run."""
    when, typed = "", asked.typed
    can_wait = asked.shard is None and not isinstance(report, RunsReport)
    wait = " (--wait waits for that)" if can_wait else ""
    match error:
        case FullCopyTimeoutError():
            when = " with a longer --full-copy-timeout"
            if report is not None and report.paused > report.seconds / 2:
                when += ", or when nothing pauses it"
        case DatabaseError(in_use=True, holder=Holder(run_id=str(run), session=None)):
            go_on, drop = typed.go_on(run), typed.runs("--drop", run)
            return f"`{go_on}` goes on with that run, `{drop}` drops it"
        case DatabaseError(in_use=True):
            when = f" when the other run has ended{wait}"
        case CallTimeoutError() | WorkerCrashedError():
            pass
        case DatabaseError(sqlstate=str(code), passes=True) if code.startswith(_OF_A_SERVER):
            when = " when the server answers again"
        case PipecopyError(passes=True):
            when = " in a moment"
        case TableMismatchError(call=str()):
            when = " when nobody alters the table"
        case TableMismatchError() | HostError() | DatabaseError():
            return FIX_AND_AGAIN.replace("it again", again)
    return f"run {again}{when}: it is safe"


def _may_have_lost(error: BaseException) -> bool:
    """Return whether a standby that lacks saved rows may be the target the next time."""
    match error:
        case DatabaseError(in_use=True):
            return False
        case PipecopyError(passes=True, side="target"):
            return True
    return False


def _where(report: Report | None, *, resume: bool | None, certain: bool) -> str:
    """Return where a run may begin the next time, if not where this one began.

    `certain` tells whether the target still has what was saved.
    """
    match report:
        case CopyReport(max_id=int(last)) | VerifyReport(max_id=int(last)) if (
            report.first_id < report.next_id <= last
        ):
            if resume:
                return ", and begins where this one ended"
            same = " (so does --resume, if only this copy has filled the target)"
            still = "" if certain else ", unless a standby has taken over there"
            begins = f"; with --from-id {report.next_id} it begins where this one ended{still}"
            return begins if resume is None else f"{begins}{same}"
    return ""


def _hint(error: BaseException, report: Report | None) -> str:
    """Return what to do if it ends so again, which run it was, and where that is explained."""
    hint = run = ""
    foreseen = isinstance(error, PipecopyError) and type(error) is not PipecopyError
    if isinstance(error, Exception) and not foreseen:
        hint = "; if it ends like this again, report what --traceback shows"
    if report is not None:  # with --quiet nothing else names them
        table = "" if report.table is None else f" of {report.table}"
        run = f"run {report.run_id}{table}, "
    return f"{hint}; {run}{EXPLAINED.format(exit_code(error))}"
