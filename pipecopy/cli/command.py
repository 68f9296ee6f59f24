"""A command is a value: what was asked for, ready to run."""

from __future__ import annotations

from typing import Protocol

from pipecopy.cli.endings import Ending
from pipecopy.cli.outlet import Outlet
from pipecopy.cli.stop import StopSignals


class Command(Protocol):
    """What the command line was parsed into."""

    def run(self, err: Outlet, signals: StopSignals) -> Ending:
        """Do it, telling of it on `err`; every error, and a signal, becomes an ending.

        It settles the signals as soon as one that comes could no longer change the outcome.
        """
        ...
