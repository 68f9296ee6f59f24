"""The kinds of options: which value the text of an option stands for, and which are refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

from cyclopts import Parameter, Token

from pipecopy.arguments import wrong_text
from pipecopy.cli.argv import ON
from pipecopy.units import bytes_of, count_of, duration_text, rate_of, seconds_of, size_text

_NAME = re.compile(r'(?:[^",]|"(?:[^"]|"")*")+')
LOG_FORMATS = ("text", "json")
_RUN = re.compile("[0-9a-f]{12}")
_NONE = "none"
_FLAGS = {
    **dict.fromkeys(ON, True),
    **dict.fromkeys(("false", "no", "0", "off"), False),
}

# a converter or a validator raises a ValueError whose text goes on from the name of the option


def _by(read: Callable[[str], Any]) -> Callable[[object, tuple[Token, ...]], Any]:
    """Return the converter that reads the one text that an option has."""
    return lambda _type, tokens: read(tokens[-1].value)


def _flag_of(text: str) -> bool:
    if text.lower() not in _FLAGS:
        raise ValueError(f'"{text}" is neither true nor false')
    return _FLAGS[text.lower()]


def _log_format_of(text: str) -> str:
    if text.lower() not in LOG_FORMATS:
        raise ValueError(f'"{text}" is unknown; it may be {" or ".join(LOG_FORMATS)}')
    return text.lower()


def _progress_of(text: str) -> float | None:
    return None if text.lower() == _NONE else seconds_of(text)


def _progress_text(seconds: float | None) -> str:
    return _NONE if seconds is None else duration_text(seconds)


def _rate_text(text: str) -> str:
    rate_of(text)
    return text


def columns_of(text: str) -> tuple[str, ...]:
    """Return the names in a list as they are written: a comma in double quotes belongs to a name.

    A ValueError says what is wrong with the list.
    """
    names = []
    position = 0
    while (match := _NAME.match(text, position)) and match[0].strip():
        names.append(match[0].strip())
        if match.end() == len(text):
            return tuple(names)
        position = match.end() + 1
        if text[match.end()] != ",":
            break
    raise ValueError(f"'{text}' is not a valid list of columns such as id,data or id,\"a, b\"")


def to_columns(_type: object, tokens: tuple[Token, ...]) -> tuple[str, ...]:
    """Return the names in the texts of a list of columns; see `columns_of`."""
    return tuple(name for token in tokens for name in columns_of(token.value))


class Unsaid(str):
    """A default that can be told from the same word on the command line."""

    __slots__ = ()


def to_names(_type: object, tokens: tuple[Token, ...]) -> str | tuple[str, ...]:
    """Return the name, or the names, that were given, each by itself."""
    names = to_patterns(_type, tokens)
    return names[0] if len(names) == 1 else names


def to_patterns(_type: object, tokens: tuple[Token, ...]) -> tuple[str, ...]:
    """Return the patterns that were given, each by itself."""
    return tuple(token.value for token in tokens)


def bounds(least: float, most: float | None = None, *, above: bool = False) -> Parameter:
    """Return the bounds of a number; `above`: it must be more than the least."""

    def check(_type: object, value: float | None) -> None:
        if value is None or (least < value if above else least <= value <= (most or value)):
            return
        wanted = f"more than {least}" if above else f"at least {least}"
        given = f"{value:g}" if isinstance(value, float) else value
        raise ValueError(f"must be {wanted if most is None else f'{least} to {most}'}, not {given}")

    return Parameter(validator=check)


def described(text: str) -> Parameter:
    """Return the help of an option of one command: python -OO takes docstrings away."""
    return Parameter(help=text)


def _check_text(_type: object, value: str | tuple[str, ...] | None) -> None:
    for text in value if isinstance(value, tuple) else [value]:
        if text is not None and (wrong := wrong_text(text)):
            raise ValueError(wrong)


def _check_run(_type: object, value: str | None) -> None:
    if value is not None and not _RUN.fullmatch(value):
        raise ValueError(f'must be the id of a run, 12 hex digits, not "{value}"')


def _check_report(_type: object, value: str | None) -> None:
    if value is not None and not value.endswith((".html", ".json")):
        raise ValueError(f'must be a file such as nightly.html or nightly.json, not "{value}"')


LogFormat: TypeAlias = Annotated[
    str, Parameter(converter=_by(_log_format_of), metavar="FORMAT", show_default=str)
]
Progress: TypeAlias = Annotated[
    float | None,
    Parameter(converter=_by(_progress_of), show_default=_progress_text, metavar="DURATION"),
]
Rate: TypeAlias = Annotated[
    str | None, Parameter(converter=_by(_rate_text), show_default=False, metavar="RATE")
]
RunId: TypeAlias = Annotated[str | None, Parameter(validator=_check_run, metavar="RUN")]
ReportFile: TypeAlias = Annotated[
    str | None, Parameter(validator=_check_report, metavar="FILE.html")
]
Duration: TypeAlias = Annotated[
    float, Parameter(converter=_by(seconds_of), show_default=duration_text, metavar="DURATION")
]
Size: TypeAlias = Annotated[
    int, Parameter(converter=_by(bytes_of), show_default=size_text, metavar="SIZE")
]
Whole: TypeAlias = Annotated[int, Parameter(converter=_by(count_of))]
Flag: TypeAlias = Annotated[
    bool, Parameter(converter=_by(_flag_of), negative=(), show_default=False)
]
Columns: TypeAlias = Annotated[
    tuple[str, ...] | None,
    Parameter(
        converter=to_columns,
        validator=_check_text,
        n_tokens=1,
        negative=(),
        metavar="A,B,C",
    ),
]
Names: TypeAlias = Annotated[
    str | tuple[str, ...],
    Parameter(converter=to_names, validator=_check_text, n_tokens=1, negative=(), metavar="NAME"),
]
Patterns: TypeAlias = Annotated[
    tuple[str, ...] | None,
    Parameter(
        converter=to_patterns, validator=_check_text, n_tokens=1, negative=(), metavar="PATTERN"
    ),
]
SomeText: TypeAlias = Annotated[str, Parameter(validator=_check_text)]
"""Not empty."""
