"""What a command line was parsed into, without running it."""

from __future__ import annotations

from pipecopy.cli.app import parse
from pipecopy.cli.command import Refused, Warned
from pipecopy.cli.copy import CopyCommand


def asked(*arguments: str, **environ: str) -> CopyCommand:
    """Return the copy that was asked for."""
    command = parse(arguments, environ)
    if isinstance(command, Warned):
        command = command.command
    assert isinstance(command, CopyCommand), command
    return command


def refused(*arguments: str, **environ: str) -> str:
    """Return why it can't be done."""
    command = parse(arguments, environ)
    if isinstance(command, Warned):
        command = command.command
    assert isinstance(command, Refused), command
    return str(command.error)


def warned(*arguments: str, **environ: str) -> tuple[str, ...]:
    """Return what is said before it begins."""
    command = parse(arguments, environ)
    return command.warnings if isinstance(command, Warned) else ()
