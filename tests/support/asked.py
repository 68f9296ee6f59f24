"""What a command line asks for, without running it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from cyclopts import CycloptsError

from pipecopy.cli.app import build_app
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
