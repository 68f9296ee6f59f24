"""The command line, as Cyclopts parses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from cyclopts import App, CycloptsError, UnusedCliTokensError
from rich.console import Console

from pipecopy.cli.check import check
from pipecopy.cli.command import Command, Refused, Warned
from pipecopy.cli.config import Configuration
from pipecopy.cli.copy import copy
from pipecopy.cli.exits import EXIT_CODES
from pipecopy.cli.options import Output
from pipecopy.cli.text import one_line
from pipecopy.cli.verify import verify
from pipecopy.errors import ConfigError
from pipecopy.redact import redact

_EPILOGUE = """\
Configuration:
  Databases and jobs have names in ./pipecopy.toml, or in --config FILE:

    [databases]
    prod = "service=prod"     # a URI, a connection string, or a
    stats = "service=stats"   # service in ~/.pg_service.conf

    [jobs.nightly]            # run by: pipecopy copy nightly
    source = "prod"
    target = "stats"
    table = "public.profiles"
    call_timeout = "30s"      # any option, by its long name

  [defaults] has options for all jobs. Any option may also be set in the
  environment: PIPECOPY_CALL_TIMEOUT=30s. The command line comes first,
  then the environment, the job, and the defaults. --resume=false takes
  back a flag that one of them sets."""


def build_app() -> App:
    """Return the parser with all commands."""
    app = App(
        name="pipecopy",
        help="Copy a big PostgreSQL table to another server, in bounded time, whatever hangs.",
        help_epilogue=f"{EXIT_CODES}\n\n{_EPILOGUE}",
        help_format="plaintext",
        version=_version,
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
    )
    for command in (copy, check, verify):
        name = command.__name__
        usage = (
            f"Usage: pipecopy {name} [OPTIONS] SOURCE TARGET\n       pipecopy {name} [OPTIONS] JOB"
        )
        app.command(command, usage=usage)
    app.command("pipecopy.demo.demo:demo", name="demo", help_epilogue=EXIT_CODES)
    return app


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - loads the parser of e-mail: only here

    return version("pipecopy")


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Command | None:
    """Return the command that was asked for; None where it was for the help, which is printed."""
    app = build_app()
    configuration = Configuration(app, environ)
    app.config = (configuration,)
    if not argv:
        app.help_print([], console=Console(stderr=True))
        return Refused(error=ConfigError("no command was given"), output=Output())
    try:
        command = cast("Command | None", app(argv))
    except Exception as error:  # noqa: BLE001 - an ending tells of each
        json = configuration.json or "--json" in argv  # it may have got no further
        command = Refused(error=_told(error), output=Output(json=json))
    if command is None or configuration.quiet or not configuration.warnings:
        return command
    return Warned(command=command, warnings=configuration.warnings)


def _told(error: Exception) -> Exception:
    """Return the error as one line that says what is wrong, and where."""
    match error:
        case UnusedCliTokensError(unused_tokens=tokens):
            return ConfigError(redact(f"unexpected argument: {' '.join(tokens or [])}"))
        case CycloptsError():
            return ConfigError(redact(one_line(str(error))))
    return error
