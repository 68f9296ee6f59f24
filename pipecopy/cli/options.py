"""The options that commands share, as Cyclopts fills them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from cyclopts import UNSET, Group, Parameter, Token

from pipecopy.cli.kinds import (
    LOG_FORMATS,
    Columns,
    Duration,
    Flag,
    LogFormat,
    Names,
    Patterns,
    Progress,
    Rate,
    ReportFile,
    RunId,
    Size,
    SomeText,
    Unsaid,
    Whole,
    bounds,
)
from pipecopy.cli.main import StopSignals
from pipecopy.cli.said import dropped
from pipecopy.cli.streams import Stream
from pipecopy.cli.typed import Typed
from pipecopy.config import DEFAULT_BATCH_BYTES, Config
from pipecopy.errors import ConfigError
from pipecopy.events import Observer
from pipecopy.observers.display import PROGRESS, Screen, Shown
from pipecopy.observers.text import DEBUG, INFO, WARNING
from pipecopy.units import rate_of

if TYPE_CHECKING:
    from pipecopy.postgres import PostgresPool

TABLE = Group("Table", sort_key=0)
REPAIR = Group("Repair", sort_key=1)
SHARDS = Group("Shards", sort_key=2)
LIMITS = Group("Limits", sort_key=3)
OUTPUT = Group("Output", sort_key=4)
CONFIGURATION = Group("Configuration", sort_key=5)


Source: TypeAlias = Annotated[
    SomeText,
    Parameter(
        required=False,
        help="Database to read from: its name in pipecopy.toml, a URI, a connection string, or"
        " the name of a libpq service. Without a TARGET, the name of a job.",
    ),
]
Target: TypeAlias = Annotated[
    SomeText, Parameter(required=False, help="Database to write to; same forms as SOURCE.")
]
More: TypeAlias = Annotated[SomeText, Parameter(show=False, allow_leading_hyphen=True)]
"""Each is the name of one more job, if SOURCE and TARGET are names of jobs."""
Err: TypeAlias = Annotated[Stream, Parameter(parse=False)]
"""Where a command writes what happens."""
Signals: TypeAlias = Annotated[StopSignals, Parameter(parse=False)]
"""A command ignores them as soon as they could no longer change the outcome."""
AsTyped: TypeAlias = Annotated[Typed, Parameter(parse=False)]


NO_CONNECTIONS: Mapping[str, str] = MappingProxyType({})
DEFAULT_TABLE, DEFAULT_KEY = Unsaid("profiles"), Unsaid("id")
DEFAULT_LEDGER = "pipecopy_shards"


def _found(_type: object, tokens: tuple[Token, ...]) -> Any:
    """Return what `config` has found in the file, and gives the option instead of a name."""
    found = tokens[-1].implicit_value
    return NO_CONNECTIONS if found is UNSET else found


IN_FILE = Parameter(
    name="--config",
    group=CONFIGURATION,
    converter=_found,
    n_tokens=1,
    accepts_keys=False,
    negative=(),
    show_default=lambda _: "pipecopy.toml",
    metavar="FILE",
    help="The file with databases and jobs, instead of the one that is found.",
)
Connections: TypeAlias = Annotated[Mapping[str, str], IN_FILE]
"""The connection strings of a command's two databases by their names: what the file that the option
names knows of them. A command takes it as the keyword argument `connections`."""


@Parameter(name="*", group=TABLE)
@dataclass(frozen=True, kw_only=True)
class BesideRows:
    """What a copy does before and after its rows."""

    create: Flag = False
    """Create the table in the target, like the one in the source, if it is missing."""
    analyze: Flag = False
    """Run ANALYZE on the table in the target after the last batch."""


@Parameter(name="*", group=TABLE)
@dataclass(frozen=True, kw_only=True)
class CopyOptions(BesideRows):
    """What only a copy has, and a check foretells."""

    resume: Flag = False
    """Begin at the greatest id in the target, after a first copy that was interrupted."""


@Parameter(name="*", group=SHARDS)
@dataclass(frozen=True, kw_only=True)
class Shards:
    """How a table is divided into shards: ranges of ids, each copied by itself."""

    shards: Annotated[Whole | None, bounds(1), Parameter(metavar="N")] = None
    """Copy in at most this many ranges of ids (shards), several of them at once."""


@Parameter(name="*", group=SHARDS)
@dataclass(frozen=True, kw_only=True)
class Engine:
    """What copies shards."""

    jobs: Annotated[Whole | None, bounds(1), Parameter(metavar="N")] = None
    """How many shards are copied at once; without this, as many as this host has processors."""
    dask: Annotated[SomeText | None, Parameter(metavar="ADDRESS")] = None
    """Copy the shards on the workers of the Dask scheduler at this address; needs --jobs."""
    shard_retries: Annotated[Whole, bounds(0)] = 3
    """How often a shard is copied again after its process, worker or host was lost."""


@Parameter(name="*", group=SHARDS)
@dataclass(frozen=True, kw_only=True)
class GoOn:
    """Which sharded run to go on with, and with which of its shards."""

    run: RunId = None
    """Go on with the sharded run of this id: copy the shards that are not done."""
    shard: Annotated[Whole | None, bounds(0), Parameter(metavar="N")] = None
    """With --run: copy this shard alone, for a scheduler that starts a command for each; from 0."""


@Parameter(name="*", group=SHARDS)
@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Where the shards are kept account of."""

    ledger: Annotated[SomeText, Parameter(metavar="NAME")] = DEFAULT_LEDGER
    """The table in the target that says how far each shard is; schema.name for another schema."""


