"""What is wrong with a command line, as one ConfigError in pipecopy's own words."""

from __future__ import annotations

from collections.abc import Sequence

from cyclopts import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from pipecopy.cli.config import WrongOptionsError
from pipecopy.errors import ConfigError
from pipecopy.finding import did_you_mean
from pipecopy.observers.text import one_line
from pipecopy.postgres.conninfo import is_connection
from pipecopy.redact import redact, shown_name
from pipecopy.workers.host import refusal


def as_config_error(error: Exception, argv: Sequence[str]) -> Exception:
    """Return the error without what may be part of a connection string; others as they are."""
    if not isinstance(error, CycloptsError):
        return refusal(error) or error
    hidden = [one for one in argv if not one.startswith("-") and is_connection(one)]
    message = one_line(_message(error, in_pieces=bool(hidden)))
    for argument in hidden:
        message = message.replace(one_line(argument), shown_name(argument))
    return ConfigError(redact(message))


def _message(error: CycloptsError, *, in_pieces: bool) -> str:
    """Return the message; `in_pieces`: words may belong to a connection string without quotes."""
    words = error.unused_tokens or []
    match error:
        case WrongOptionsError():
            said = [str(error), *(_unknown(word) for word in words if word.startswith("-"))]
            more = [word for word in words if not word.startswith("-")]
            said += [_unexpected(more, in_pieces=in_pieces)] if more else []
            message = "; ".join(said)
        case UnusedCliTokensError():
            message = _unexpected(words, in_pieces=in_pieces)
        case UnknownCommandError(app=app):
            commands = [name for name in app or () if not name.startswith("-")]
            message = f'"{words[0]}" is not a command{did_you_mean(words[0], commands)}'
            if words[0].startswith("-"):
                message = f"no command was given before {words[0]}"
            message += f"; the commands: {', '.join(commands)}"
        case UnknownOptionError(token=token, argument_collection=arguments):
            word = (token.keyword or token.value).partition("=")[0]
            names = [name for one in arguments if one.parse for name in one.names]
            message = f"{_unknown(word)}{did_you_mean(word, names)}"
        case MissingArgumentError(keyword=str(name)):
            message = f"{name} needs a value"
        case RepeatArgumentError(token=token):
            message = f"{token.keyword} is given twice"
        case CoercionError(token=token, target_type=kind) if token is not None and kind is bool:
            message = f'{token.keyword}: "{token.value}" is neither true nor false'
        case _:
            message = str(error).rstrip(".")
    return message


def _unknown(option: str) -> str:
    return f"{option} is an unknown option"


def _unexpected(words: Sequence[str], *, in_pieces: bool) -> str:
    if in_pieces:
        return "too many arguments: one with spaces in it is written in quotes"
    return f"unexpected argument: {' '.join(words)}"
