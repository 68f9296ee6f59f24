"""`pipecopy check`."""

from __future__ import annotations

import locale
import sys
from dataclasses import dataclass, replace
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from pipecopy.cli.checklist import SYMBOLS, WIDEST, WORDS, Signs, checklist
from pipecopy.cli.display import Screen
from pipecopy.cli.endings import Ending, failed
from pipecopy.cli.exits import check_code
from pipecopy.cli.options import (
    NO_CONNECTIONS,
    TABLE,
    Connections,
    Flag,
    IdRange,
    Limits,
    Output,
    Selection,
    Source,
    Target,
    check_resume,
)
from pipecopy.cli.stop import StoppedBySignal, StopSignals
from pipecopy.cli.streams import Outlet
from pipecopy.cli.text import event_line
from pipecopy.cli.twosided import TwoSided, observed
from pipecopy.cli.waits import waits_for
from pipecopy.events import CallEnded, Event
from pipecopy.operations.check import check_copy
from pipecopy.report import CheckReport


@dataclass(frozen=True, kw_only=True)
class CheckCommand(TwoSided):
    """One check, as it was asked for."""

    create: bool
    resume: bool

    def run(self, err: Outlet, signals: StopSignals) -> Ending:
        """Check, and tell of what it waits for on `err`; the checklist is the ending's."""
        try:
            report = self._check(err, signals)
        except (Exception, StoppedBySignal) as error:  # noqa: BLE001 - an ending tells of each
            signals.settle()
            return self._failed(error)
        return self._ended(report)

    def _ended(self, report: CheckReport) -> Ending:
        return Ending(
            code=check_code(report),
            text=_shown(report),
            json=report.to_dict() if self.output.json else None,
        )

    def _failed(self, error: BaseException) -> Ending:
        """Return the ending with the error, and with what was found before it."""
        report: CheckReport | None = getattr(error, "report", None)
        if isinstance(error, StoppedBySignal) and report and report.outcome == "complete":
            return self._ended(report)  # the signal came as the check ended, and changed nothing
        ending = failed(error, self.output, without_report="nothing more was looked at")
        return ending if report is None else replace(ending, text=_shown(report))

    def _check(self, err: Outlet, signals: StopSignals) -> CheckReport:
        config = self.limits.config()
        self.ids.check()
        check_resume(self.selection, resume=self.resume)
        pool = self.selection.pool(self.connections, create=self.create)
        with Screen(waits_for(err, quiet=self.output.quiet), line=_line) as screen:
            return observed(
                lambda observer: check_copy(
                    config,
                    pool,
                    self.source,
                    self.target,
                    observer=observer,
                    resume=self.resume,
                    from_id=self.ids.from_id,
                    to_id=self.ids.to_id,
                ),
                screen,
                signals,
            )


def _line(event: Event) -> str | None:
    """Return the line that tells of an event, None for the failures that the checklist has."""
    if isinstance(event, CallEnded) and event.outcome == "raised":
        return None
    return event_line(event)


def _shown(report: CheckReport) -> str:
    """Return the checklist for standard output: drawn for a terminal, plain for all else."""
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    on_terminal = console.is_terminal and not console.is_dumb_terminal
    lines = checklist(
        report,
        width=console.width if on_terminal else WIDEST,
        signs=SYMBOLS if on_terminal and _can_show(SYMBOLS) else WORDS,
    )
    if not on_terminal:
        return "".join(f"{line.plain}\n" for line in lines)
    with console.capture() as capture:
        for line in lines:
            console.print(line)
    return capture.get()


def _can_show(signs: Signs) -> bool:
    try:
        "".join([*signs.marks.values(), signs.remedy, signs.cut]).encode(locale.getencoding())
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def check(  # noqa: D417 - the groups describe their own options
    source: Source,
    target: Target,
    /,
    *,
    selection: Selection = Selection(),  # noqa: B008 - a frozen value
    ids: IdRange = IdRange(),  # noqa: B008 - a frozen value
    create: Annotated[Flag, Parameter(group=TABLE)] = False,
    resume: Annotated[Flag, Parameter(group=TABLE)] = False,
    limits: Limits = Limits(),  # noqa: B008 - a frozen value
    output: Output = Output(),  # noqa: B008 - a frozen value
    connections: Connections = NO_CONNECTIONS,
) -> CheckCommand:
    """Say whether a copy can start, and what it would do; nothing is written.

    Takes what `copy` takes. The checklist goes to standard output; the exit
    code is the one that the copy would end with, 0 where it can start.

    Parameters
    ----------
    create
        The copy would make the target's table where it is missing.
    resume
        The copy would begin at the target's greatest id.
    """
    return CheckCommand(
        source=source,
        target=target,
        selection=selection,
        ids=ids,
        create=create,
        resume=resume,
        limits=limits,
        output=output,
        connections=connections,
    )
