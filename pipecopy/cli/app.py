"""The commands: each is a function that Cyclopts calls with its options, and that runs.

The operations are taken from `pipecopy`, which imports each when it is used: none for `--help`.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from cyclopts import App

import pipecopy
from pipecopy.cli import helptexts
from pipecopy.cli.argv import asks_for_json, asks_for_json_lines, command_of
from pipecopy.cli.codes import Exit
from pipecopy.cli.config import Configuration
from pipecopy.cli.exits import Ending, failed
from pipecopy.cli.going_on import Asked
from pipecopy.cli.main import StoppedBySignal, StopSignals, stop_behind
from pipecopy.cli.operation import carry_out
from pipecopy.cli.options import (
    NO_CONNECTIONS,
    AsTyped,
    Connections,
    CopyOptions,
    Engine,
    Err,
    GoOn,
    IdRange,
    Ledger,
    Limits,
    More,
    Output,
    RepairOptions,
    Selection,
    Shards,
    Signals,
    Source,
    Target,
)
from pipecopy.cli.said import lines_of, warned
from pipecopy.cli.streams import Stream
from pipecopy.cli.usage import as_config_error
from pipecopy.cli.wanted import OfJobs, Wanted, is_several
from pipecopy.cli.wording import in_options
from pipecopy.errors import ConfigError
from pipecopy.report import Report
from pipecopy.version import installed_version

_JOBS = ("copy", "check", "verify")
"""The commands whose options a job may have: all that others take from it are among these."""


def build_app(environ: Mapping[str, str]) -> tuple[App, Configuration]:
    """Return the parser with all commands, and what it reads besides the command line."""
    app = App(
        name="pipecopy",
        help="Copy a big PostgreSQL table to another server, in bounded time, whatever hangs.",
        help_epilogue=helptexts.EPILOGUE,
        help_format="plaintext",
        version=_version,
        exit_on_error=False,
        print_error=False,
    )
    of_jobs: dict[str, tuple[Callable[..., Ending] | str, helptexts.Help]] = {
        "copy": (copy, helptexts.COPY),
        "check": (check, helptexts.CHECK),
        "verify": (verify, helptexts.VERIFY),
        "plan": ("pipecopy.cli.plan:plan", helptexts.PLAN),
        "runs": ("pipecopy.cli.runs:runs", helptexts.RUNS),
    }
    for name, (command, own) in of_jobs.items():
        usage = (
            f"Usage: pipecopy {name} [OPTIONS] SOURCE TARGET\n"
            f"       pipecopy {name} [OPTIONS] JOB..."
        )
        app.command(command, name=name, usage=usage, help=own.text, help_epilogue=own.epilogue)
    for where, own in (  # imported when one is run
        ("pipecopy.demo.demo:demo", helptexts.DEMO),
        ("pipecopy.demo.drill:drill", helptexts.DRILL),
        ("pipecopy.cli.jobs:jobs", helptexts.JOBS),
        ("pipecopy.cli.guide:guide", helptexts.GUIDE),
    ):
        name = where.partition(":")[2]
        app.command(where, name=name, help=own.text, help_epilogue=own.epilogue)
    configuration = Configuration(app, environ, _JOBS)
    app.config = (configuration,)
    return app, configuration


def _version() -> str:
    return installed_version() or "unknown: pipecopy is not installed"


def run(
    argv: Sequence[str], environ: Mapping[str, str], err: Stream, signals: StopSignals
) -> Ending:
    """Run the command of the command line; every error of its own, and a signal, is an ending."""
    app, configuration = build_app(environ)
    word = name if (name := command_of(argv)) in [*app] else None

    def ended(error: BaseException) -> Ending:
        signals.ignore()
        json = configuration.json or asks_for_json(argv, environ)  # it may not have come further
        said = in_options(stop_behind(error))
        return failed(said, Output(json=json, log_format=log_format()), word)

    def log_format() -> str:
        asked = configuration.json_lines or asks_for_json_lines(argv, environ)
        return "json" if asked else "text"

    if not argv and log_format() == "text":
        from rich.console import Console  # noqa: PLC0415 - heavy: not for a copy

        app.help_print([], console=Console(stderr=True))
    if not argv:
        return ended(ConfigError("no command was given"))
    problem = None
    try:
        command, bound, ignored = app.parse_args(list(argv))
        configuration.check_names()
    except Exception as error:  # noqa: BLE001 - an ending names each
        signals.ignore()
        problem = error
    except StoppedBySignal as stop:
        return ended(stop)
    warnings = map(warned, configuration.warnings)
    for line in lines_of(warnings, as_json=log_format() == "json"):
        err.write(f"{line}\n")
    if problem is not None:
        return ended(as_config_error(problem, argv))
    gc.freeze()  # what was imported stays: no collection has to look at it
    gc.enable()
    given = {"err": err, "signals": signals, "typed": configuration.typed}
    given["of_jobs"] = configuration.wanted
    try:
        ending = command(*bound.args, **bound.kwargs, **{name: given[name] for name in ignored})
    except StoppedBySignal as stop:  # between the command and its run
        return ended(stop)
    return ending if isinstance(ending, Ending) else Ending(code=Exit.DONE)  # that of the help


def copy(
    source: Source,
    target: Target,
    /,
    *_more: More,
    selection: Selection = Selection(),  # noqa: B008 - a frozen value
    ids: IdRange = IdRange(),  # noqa: B008 - a frozen value
    how: CopyOptions = CopyOptions(),  # noqa: B008 - a frozen value
    shards: Shards = Shards(),  # noqa: B008 - a frozen value
    engine: Engine = Engine(),  # noqa: B008 - a frozen value
    go_on: GoOn = GoOn(),  # noqa: B008 - a frozen value
    ledger: Ledger = Ledger(),  # noqa: B008 - a frozen value
    limits: Limits = Limits(),  # noqa: B008 - a frozen value
    output: Output = Output(),  # noqa: B008 - a frozen value
    connections: Connections = NO_CONNECTIONS,
    of_jobs: OfJobs,
    err: Err,
    signals: Signals,
    typed: AsTyped,
) -> Ending:
    """Copy the table; `helptexts` says more."""

    def copies() -> Callable[..., Report]:
        if is_several(wanted):
            from pipecopy.cli.shards import copying_tables  # noqa: PLC0415 - for these alone
            from pipecopy.cli.tables import Tables  # noqa: PLC0415 - as above

            tables = Tables(wanted, (source, target), connections, ledger.ledger)
            return partial(tables.run, limits.config(), copying_tables(shards, engine, go_on))
        pool = selection.pool(connections, how, ledger.ledger)
        begins: Callable[..., Report] = pipecopy.copy_table
        if is_sharded:
            from pipecopy.cli.shards import copying  # noqa: PLC0415 - for these alone

            begins = copying(shards, engine, go_on)
        begins = partial(begins, limits.config(), pool, source, target)
        return partial(begins, resume=how.resume, **vars(ids))

    wanted = of_jobs or [Wanted(selection=selection, how=how, ids=ids, limits=limits)]
    is_sharded = shards.shards is not None or go_on.run is not None
    resumes = how.resume if selection.where is None else None
    screen = output.screen(err)
    asked = Asked(typed=typed, resume=resumes, shard=go_on.shard)
    return carry_out("copy", copies, screen, output, signals, asked=asked)


def check(
    source: Source,
    target: Target,
    /,
    *_more: More,
    selection: Selection = Selection(),  # noqa: B008 - a frozen value
    ids: IdRange = IdRange(),  # noqa: B008 - a frozen value
    how: CopyOptions = CopyOptions(),  # noqa: B008 - a frozen value
    shards: Shards = Shards(),  # noqa: B008 - a frozen value
    engine: Engine = Engine(),  # noqa: ARG001, B008 - of a copy alone; a frozen value
    ledger: Ledger = Ledger(),  # noqa: B008 - a frozen value
    limits: Limits = Limits(),  # noqa: B008 - a frozen value
    output: Output = Output(),  # noqa: B008 - a frozen value
    connections: Connections = NO_CONNECTIONS,
    of_jobs: OfJobs,
    err: Err,
    signals: Signals,
) -> Ending:
    """Look at both sides, as a copy would find them."""

    def checking() -> Callable[..., Report]:
        if is_several(wanted):
            from pipecopy.cli.tables import Tables  # noqa: PLC0415 - for these alone

            tables = Tables(wanted, (source, target), connections, ledger.ledger)
            checks = partial(pipecopy.check_each, shards=shards.shards)
            return partial(tables.run, limits.config(), checks)
        pool = selection.pool(connections, how, ledger.ledger)
        begins = partial(pipecopy.check_copy, limits.config(), pool, source, target)
        return partial(begins, resume=how.resume, shards=shards.shards, **vars(ids))

    wanted = of_jobs or [Wanted(selection=selection, how=how, ids=ids, limits=limits)]
    screen = output.screen(err, brief=True)
    return carry_out("check", checking, screen, output, signals)


def verify(
    source: Source,
    target: Target,
    /,
    *_more: More,
    selection: Selection = Selection(),  # noqa: B008 - a frozen value
    ids: IdRange = IdRange(),  # noqa: B008 - a frozen value
    how: RepairOptions = RepairOptions(),  # noqa: B008 - a frozen value
    limits: Limits = Limits(),  # noqa: B008 - a frozen value
    output: Output = Output(),  # noqa: B008 - a frozen value
    connections: Connections = NO_CONNECTIONS,
    of_jobs: OfJobs,
    err: Err,
    signals: Signals,
) -> Ending:
    """Compare the tables, and repair the one in the target."""

    def verifying() -> Callable[..., Report]:
        if is_several(wanted):
            from pipecopy.cli.tables import Tables  # noqa: PLC0415 - for these alone

            tables = Tables(wanted, (source, target), connections)
            verifies = partial(pipecopy.verify_each, **vars(how))
            return partial(tables.run, limits.config(), verifies)
        pool = selection.pool(connections)
        begins = partial(pipecopy.verify_tables, limits.config(), pool, source, target)
        return partial(begins, **vars(how), **vars(ids))

    wanted = of_jobs or [Wanted(selection=selection, ids=ids, limits=limits)]
    screen = output.screen(err)
    return carry_out("verify", verifying, screen, output, signals)