@Parameter(name="*", group=REPAIR)
@dataclass(frozen=True, kw_only=True)
class RepairOptions:
    """What a verification does about differences, and how many compare at once."""

    repair: Flag = False
    """Copy missing and differing rows again; without this nothing is written."""
    delete_surplus: Flag = False
    """With --repair: remove rows whose id is not in the source, or not in its part (--where)."""
    jobs: Annotated[Whole, bounds(1), Parameter(metavar="N", group=LIMITS)] = 1
    """How many ranges of ids are compared at once, each by two processes of its own."""


@Parameter(name="*", group=TABLE)
@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which table, and which part of it."""

    table: Names = DEFAULT_TABLE
    """The table, on both sides; schema.name if it is not on the search path. May be repeated."""
    tables: Patterns = None
    """All tables of the source that match, as psql has patterns: `public.*`, `orders_*`."""
    exclude_table: Patterns = None
    """Tables that --tables leaves out, by patterns as well."""
    target_table: Annotated[SomeText | None, Parameter(metavar="NAME")] = None
    """The table on the target, if it has another name there."""
    key: Annotated[SomeText, Parameter(metavar="COLUMN")] = DEFAULT_KEY
    """The integer key, by which the table is cut into batches; of several, each has its own."""
    columns: Columns = None
    """Only these columns, the key among them; a comma in double quotes is part of a name."""
    exclude: Columns = None
    """All columns but these, written in the same way; not together with --columns."""
    where: Annotated[SomeText | None, Parameter(metavar="SQL", allow_leading_hyphen=True)] = None
    """Only rows for which this condition is true; it is evaluated with TimeZone UTC."""
    session_pooler: Flag = False
    """Allow a connection pooler on the way: it is in session mode."""
    two_servers: Flag = False
    """Source and target are separate servers: if one is a standby, it does not follow the other."""

    @property
    def names(self) -> tuple[str, ...]:
        """The tables that are named; none if there are only patterns."""
        if self.tables is not None and isinstance(self.table, Unsaid):
            return ()
        return (self.table,) if isinstance(self.table, str) else self.table

    @property
    def is_several(self) -> bool:
        """Whether it may mean several tables."""
        return self.tables is not None or len(self.names) > 1

    @property
    def given_key(self) -> str | None:
        """The key of all of them; None if each has its own."""
        return None if isinstance(self.key, Unsaid) else self.key

    def pool(
        self,
        connections: Mapping[str, str],
        how: BesideRows = BesideRows(),
        ledger: str = DEFAULT_LEDGER,
    ) -> PostgresPool:
        """Return the pool for this table, with what a copy does before and after its rows."""
        from pipecopy.postgres import PostgresPool  # noqa: PLC0415 - loads psycopg: not for --help

        return PostgresPool(
            connections,
            table=self.names[0],
            target_table=self.target_table,
            key=self.key,
            columns=self.columns,
            exclude=self.exclude,
            where=self.where,
            create=how.create,
            analyze=how.analyze,
            session_pooler=self.session_pooler,
            two_servers=self.two_servers,
            ledger=ledger,
        )


@Parameter(name="*", group=TABLE)
@dataclass(frozen=True, kw_only=True)
class IdRange:
    """Which ids of the table."""

    from_id: Annotated[Whole, bounds(0)] = 0
    """The first id."""
    to_id: Annotated[Whole | None, bounds(0)] = None
    """The last id (inclusive); without this, the greatest in the table."""


@Parameter(name="*", group=LIMITS)
@dataclass(frozen=True, kw_only=True)
class CallLimits:
    """What bounds the calls of a run."""

    max_retries: Annotated[Whole, bounds(0)] = 3
    """Retries of a database call that timed out, after its first attempt."""
    retries_delay: Duration = 1.0
    """Time between two attempts of a call."""
    call_timeout: Annotated[Duration, bounds(0, above=True)] = 30.0
    """Time that one database call may take before its process is killed."""
    full_copy_timeout: Annotated[Duration, bounds(0, above=True)] = 21_600.0
    """Time that the whole run may take, retries and clean-up included."""

    def config(self) -> Config:
        """Return them as the library takes them."""
        return Config(batch_size=1, **vars(self))


@Parameter(name="*", group=LIMITS)
@dataclass(frozen=True, kw_only=True)
class Limits(CallLimits):
    """What bounds a run. A duration is such as `250ms`, `30s`, `5m`, `1h30m`, `1d`, or seconds."""

    batch_size: Annotated[Whole, bounds(1)] = 10_000
    """Rows in one batch, and the most in one range that is compared."""
    read_ahead: Annotated[Whole, bounds(0, 1)] = 1
    """1: load the next batch while this one is saved. 0: one after the other."""
    max_batch_bytes: Annotated[Size, bounds(1)] = DEFAULT_BATCH_BYTES
    """Size of one batch: a bigger one is split; a single row that is bigger goes alone."""
    settle: Duration = 0.0
    """How long to wait for transactions open at the start, whose rows would be missed."""
    batch_time: Annotated[Duration | None, bounds(0, above=True), Parameter(show_default=False)] = (
        None
    )
    """Time that saving a batch should take: a copy adapts its rows, beginning with --batch-size."""
    wait: Flag = False
    """Wait until another run that writes the target's table has ended, instead of failing."""

    max_rate: Rate = None
    """Most that is read a second, such as 20MB or 5000rows; each batch is read at full speed."""
    pause_file: Annotated[SomeText | None, Parameter(metavar="FILE")] = None
    """Pause between two batches while this file exists."""
    max_lag: Annotated[Duration | None, bounds(0, above=True), Parameter(show_default=False)] = None
    """Pause while a standby of either server, or a source that is one, is further behind."""
    max_load: Annotated[Whole | None, bounds(0), Parameter(metavar="N")] = None
    """Pause while more sessions than this are active on the source."""
    grace: Duration = 10.0
    """Time that SIGTERM, SIGHUP or Ctrl-C gives the batch in flight; a second one stops at once."""

    def config(self) -> Config:
        """Return them as the library takes them."""
        given = {name: value for name, value in vars(self).items() if name != "max_rate"}
        size, rows = (None, None) if self.max_rate is None else rate_of(self.max_rate)
        return Config(**given, max_rate_bytes=size, max_rate_rows=rows)


