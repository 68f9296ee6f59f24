"""The options that commands share, as frozen values that Cyclopts fills."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, TypeAlias

from cyclopts import Group, Parameter, Token

from pipecopy.cli.columns import columns_of
from pipecopy.cli.kinds import whole_of
from pipecopy.config import DEFAULT_BATCH_BYTES, Config, bad_ids, bad_resume
from pipecopy.errors import ConfigError
from pipecopy.units import bytes_of, duration_text, seconds_of, size_text

if TYPE_CHECKING:
    from pipecopy.postgres import PostgresPool

TABLE = Group("Table", sort_key=0)
REPAIR = Group("Repair", sort_key=1)
LIMITS = Group("Limits", sort_key=2)
OUTPUT = Group("Output", sort_key=3)
CONFIGURATION = Group("Configuration", sort_key=4)


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


def _to_whole(_type: object, tokens: tuple[Token, ...]) -> int:
    return whole_of(tokens[0].value)  # Cyclopts' own would round 1.5 to 2


Whole: TypeAlias = Annotated[int, Parameter(converter=_to_whole)]


def _to_columns(_type: object, tokens: tuple[Token, ...]) -> tuple[str, ...]:
    return tuple(name for token in tokens for name in columns_of(token.value))


Columns: TypeAlias = Annotated[
    tuple[str, ...] | None,
    Parameter(converter=_to_columns, n_tokens=1, negative=(), metavar="A,B,C"),
]

Flag: TypeAlias = Annotated[bool, Parameter(negative=(), show_default=False)]


Source: TypeAlias = Annotated[
    str,
    Parameter(
        required=False,
        help="The database to read: its name in pipecopy.toml, a URI, a connection string, or"
        " the name of a service of libpq. Without a TARGET it is the name of a job.",
    ),
]
Target: TypeAlias = Annotated[
    str, Parameter(required=False, help="The database to write, likewise.")
]


def _to_connections(_type: object, _tokens: tuple[Token, ...]) -> Mapping[str, str]:
    raise ValueError("no configuration was read")  # it gives the token its value


Connections: TypeAlias = Annotated[
    Mapping[str, str],
    Parameter(
        name="--config",
        group=CONFIGURATION,
        converter=_to_connections,
        n_tokens=1,
        accepts_keys=False,
        negative=(),
        show_default=lambda _: "pipecopy.toml",
        metavar="FILE",
        help="Where databases and jobs are named; see below.",
    ),
]
"""The connection strings of a command's two databases by their names: what the file that the option
names knows of them. A command takes it as the keyword argument `connections`."""
NO_CONNECTIONS: Mapping[str, str] = MappingProxyType({})


def wrong_with(text: str | None) -> str | None:
    """Say what is wrong with a name or a condition, if anything; None is none."""
    if text is None:
        return None
    if not text.strip():
        return "is empty"
    return "has a NUL character in it" if "\0" in text else None


@Parameter(name="*", group=TABLE)
@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which table it is, and which part of it."""

    table: Annotated[str, Parameter(metavar="NAME")] = "profiles"
    """The table, on both sides; schema.name where it is not on the search path."""
    target_table: Annotated[str | None, Parameter(metavar="NAME")] = None
    """The target's, where it has another name there."""
    key: Annotated[str, Parameter(metavar="COLUMN")] = "id"
    """Its integer key, by which it is cut into batches."""
    columns: Columns = None
    """Only these columns, the key among them; a comma within double quotes is part of a name."""
    where: Annotated[str | None, Parameter(metavar="SQL", allow_leading_hyphen=True)] = None
    """Only the rows for which this condition is true; it is evaluated with TimeZone UTC."""
    session_pooler: Flag = False
    """A connection pooler on the way is in session mode; without this a pooler is refused."""

    def problems(self) -> list[str]:
        """Say what is wrong with the fields, by their names."""
        columns = (None,) if self.columns is None else self.columns or ("",)
        given = {
            "table": (self.table,),
            "target_table": (self.target_table,),
            "key": (self.key,),
            "columns": columns,
            "where": (self.where,),
        }
        return [
            f"{field} {wrong}"
            for field, texts in given.items()
            if (wrong := next(filter(None, map(wrong_with, texts)), None))
        ]

    def pool(self, connections: Mapping[str, str], *, create: bool = False) -> PostgresPool:
        """Return the pool for this table; a ConfigError names the options that are wrong.

        `create` makes the target's table where it is missing.
        """
        if bad := self.problems():
            raise ConfigError(options_named("; ".join(bad), self))
        from pipecopy.postgres import PostgresPool  # noqa: PLC0415 - loads psycopg: not for --help

        return PostgresPool(
            connections,
            table=self.table,
            target_table=self.target_table,
            key=self.key,
            columns=self.columns,
            where=self.where,
            create=create,
            session_pooler=self.session_pooler,
        )


