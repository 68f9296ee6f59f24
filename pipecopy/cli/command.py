"""A command is a value: what was asked for, ready to run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pipecopy.cli.displays import stamped
from pipecopy.cli.endings import Ending, failed
from pipecopy.cli.options import Output
from pipecopy.cli.stop import StopSignals
from pipecopy.cli.streams import Outlet
from pipecopy.redact import redact


class Command(Protocol):
    """What the command line was parsed into."""

    def run(self, err: Outlet, signals: StopSignals) -> Ending:
        """Do it, telling of it on `err`; every error, and a signal, becomes an ending.

        It settles the signals as soon as one that comes could no longer change the outcome.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Warned:
    """A command with something to say of the way in which it was asked for."""

    command: Command
    warnings: tuple[str, ...]

    def run(self, err: Outlet, signals: StopSignals) -> Ending:
        """Say it, and run the command."""
        for warning in self.warnings:
            err.write(f"{stamped(redact(f'warning: {warning}'))}\n")
        return self.command.run(err, signals)


@dataclass(frozen=True, kw_only=True)
class Refused:
    """What the command line, the environment or the file asks for can't be done."""

    error: Exception
    output: Output

    def run(self, err: Outlet, signals: StopSignals) -> Ending:  # noqa: ARG002 - it ends at once
        """Tell why."""
        signals.settle()
        return failed(self.error, self.output)