@Parameter(name="*", group=OUTPUT)
@dataclass(frozen=True, kw_only=True)
class Messages:
    """How a command says what happened."""

    json: Flag = False
    """Write the report to standard output as one JSON object, also if the run fails."""
    log_format: LogFormat = LOG_FORMATS[0]
    """How standard error is written: text, for people, or json, an object on each line."""
    quiet: Annotated[Flag, Parameter(name=["--quiet", "-q"])] = False
    """Write only warnings and errors to standard error."""
    verbose: Annotated[Flag, Parameter(name=["--verbose", "-v"])] = False
    """Write a line as each database call begins, and as it ends."""
    traceback: Flag = False
    """Show the tracebacks of an error, including those of the driver."""

    @property
    def as_json_lines(self) -> bool:
        """Each line on standard error is a JSON object."""
        return self.log_format == LOG_FORMATS[1]

    @property
    def shown(self) -> Shown:
        """What the screen shows."""
        least = WARNING if self.quiet else DEBUG if self.verbose else INFO
        return Shown(least=least, as_json=self.as_json_lines)

    def screen(self, err: Stream, *, brief: bool = False, events: bool = False) -> Screen:
        """Return the screen of a run, on a stream that tells of the lines that it drops.

        With `events` it shows nothing else.
        """
        shown = replace(self.shown, progress=None) if events else self.shown
        if self.as_json_lines or not err.isatty():
            err.notice = partial(dropped, as_json=self.as_json_lines)
        return Screen(err, shown, brief=brief)

    def observers(self) -> dict[str, Observer]:
        """Return what takes note of the run besides the screen, by the names in messages."""
        return {}


