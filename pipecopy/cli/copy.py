"""`pipecopy copy`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from pipecopy.cli.display import Screen
from pipecopy.cli.displays import display_for
from pipecopy.cli.endings import Ending, done, failed
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
from pipecopy.cli.twosided import TwoSided, observed
from pipecopy.operations.copy import copy_table
from pipecopy.report import CopyReport


@dataclass(frozen=True, kw_only=True)
class CopyCommand(TwoSided):
    """One copy, as it was asked for."""

    create: bool
    resume: bool

    def run(self, err: Outlet, signals: StopSignals) -> Ending:
        """Copy, and tell of it on `err`."""
        try:
            report = self._copy(err, signals)
        except (Exception, StoppedBySignal) as error:  # noqa: BLE001 - an ending tells of each
            signals.settle()
            return failed(error, self.output)
        return done(report, self.output)

    def _copy(self, err: Outlet, signals: StopSignals) -> CopyReport:
        config = self.limits.config()
        self.ids.check()
        check_resume(self.selection, resume=self.resume)
        pool = self.selection.pool(self.connections, create=self.create)
        with Screen(display_for(err, quiet=self.output.quiet)) as screen:
            return observed(
                lambda observer: copy_table(
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


def copy(  # noqa: D417 - the groups describe their own options
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
) -> CopyCommand:
    """Copy a table from one PostgreSQL server to another, in batches of ids.

    A duration is written 250ms, 30s, 5m or 1h30m; a bare number is seconds.

    Parameters
    ----------
    create
        Make the target's table like the source's where it is missing.
    resume
        Begin at the target's greatest id, after a first copy that was interrupted.
    """
    return CopyCommand(
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
