"""The commands: each is a function that Cyclopts calls with its options, and that runs.

The operations are taken from `pipecopy`, which imports each when it is used: none for `--help`.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from cyclopts import App

import pipecopy
from pipecopy.cli import helptexts
from pipecopy.cli.argv import asks_for_json, asks_for_json_lines, command_of
from pipecopy.cli.codes import Exit
from pipecopy.cli.config import Configuration
from pipecopy.cli.exits import Ending, completed, failed
from pipecopy.cli.main import StoppedBySignal, StopSignals, stop_behind
from pipecopy.cli.observers import Observers
from pipecopy.cli.options import (
    NO_CONNECTIONS,
    Connections,
    CopyOptions,
    Engine,
    Err,
    GoOn,
    IdRange,
    Ledger,
    Limits,
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
from pipecopy.cli.wording import in_options
from pipecopy.errors import ConfigError, StoppedError
from pipecopy.events import Event, RunEnded, StopRequested
from pipecopy.observers.display import Screen
from pipecopy.observers.shards import Whole
from pipecopy.report import Report
from pipecopy.version import installed_version
from pipecopy.workers.host import refusal


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
    of_jobs: dict[Callable[..., Ending], helptexts.Help] = {
        copy: helptexts.COPY,
        check: helptexts.CHECK,
        verify: helptexts.VERIFY,
    }
    for command, of_job in of_jobs.items():
        name = command.__name__
        usage = (
            f"Usage: pipecopy {name} [OPTIONS] SOURCE TARGET\n       pipecopy {name} [OPTIONS] JOB"
        )
        app.command(command, usage=usage, help=of_job.text, help_epilogue=of_job.epilogue)
    for where, own in (  # imported when one is run
        ("pipecopy.demo.demo:demo", helptexts.DEMO),
        ("pipecopy.demo.drill:drill", helptexts.DRILL),
        ("pipecopy.cli.jobs:jobs", helptexts.JOBS),
        ("pipecopy.cli.guide:guide", helptexts.GUIDE),
    ):
        name = where.partition(":")[2]
        app.command(where, name=name, help=own.text, help_epilogue=own.epilogue)
    configuration = Configuration(app, environ, [command.__name__ for command in of_jobs])
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
    given = {"err": err, "signals": signals}
    try:
        ending = command(*bound.args, **bound.kwargs, **{name: given[name] for name in ignored})
    except StoppedBySignal as stop:  # between the command and its run
        return ended(stop)
    return ending if isinstance(ending, Ending) else Ending(code=Exit.DONE)  # that of the help


def copy(
    source: Source,
    target: Target,
    /,
    *,
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
    err: Err,
    signals: Signals,
) -> Ending:
    """Copy the table; `helptexts` says more."""

    def copying() -> Callable[..., Report]:
        pool = selection.pool(connections, how, ledger.ledger)
        copies = pipecopy.copy_table
        if is_sharded:
            from pipecopy.cli.shards import copying_shards  # noqa: PLC0415 - for these alone

            copies = copying_shards(shards, engine, go_on)
        begins = partial(copies, limits.config(), pool, source, target)
        return partial(begins, resume=how.resume, **vars(ids))

    is_sharded = shards.shards is not None or go_on.run is not None
    resumes = how.resume if selection.where is None and not is_sharded else None
    screen = output.screen(err)
    return _run("copy", copying, screen, output, signals, resume=resumes)


def check(
    source: Source,
    target: Target,
    /,
    *,
    selection: Selection = Selection(),  # noqa: B008 - a frozen value
    ids: IdRange = IdRange(),  # noqa: B008 - a frozen value
    how: CopyOptions = CopyOptions(),  # noqa: B008 - a frozen value
    shards: Shards = Shards(),  # noqa: ARG001, B008 - checked later; a frozen value
    engine: Engine = Engine(),  # noqa: ARG001, B008 - of a copy alone; a frozen value
    ledger: Ledger = Ledger(),  # noqa: B008 - a frozen value
    limits: Limits = Limits(),  # noqa: B008 - a frozen value
    output: Output = Output(),  # noqa: B008 - a frozen value
    connections: Connections = NO_CONNECTIONS,
    err: Err,
    signals: Signals,
) -> Ending:
    """Look at both sides, as a copy would find them."""

    def checking() -> Callable[..., Report]:
        pool = selection.pool(connections, how, ledger.ledger)
        begins = partial(pipecopy.check_copy, limits.config(), pool, source, target)
        return partial(begins, resume=how.resume, **vars(ids))

    screen = output.screen(err, brief=True)
    return _run("check", checking, screen, output, signals)


def verify(
    source: Source,
    target: Target,
    /,
    *,
    selection: Selection = Selection(),  # noqa: B008 - a frozen value
    ids: IdRange = IdRange(),  # noqa: B008 - a frozen value
    how: RepairOptions = RepairOptions(),  # noqa: B008 - a frozen value
    limits: Limits = Limits(),  # noqa: B008 - a frozen value
    output: Output = Output(),  # noqa: B008 - a frozen value
    connections: Connections = NO_CONNECTIONS,
    err: Err,
    signals: Signals,
) -> Ending:
    """Compare the tables, and repair the one in the target."""

    def verifying() -> Callable[..., Report]:
        pool = selection.pool(connections)
        begins = partial(pipecopy.verify_tables, limits.config(), pool, source, target)
        return partial(begins, **vars(how), **vars(ids))

    screen = output.screen(err)
    return _run("verify", verifying, screen, output, signals)


def _run(
    command: str,
    operation: Callable[[], Callable[..., Report]],
    screen: Screen,
    output: Output,
    signals: StopSignals,
    *,
    resume: bool | None = None,
) -> Ending:
    """Run the command's operation on the screen, return its ending; from then on ignore signals."""

    def observe(event: Event) -> None:
        # in another thread: no signal gets in between
        if whole.has(event) and isinstance(event, RunEnded):
            signals.ignore()
        if isinstance(event, StopRequested) and signals.first is not None:
            event = replace(event, by=signals.first.name)
        event = in_options(event)
        screen(event)
        observers(event)

    observers, whole = Observers({}), Whole()
    stop = threading.Event()
    try:
        runs = operation()
        observers = Observers(output.observers())
        with screen:
            try:
                signals.ask_first(stop)
                report = runs(observer=observe, stop=stop)
            finally:
                signals.ignore()  # if it ended before it began, or too late for observers
    except (Exception, StoppedBySignal) as error:  # noqa: BLE001 - an ending names each
        signals.ignore()
        ended = stop_behind(error)
        if isinstance(error, StoppedError) and signals.first is not None:
            ended = StoppedBySignal(signals.first, error.report)
        said = in_options(refusal(error) or ended)
        tell, told = observers.close, screen.has_told
        argv = sys.argv[1:]
        return failed(said, output, command, resume=resume, argv=argv, tell=tell, told=told)
    tell, told = observers.close, screen.has_told
    return completed(in_options(report), output, command, tell=tell, told=told)
