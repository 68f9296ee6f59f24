"""What happened, as small frozen values, and the `Observer` that is told of it.

An observer is any callable that takes one event. It is called in a thread of its own, in the
order of events, and can't touch the copy: one that raises is named in the report's warnings, one
that blocks is left behind when the copy ends.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from pipecopy.config import Config
from pipecopy.contracts import Mode, Side
from pipecopy.finding import side_name
from pipecopy.report import Report
from pipecopy.shard import Shard


@dataclass(frozen=True, kw_only=True)
class Happened:
    """What all events have."""

    at: float = field(default_factory=time.time, compare=False)
    """When it happened: seconds since 1970 UTC by the clock of this machine, which may be set."""
    shard: int | None = None
    """Of a sharded run, which shard it is about, or of a verification by several at once, which
    range; None if it is about the whole run."""
    host: str | None = None
    """On which that shard is copied, or range verified; None if that is not known."""
    table: str | None = None
    """Of a sharded run, the source's table that it is about, as the pool was told it; None if it is
    about the whole run, or the pool has no `table`."""


@dataclass(frozen=True, kw_only=True)
class RunStarted(Happened):
    """The workers are being started: the first event of a run."""

    run_id: str
    source: str
    target: str
    config: Config
    mode: Mode
    writes: bool = False
    """The run writes to the target: a copy, or a verification that repairs."""
    deletes: bool = False
    """The run removes surplus rows from the target."""
    table: str | None = None
    """The source's table as the pool was told it; None if the pool has no `table`."""
    target_table: str | None = None


@dataclass(frozen=True, kw_only=True)
class RangeKnown(Happened):
    """The greatest id was read: ids in `[first_id, max_id]` are copied, or compared."""

    first_id: int
    max_id: int


PauseReason: TypeAlias = Literal[
    "another run", "open transactions", "max rate", "pause file", "max lag", "max load"
]
"""Another run holds the target's table; transactions of the source have to end (`Config.settle`);
or which limit of a run's pace makes it wait."""


@dataclass(frozen=True, kw_only=True)
class Paused(Happened):
    """The next load or range waits, or the look at the tables before the first one.

    Sent as the wait begins, and again if the detail has changed.
    """

    reason: PauseReason
    detail: str
    """Why it waits, such as `the standby "s1" of the source is 12 s behind (at most 10 s)`."""
    seconds: float = 0.0
    """For which it has waited; 0 as it begins."""


@dataclass(frozen=True, kw_only=True)
class Resumed(Happened):
    """The wait has ended."""

    reason: PauseReason
    seconds: float
    """How long it was."""


@dataclass(frozen=True, kw_only=True)
class Measured(Happened):
    """A side has told what a limit of the run's pace is about, each second at most."""

    side: Side
    what: Literal["lag", "active_sessions"]
    value: float
    """Seconds that its standby, or it itself, is behind; or how many sessions are active."""


@dataclass(frozen=True, kw_only=True)
class StopRequested(Happened):
    """The run was asked to stop: it ends when what is in flight is finished."""

    grace: float
    """Seconds that it gets for that at most; 0 if it ends at once."""
    finishing: str | None = None
    """What that is, such as `the batch in flight`; None if it ends at once."""
    by: str | None = None
    """The signal, such as `SIGTERM`; None if the library's caller asked."""


@dataclass(frozen=True, kw_only=True)
class Where:
    """Which attempt of which call an event is about."""

    side: Side
    dbname: str
    call: str
    key_range: tuple[int, int] | None
    rows: int | None = None
    """It is about no more rows of these ids; None for all of them."""
    attempt: int
    """1 for the first."""

    def __str__(self) -> str:
        """Return `source prod: load_rows of ids [1, 11)`, as errors and lines have it."""
        return f"{side_name(self.side, self.dbname)}: {self.what}"

    @property
    def what(self) -> str:
        """The call alone: `load_rows of ids [1, 11)`."""
        rows = "" if self.rows is None else f" of up to {self.rows} rows"
        ids = "" if self.key_range is None else " of ids [{}, {})".format(*self.key_range)
        return f"{self.call}{rows}{ids}"


@dataclass(frozen=True, kw_only=True)
class CallStarted(Happened):
    """An attempt is under way in its worker."""

    where: Where
    limit: float
    """Seconds until its worker is killed."""


CallOutcome: TypeAlias = Literal["returned", "raised", "timed out", "crashed", "cut short"]
"""`cut short`: killed since the whole run ended, or reached its limit."""


@dataclass(frozen=True, kw_only=True)
class CallEnded(Happened):
    """An attempt ended."""

    where: Where
    outcome: CallOutcome
    seconds: float
    detail: str = ""
    """What the driver said, if it did not return."""


@dataclass(frozen=True, kw_only=True)
class Hang:
    """Where a call was stuck, as seen just before its worker was killed."""

    state: str
    """The process's state, such as `sleeping` or `in uninterruptible sleep`."""
    wait_channel: str
    """The kernel function in which it waited; empty if the kernel does not tell."""
    stack: str
    """The driver's Python frames, innermost first, as `faulthandler` writes them; empty if it
    could not, as in a process that is stopped."""

    @property
    def frames(self) -> list[str]:
        """The stack's frames in short, innermost first: `function (file:line)`."""
        return [f"{f['function']} ({f['file']}:{f['line']})" for f in _FRAME.finditer(self.stack)]

    def __str__(self) -> str:
        frames = self.frames
        where = f" in {frames[0]}" if frames else ""
        channel = f", kernel: {self.wait_channel}" if self.wait_channel else ""
        return f"{self.state}{where}{channel}"


