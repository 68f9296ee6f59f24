"""What a command line asks for, and how a command ends in the process of the tests."""

from __future__ import annotations

import io
import os
import subprocess
from types import SimpleNamespace
from typing import cast

import pytest
from cyclopts import CycloptsError

from pipecopy.cli.app import build_app, run
from pipecopy.cli.exits import Ending
from pipecopy.cli.main import StopSignals
from pipecopy.cli.streams import Stream
from pipecopy.errors import ConfigError


def asked(*arguments: str, **environ: str) -> SimpleNamespace:
    """Return the arguments with which the command would be called."""
    app, _ = build_app(environ)
    _, bound, _ = app.parse_args(list(arguments))
    bound.apply_defaults()
    return SimpleNamespace(**bound.arguments)


def refused(*arguments: str, **environ: str) -> str:
    """Return why it is refused."""
    app, _ = build_app(environ)
    with pytest.raises((ConfigError, CycloptsError)) as caught:
        app.parse_args(list(arguments))
    return str(caught.value)


def warned(*arguments: str, **environ: str) -> list[str]:
    """Return the warnings that come before it begins."""
    app, configuration = build_app(environ)
    app.parse_args(list(arguments))
    return configuration.warnings


def told(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Return how the command ends, and what it tells: a third of the time of `command.run`."""
    err = io.StringIO()
    ending = run(arguments, os.environ, cast("Stream", err), StopSignals())
    said = err.getvalue() + "".join(f"{line}\n" for line in ending.lines)
    return subprocess.CompletedProcess(arguments, ending.code, ending.text, said)


def answered(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Return what a command answers that writes only as it ends, such as `jobs`."""
    app, _ = build_app(os.environ)
    command, bound, _ = app.parse_args(list(arguments))
    ending = command(*bound.args, **bound.kwargs, err=io.StringIO(), signals=StopSignals())
    assert isinstance(ending, Ending)
    err = "".join(f"{line}\n" for line in ending.lines)
    return subprocess.CompletedProcess(arguments, ending.code, ending.text, err)