@Parameter(name="*", group=OUTPUT)
@dataclass(frozen=True, kw_only=True)
class Output(Messages):
    """What is written, and where."""

    progress: Annotated[Progress, bounds(0, above=True)] = PROGRESS
    """Time between two lines that say how far the run is; none for none, and no bar."""
    metrics_file: Annotated[SomeText | None, Parameter(metavar="FILE")] = None
    """Write the figures of the run to FILE, for Prometheus, while it runs and at the end."""
    traces: Flag = False
    """Send each call as a span to the OpenTelemetry collector at OTEL_EXPORTER_OTLP_ENDPOINT."""
    report: ReportFile = None
    """Write a page with charts of the run to FILE.html at the end, or the same to FILE.json."""

    @property
    def shown(self) -> Shown:
        """What the screen shows."""
        return replace(super().shown, progress=None if self.quiet else self.progress)

    def observers(self) -> dict[str, Observer]:
        """Return what takes note of the run besides the screen, by the names in messages."""
        found: dict[str, Observer] = {}
        if self.metrics_file is not None:
            with _extra("--metrics-file", "metrics"):
                from pipecopy.observers.metrics import MetricsFile  # noqa: PLC0415 - heavy
            found["--metrics-file"] = MetricsFile(self.metrics_file)
        if self.traces:
            with _extra("--traces", "traces"):
                from pipecopy.observers.otlp import OtlpTraces  # noqa: PLC0415 - heavy
            found["--traces"] = OtlpTraces()
        if self.report is not None:
            with _extra("--report", "report"):
                from pipecopy.observers.page.observer import Page  # noqa: PLC0415 - for this option alone

                found["--report"] = Page(self.report)
        return found


@contextmanager
def _extra(option: str, extra: str) -> Iterator[None]:
    """Raise ConfigError if what the option needs is not installed."""
    try:
        yield
    except ImportError as error:
        message = f'{option} needs the extra {extra}: pip install "pipecopy[{extra}]"'
        raise ConfigError(message) from error