_FRAME = re.compile(r'  File "(?:[^"]*/)?(?P<file>[^"]+)", line (?P<line>\d+) in (?P<function>.+)')


@dataclass(frozen=True, kw_only=True)
class WorkerKilled(Happened):
    """A worker was killed in the middle of a call, or while it started for one."""

    where: Where
    pid: int | None
    seconds: float
    """How long the call had been under way."""
    abandoned: bool
    """It did not die: it is in uninterruptible sleep, and was given up."""
    hang: Hang | None = None
    """Where it was stuck; None if it was killed because the copy ended for another reason."""


@dataclass(frozen=True, kw_only=True)
class RetryScheduled(Happened):
    """The call will be retried."""

    where: Where
    """The attempt that timed out."""
    delay: float
    """Seconds until the next one."""
    reason: str = ""
    """What the driver raised; empty if the worker was killed: see `WorkerKilled`."""


@dataclass(frozen=True, kw_only=True)
class BatchSaved(Happened):
    """A batch is durably in the target, or had no rows."""

    key_range: tuple[int, int]
    rows: int
    bytes: int
    inserted: int | None = None
    """Of these rows; None, as the other two, if the target's driver does not tell."""
    updated: int | None = None
    unchanged: int | None = None


@dataclass(frozen=True, kw_only=True)
class DriverOutput(Happened):
    """What the driver wrote to its standard output or error."""

    side: Side
    dbname: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Warned(Happened):
    """Something that the report's warnings will hold."""

    message: str


@dataclass(frozen=True, kw_only=True)
class DifferencesFound(Happened):
    """Ids differ, and did so when they were read again; before they are repaired."""

    missing: tuple[int, ...]
    """In the source and not in the target."""
    surplus: tuple[int, ...]
    """In the target and not in the source."""
    differing: tuple[int, ...]
    """In both, with other values or another number of rows."""


@dataclass(frozen=True, kw_only=True)
class RangeVerified(Happened):
    """A range of ids was compared; what differed was read again, and repaired if asked for."""

    key_range: tuple[int, int]
    rows: int
    """In the source."""
    missing: int
    surplus: int
    differing: int


@dataclass(frozen=True, kw_only=True)
class ShardsKnown(Happened):
    """A sharded run knows its shards: they were planned, or it goes on with those of the ledger.

    A verification by several at once tells its ranges by the events of shards.
    """

    shards: tuple[Shard, ...]
    jobs: int
    """How many are under way at once, at most."""
    estimated_rows: int | None
    """Of all tables; None if that is not known."""


@dataclass(frozen=True, kw_only=True)
class ShardStarted(Happened):
    """An attempt of a shard is under way: it was given to the engine."""

    first: int
    last: int
    next_id: int
    attempt: int
    """1 for the first of this run."""


@dataclass(frozen=True, kw_only=True)
class ShardProgress(Happened):
    """How far a shard is by the ledger, of one whose own events do not come while it runs."""

    next_id: int
    rows: int


ShardOutcome: TypeAlias = Literal["done", "failed", "lost", "stopped"]
"""`lost`: its host, worker or engine was, or another attempt has claimed the shard."""


@dataclass(frozen=True, kw_only=True)
class ShardEnded(Happened):
    """An attempt of a shard has ended."""

    outcome: ShardOutcome
    next_id: int
    rows: int
    """Of all attempts."""
    detail: str = ""
    """Why it was lost, or failed."""
    attempt: int = 1
    """1 for the first of this run."""
    again: bool = False
    """The shard is run again."""


@dataclass(frozen=True, kw_only=True)
class RunEnded(Happened):
    """The last event of a run."""

    report: Report


@dataclass(frozen=True, kw_only=True)
class CommandEnded(Happened):
    """The command knows how it ends: sent after all others, to its own observers alone.

    `RunEnded` may be missing before it: the run did not begin, or its clean-up is stuck.
    """

    exit_code: int
    error: str | None
    """What was wrong or which signal came, and how far the run came; None if nothing ended it."""
    go_on: str | None
    """What to do then, such as `run it again: it is safe`."""
    stopped_by: str | None
    """The signal that stopped the command, such as `SIGTERM`; None if none did."""
    report: Report | None
    """How far the run came; None if it did not begin."""
    result: Mapping[str, Any]
    """The object that `--json` prints."""


Event: TypeAlias = (
    RunStarted
    | RangeKnown
    | Paused
    | Resumed
    | Measured
    | StopRequested
    | CallStarted
    | CallEnded
    | WorkerKilled
    | RetryScheduled
    | BatchSaved
    | DifferencesFound
    | RangeVerified
    | DriverOutput
    | Warned
    | ShardsKnown
    | ShardStarted
    | ShardProgress
    | ShardEnded
    | RunEnded
    | CommandEnded
)


class Observer(Protocol):
    """Anything that can be called with an event."""

    def __call__(self, event: Event, /) -> None:
        """Take note of the event; what is returned is ignored."""
