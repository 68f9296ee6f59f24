"""The options that commands share, as frozen values that Cyclopts fills."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from cyclopts import Group, Parameter, Token

from pipecopy.config import DEFAULT_BATCH_BYTES, Config
from pipecopy.durations import duration_text, seconds_of
from pipecopy.errors import ConfigError
from pipecopy.sizes import bytes_of, size_text

TABLE = Group("Table", sort_key=0)
LIMITS = Group("Limits", sort_key=1)
OUTPUT = Group("Output", sort_key=2)


def _to_seconds(_type: object, tokens: tuple[Token, ...]) -> float:
    return seconds_of(tokens[0].value)


Duration: TypeAlias = Annotated[
    float, Parameter(converter=_to_seconds, show_default=duration_text, metavar="DURATION")
]


def _to_bytes(_type: object, tokens: tuple[Token, ...]) -> int:
    return bytes_of(tokens[0].value)


Size: TypeAlias = Annotated[
    int, Parameter(converter=_to_bytes, show_default=size_text, metavar="SIZE")
]

Flag: TypeAlias = Annotated[bool, Parameter(negative=(), show_default=False)]


@Parameter(name="*", group=LIMITS)
@dataclass(frozen=True, kw_only=True)
class Limits:
    """What bounds a copy. A duration is such as `250ms`, `30s`, `5m`, `1h30m`, or seconds."""

    batch_size: int = 10_000
    """Rows in one batch."""
    max_retries: int = 3
    """Retries of a database call that timed out, after its first attempt."""
    retries_delay: Duration = 1.0
    """Time between two attempts of a call."""
    call_timeout: Duration = 30.0
    """Time that one database call may take before its process is killed."""
    full_copy_timeout: Duration = 21_600.0
    """Time that the whole copy may take, retries and clean-up included."""
    read_ahead: int = 1
    """1: load the next batch while this one is saved. 0: one after the other."""
    max_batch_bytes: Size = DEFAULT_BATCH_BYTES
    """Size of one batch: of more, it is split; a single row that is more goes alone."""

    def config(self) -> Config:
        """Return them as the library takes them; an error names the options."""
        try:
            return Config(
                batch_size=self.batch_size,
                max_retries=self.max_retries,
                retries_delay=self.retries_delay,
                call_timeout=self.call_timeout,
                full_copy_timeout=self.full_copy_timeout,
                read_ahead=self.read_ahead,
                max_batch_bytes=self.max_batch_bytes,
            )
        except ConfigError as error:
            fields = "|".join(self.__dataclass_fields__)
            named = re.sub(rf"\b({fields})\b", lambda match: option_name(match[0]), str(error))
            raise ConfigError(named) from None


def option_name(field: str) -> str:
    """Return `--batch-size` for `batch_size`."""
    return f"--{field.replace('_', '-')}"


@Parameter(name="*", group=OUTPUT)
@dataclass(frozen=True, kw_only=True)
class Output:
    """What is told, and where."""

    json: Flag = False
    """Write the report to standard output as one JSON object, also when the copy fails."""
    quiet: Annotated[Flag, Parameter(name=["--quiet", "-q"])] = False
    """Write nothing to standard error but errors."""
    traceback: Flag = False
    """Show the tracebacks of an error, the driver's included."""
