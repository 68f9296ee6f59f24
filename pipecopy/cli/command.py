"""A command is a value: what was asked for, ready to run."""

from __future__ import annotations

from typing import Protocol

from pipecopy.cli.endings import Ending
from pipecopy.cli.outlet import Outlet


class Command(Protocol):
    """What the command line was parsed into."""

    def run(self, err: Outlet) -> Ending:
        """Do it, telling of it on `err`; every error but a signal's becomes an ending."""
        ...
