"""The command line, as Cyclopts parses it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import cast

from cyclopts import App, CycloptsError, UnusedCliTokensError
from rich.console import Console

from pipecopy.cli.command import Command
from pipecopy.cli.copy import copy
from pipecopy.cli.demo import demo
from pipecopy.cli.exits import EXIT_CODES
from pipecopy.cli.views import one_line
from pipecopy.errors import ConfigError
from pipecopy.redact import redact

_EXAMPLE = """\
Example:
  pipecopy copy prod stats --call-timeout 30s --full-copy-timeout 2h
where prod and stats are services of libpq, in ~/.pg_service.conf"""


def build_app() -> App:
    """Return the parser with all commands."""
    app = App(
        name="pipecopy",
        help="Copy a big PostgreSQL table to another server, in bounded time, whatever hangs.",
        help_epilogue=f"{EXIT_CODES}\n\n{_EXAMPLE}",
        help_format="plaintext",
        version=version("pipecopy"),
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
    )
    app.command(copy)
    app.command(demo)
    return app


def parse(argv: Sequence[str]) -> Command | None:
    """Return the command that was asked for; None where it was for the help, which is printed.

    Raises:
        ConfigError: one line says what is wrong, and where.

    """
    app = build_app()
    if not argv:
        app.help_print([], console=Console(stderr=True))
        raise ConfigError("no command was given")
    try:
        return cast("Command | None", app(argv))
    except UnusedCliTokensError as error:
        raise ConfigError(
            redact(f"unexpected argument: {' '.join(error.unused_tokens or [])}")
        ) from None
    except CycloptsError as error:
        raise ConfigError(redact(one_line(str(error)))) from None