@Parameter(name="*", group=TABLE)
@dataclass(frozen=True, kw_only=True)
class IdRange:
    """Which ids of the table."""

    from_id: Whole = 0
    """The first id."""
    to_id: Whole | None = None
    """The last id, itself included; without this, the greatest there is."""

    def problems(self) -> list[str]:
        """Say what is wrong with the fields, by their names."""
        return bad_ids(self.from_id, self.to_id)

    def check(self) -> None:
        """Raise a ConfigError that names the options where the range is none."""
        if bad := self.problems():
            raise ConfigError(options_named("; ".join(bad), self))


@Parameter(name="*", group=LIMITS)
@dataclass(frozen=True, kw_only=True)
class Limits:
    """What bounds a copy. A duration is such as `250ms`, `30s`, `5m`, `1h30m`, or seconds."""

    batch_size: Whole = 10_000
    """The most rows of one batch, or of one range that is compared."""
    max_retries: Whole = 3
    """Retries of a database call that timed out, after its first attempt."""
    retries_delay: Duration = 1.0
    """Time between two attempts of a call."""
    call_timeout: Duration = 30.0
    """Time that one database call may take before its process is killed."""
    full_copy_timeout: Duration = 21_600.0
    """Time that the whole copy may take, retries and clean-up included."""
    read_ahead: Whole = 1
    """1: load the next batch while this one is saved. 0: one after the other."""
    max_batch_bytes: Size = DEFAULT_BATCH_BYTES
    """Size of one batch: of more, it is split; a single row that is more goes alone."""
    settle: Duration = 0.0
    """The wait at the start for open transactions of the source, whose rows would be missed."""

    def problems(self) -> list[str]:
        """Say what is wrong with the fields, by their names."""
        try:
            self._config()
        except ConfigError as error:
            return [str(error)]
        return []

    def config(self) -> Config:
        """Return them as the library takes them; an error names the options."""
        if bad := self.problems():
            raise ConfigError(options_named("; ".join(bad), self))
        return self._config()

    def _config(self) -> Config:
        return Config(
            batch_size=self.batch_size,
            max_retries=self.max_retries,
            retries_delay=self.retries_delay,
            call_timeout=self.call_timeout,
            full_copy_timeout=self.full_copy_timeout,
            read_ahead=self.read_ahead,
            max_batch_bytes=self.max_batch_bytes,
            settle=self.settle,
        )


def check_resume(selection: Selection, *, resume: bool) -> None:
    """Raise a ConfigError that names the options where that selection can't be resumed."""
    if bad := bad_resume(resume=resume, where=selection.where):
        names = {field: option_name(field) for field in ("resume", "where")}
        raise ConfigError(fields_named("; ".join(bad), names))


def options_named(message: str, options: Selection | IdRange | Limits) -> str:
    """Return the message with `--batch-size` where it says `batch_size`."""
    return fields_named(message, {field: option_name(field) for field in vars(options)})


def fields_named(message: str, names: Mapping[str, str]) -> str:
    """Return the message with the names in the place of the fields."""
    fields = "|".join(names)
    return re.sub(rf"\b({fields})\b", lambda match: names[match[0]], message)


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
