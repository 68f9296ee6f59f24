"""The kinds of values that options have, as a variable and a configuration file write them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from types import NoneType
from typing import Any, get_args

from cyclopts import Argument

from pipecopy.cli.columns import columns_of
from pipecopy.units import bytes_of, seconds_of

_WHOLE = re.compile(r"[+-]?[0-9]{1,30}")
_FLAGS = {
    **dict.fromkeys(("true", "yes", "1", "on"), True),
    **dict.fromkeys(("false", "no", "0", "off"), False),
}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of values; both readers raise a ValueError that says what is wrong."""

    wanted: str
    """What a value has to be."""
    types: tuple[type, ...]
    """Of a value in the file, as `tomllib` returns it."""
    of_text: Callable[[str], Any]
    of_number: Callable[[Any], Any] = int

    def of_toml(self, value: Any) -> Any:
        """Return what a value of the file stands for; a TypeError for one of another type."""
        if type(value) not in self.types:  # a bool is no int
            raise TypeError
        match value:
            case list():
                if not all(isinstance(item, str) for item in value):
                    raise TypeError
                return tuple(value)
            case str():
                return self.of_text(value)
            case bool():
                return value
        return self.of_number(value)


def _flag_of(text: str) -> bool:
    if text.lower() not in _FLAGS:
        raise ValueError(f'"{text}" is neither true nor false')
    return _FLAGS[text.lower()]


def whole_of(text: str) -> int:
    """Return the whole number; a ValueError says that it is none."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(f'"{text}" is no whole number')
    return int(text)


def _seconds(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # an int that is too big for it
        return float("inf")


FLAG = Kind(wanted="true or false", types=(bool,), of_text=_flag_of)
WHOLE = Kind(wanted="a whole number", types=(int,), of_text=whole_of)
DURATION = Kind(
    wanted='a duration such as "30s", or a number of seconds',
    types=(str, int, float),
    of_text=seconds_of,
    of_number=_seconds,
)
SIZE = Kind(
    wanted='a size such as "64MiB", or a number of bytes', types=(str, int), of_text=bytes_of
)
COLUMNS = Kind(wanted="a list of names", types=(list, str), of_text=columns_of)
TEXT = Kind(wanted="a string", types=(str,), of_text=str)


def kind_of(argument: Argument) -> Kind:
    """Return the kind of values that an option of the command line has."""
    of_metavar = {"DURATION": DURATION, "SIZE": SIZE, "A,B,C": COLUMNS}
    (type_, *_) = [one for one in get_args(argument.hint) or [argument.hint] if one is not NoneType]
    return of_metavar.get(argument.parameter.metavar or "") or {bool: FLAG, int: WHOLE}.get(
        type_, TEXT
    )
