"""`pipecopy verify`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from pipecopy.cli.display import Screen
from pipecopy.cli.displays import display_for
from pipecopy.cli.endings import Ending, done, failed
from pipecopy.cli.options import (
    NO_CONNECTIONS,
    REPAIR,
    Connections,
    Flag,
    IdRange,
    Limits,
    Output,
    Selection,
    Source,
    Target,
)
from pipecopy.cli.stop import StoppedBySignal, StopSignals
from pipecopy.cli.streams import Outlet
from pipecopy.cli.twosided import TwoSided, observed
from pipecopy.errors import ConfigError
from pipecopy.operations.verify import verify_tables
from pipecopy.report import VerifyReport


@dataclass(frozen=True, kw_only=True)
class VerifyCommand(TwoSided):
    """One verification, as it was asked for."""

    repair: bool
    delete_surplus: bool

    def run(self, err: Outlet, signals: StopSignals) -> Ending:
        """Verify, and tell of it on `err`."""
        try:
            report = self._verify(err, signals)
        except (Exception, StoppedBySignal) as error:  # noqa: BLE001 - an ending tells of each
            signals.settle()
            return failed(error, self.output, without_report="nothing was compared")
        return done(report, self.output)

    def _verify(self, err: Outlet, signals: StopSignals) -> VerifyReport:
        config = self.limits.config()
        self.ids.check()
        if self.delete_surplus and not self.repair:
            raise ConfigError("--delete-surplus does not go without --repair")
        pool = self.selection.pool(self.connections)
        with Screen(display_for(err, quiet=self.output.quiet)) as screen:
            return observed(
                lambda observer: verify_tables(
                    config,
                    pool,
                    self.source,
                    self.target,
                    observer=observer,
                    repair=self.repair,
                    delete_surplus=self.delete_surplus,
                    from_id=self.ids.from_id,
                    to_id=self.ids.to_id,
                ),
                screen,
                signals,
            )


def verify(  # noqa: D417 - the groups describe their own options
    source: Source,
    target: Target,
    /,
    *,
    selection: Selection = Selection(),  # noqa: B008 - a frozen value
    ids: IdRange = IdRange(),  # noqa: B008 - a frozen value
    repair: Annotated[Flag, Parameter(group=REPAIR)] = False,
    delete_surplus: Annotated[Flag, Parameter(group=REPAIR)] = False,
    limits: Limits = Limits(),  # noqa: B008 - a frozen value
    output: Output = Output(),  # noqa: B008 - a frozen value
    connections: Connections = NO_CONNECTIONS,
) -> VerifyCommand:
    """Compare a table on two PostgreSQL servers, by counts and checksums of ranges of ids.

    A range that differs is narrowed down to the ids. Generated columns are
    compared too. The exit code is 5 where the tables differ in the end, 0 where
    they are equal.

    Parameters
    ----------
    repair
        Copy missing and differing rows again; without this nothing is written.
    delete_surplus
        With --repair: remove rows whose id is not in the source, or in its part (--where).
    """
    return VerifyCommand(
        source=source,
        target=target,
        selection=selection,
        ids=ids,
        repair=repair,
        delete_surplus=delete_surplus,
        limits=limits,
        output=output,
        connections=connections,
    )
