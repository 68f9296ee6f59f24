"""Events and the status of a run as text: pure functions from values to lines."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipecopy.config import MAX_SECONDS
from pipecopy.events import (
    BatchSaved,
    CallEnded,
    CallOutcome,
    CallStarted,
    DifferencesFound,
    DriverOutput,
    Event,
    Hang,
    Measured,
    Paused,
    RangeKnown,
    RangeVerified,
    Resumed,
    RetryScheduled,
    RunEnded,
    RunStarted,
    ShardEnded,
    ShardProgress,
    ShardsKnown,
    ShardStarted,
    StopRequested,
    Warned,
    WorkerKilled,
)
from pipecopy.finding import name_text, side_name
from pipecopy.redact import redact
from pipecopy.units import counted, id_ranges, seconds_text

MB = 1_000_000
DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40
"""How much a line matters: the numbers of `logging`, which only `--log-format json` imports."""
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_STOPS = (".", ":", ";", ",", "?", "!")
"""After these a sentence that follows needs no other sign that it begins."""
_FRAMES = 4
"""How many frames of a stack are shown, innermost first."""


_OFTEN = (
    *(CallStarted, CallEnded, BatchSaved, RangeVerified, Measured),
    *(ShardStarted, ShardProgress, ShardEnded),
)
_OF_EACH = (RunStarted, RangeKnown, Paused, Resumed, StopRequested, RunEnded)
"""What each shard has, as the run itself."""
_ENDS: dict[CallOutcome, str] = {
    "returned": "returned",
    "raised": "failed",
    "crashed": "failed",
    "timed out": "timed out",
    "cut short": "was cut short",
}


@dataclass(frozen=True, kw_only=True)
class ShardStatus:
    """How many shards of a run are how far."""

    shards: int
    done: int
    running: int
    again: int
    """Attempts that were lost, and run again."""
    where: str = ""
    """Which are under way on which host, and how far each is; empty if none is."""

    def __str__(self) -> str:
        again = f", {self.again:,} run again" if self.again else ""
        done = f"{self.done:,} of {counted(self.shards, 'shard')}"
        return f"{done}, {self.running:,} under way{again}"


@dataclass(frozen=True, kw_only=True)
class Status:
    """How far a run is; a speed or a time is None while it is not known."""

    share: float | None = None
    """How much of the range of ids is done, from 0 to 1."""
    next_id: int = 0
    max_id: int | None = None
    rows: int = 0
    rows_speed: float | None = None
    bytes_speed: float | None = None
    differences: int | None = None
    """Ids that a verification found to differ; None for a copy."""
    kills: int = 0
    retries: int = 0
    seconds_left: float | None = None
    shards: ShardStatus | None = None
    """None if the run has none; else there is no id below which all is done."""
    waits: tuple[str, ...] = ()
    """A line for each thing that the run has waited for long enough to say so."""


def printable(text: str) -> str:
    """Return the text with an escape for what would command a terminal or reorder a line.

    A name, a value in a server's message or the output of a driver may have such characters.
    """
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(text: str) -> str:
    """Return the text without line breaks, which libpq's messages have; spaces stay as they are."""
    said = ""
    for line in filter(None, map(str.strip, text.splitlines())):
        begins_anew = line[0].isupper() and said and not said.endswith(_STOPS)
        said += f"{';' if begins_anew else ''} {line}"
    return printable(said.strip())


def level_of(event: Event, *, of_run: bool = True) -> int:
    """Return how much the event matters: DEBUG for what each batch, or each shard, has.

    `of_run` tells that it is of the run itself, and not of one of its shards.
    """
    match event:
        case Warned() | WorkerKilled() | RetryScheduled() | ShardEnded(outcome="lost" | "failed"):
            return WARNING
        case CallEnded(where=where, outcome="returned") if where.attempt > 1:
            return INFO
        case ShardEnded(outcome="done", attempt=attempt) if attempt > 1:
            return INFO
        case Paused(seconds=seconds) if seconds > 0:  # its detail changes, of a lag each second
            return DEBUG
    if isinstance(event, _OF_EACH) and not of_run:
        return DEBUG
    has_rate = isinstance(event, Paused | Resumed) and event.reason == "max rate"
    return DEBUG if has_rate or isinstance(event, _OFTEN) else INFO


def event_line(event: Event) -> str | None:
    """Return the line for an event.

    None for what only the counters show, and for what the last lines of a run tell.
    """
    line = _line(event)
    return None if line is None else printable(f"{part_text(event, with_table=True)}{line}")


def part_text(event: Event, *, with_table: bool = False) -> str:
    """Return what goes before what is said of a shard, or of one table of several."""
    table = "" if event.table is None else redact(event.table)
    if event.shard is None:
        return f"{table}: " if table and not isinstance(event, RunStarted) else ""
    of_table = f" of {table}" if table and with_table else ""
    host = "" if event.host is None else f" on {event.host}"
    return f"shard {event.shard}{of_table}{host}: "


def _line(event: Event) -> str | None:
    line = None
    match event:
        case RunStarted(mode="copy" | "verify"):
            line = _start_line(event)
        case CallStarted() | CallEnded() | WorkerKilled() | RetryScheduled():
            line = f"{redact(str(event.where))}: {_attempt_text(event)}"
        case BatchSaved(key_range=(first, end), rows=rows):
            line = f"ids [{first}, {end}): {saved_text(event)}" if rows else None
        case RangeVerified(key_range=(first, end), rows=rows):
            line = f"ids [{first}, {end}): {counted(rows, 'row')} compared"
        case RangeKnown():
            line = _range_line(event)
        case Paused() | Resumed() | StopRequested():
            line = _wait_line(event)
        case ShardsKnown() | ShardStarted() | ShardProgress() | ShardEnded():
            line = _shard_line(event)
        case DriverOutput(side=side, dbname=dbname, text=text):
            line = redact(f"{side_name(side, dbname)}: driver output: {text.rstrip()}")
        case Warned(message=message):
            line = f"warning: {redact(one_line(message))}"
    return line


def _shard_line(event: ShardsKnown | ShardStarted | ShardProgress | ShardEnded) -> str:
    match event:
        case ShardsKnown():
            return _shards_line(event)
        case ShardStarted(attempt=attempt, next_id=next_id, last=last):
            return f"attempt {attempt} began: ids from {next_id} to {last}"
        case ShardProgress(next_id=next_id, rows=rows):
            return f"every id below {next_id} is done: {counted(rows, 'row')}"
        case ShardEnded(outcome="done", attempt=attempt, rows=rows):
            by = "" if attempt == 1 else f" by attempt {attempt}"
            return f"done{by}: {counted(rows, 'row')}"
        case ShardEnded(again=True, attempt=attempt, next_id=next_id):
            why = f": {redact(one_line(event.detail))}" if event.detail else ""
            return f"attempt {attempt} was lost{why}; it is run again from id {next_id} on"
    return f"{event.outcome} at id {event.next_id}: {counted(event.rows, 'row')} saved"


def _shards_line(event: ShardsKnown) -> str:
    if not event.shards:
        return "no shards: there are no ids to copy"
    done = sum(shard.state == "done" for shard in event.shards)
    parts = [counted(len(event.shards), "shard"), f"at most {event.jobs:,} at once"]
    if done:
        parts.insert(1, f"{done:,} of them done")
    if event.estimated_rows is not None:
        parts.append(f"about {counted(event.estimated_rows, 'row')}")
    return ", ".join(parts)


def _start_line(event: RunStarted) -> str:
    source, target = (name_text(redact(name)) for name in (event.source, event.target))
    table = "" if event.table is None else f" {event.table}"
    other = "" if event.target_table in {None, event.table} else f" {event.target_table} in"
    if event.mode == "copy":
        return f"copying{table} from {source} to{other} {target}, run {event.run_id}"
    what = "comparing and repairing" if event.writes else "comparing"
    there = other or (f"{table} in" if table else "")
    return f"{what}{there} {target} with{table and f'{table} in'} {source}, run {event.run_id}"


def _range_line(event: RangeKnown) -> str:
    if event.max_id < event.first_id:
        return f"no ids: the last one, {event.max_id}, is below the first, {event.first_id}"
    return f"ids from {event.first_id} to {event.max_id}"


def differences_line(event: DifferencesFound) -> str:
    """Return the ids that differ; a command tells them in its last lines, once."""
    kinds = (
        (event.missing, "missing in the target"),
        (event.surplus, "only in the target"),
        (event.differing, "differing"),
    )
    return "; ".join(f"{what}: {id_ranges(ids, count=len(ids))}" for ids, what in kinds if ids)


def _stop_line(event: StopRequested) -> str | None:
    """Return the line; none if the run ends at once, since its last lines say so."""
    if event.finishing is None:
        return None
    again = "; send it again to stop at once" if event.by else ""
    most = seconds_text(event.grace)
    return f"{event.by or 'asked to stop'}: finishing {event.finishing}, at most {most}{again}"


def _wait_line(event: Paused | Resumed | StopRequested) -> str | None:
    """Return the line as a wait begins, and as it ends; none of a rate, which is always kept."""
    if isinstance(event, StopRequested):
        return _stop_line(event)
    if event.reason == "max rate":
        return None
    if isinstance(event, Resumed):
        return f"resumed after {seconds_text(event.seconds)}"
    return None if event.seconds else f"paused: {redact(event.detail)}"


def _attempt_text(event: CallStarted | CallEnded | WorkerKilled | RetryScheduled) -> str:
    """Return what happened to the attempt: each reason is told once."""
    attempt = f"attempt {event.where.attempt}"
    match event:
        case CallStarted():
            return f"{attempt} began"
        case CallEnded(outcome=outcome, seconds=seconds):  # the retry, or the error, has the reason
            return f"{attempt} {_ENDS[outcome]} after {seconds_text(seconds)}"
        case RetryScheduled(delay=delay):
            reason = f": {redact(one_line(event.reason))}" if event.reason else ""
            return f"{attempt} timed out{reason}; retrying in {seconds_text(delay)}"
        case WorkerKilled():
            return _kill_text(event)


def _kill_text(event: WorkerKilled) -> str:
    who, fate = f"worker {event.pid}", "was killed"
    if event.pid is None:
        who, fate = "its worker", "had not been forked yet and was given up"
    elif event.abandoned:
        fate = "was sent SIGKILL"  # a warning says that it did not die
    return f"{who} {fate}{_stuck(event.hang)}"


def _stuck(hang: Hang | None) -> str:
    """Return where the driver hung, and what called that."""
    if hang is None:
        return ""
    more = " < …" if len(hang.frames) > _FRAMES else ""
    stuck = f", stuck in {' < '.join(hang.frames[:_FRAMES])}{more}" if hang.frames else ""
    channel = f", kernel: {hang.wait_channel}" if hang.wait_channel else ""
    return f"; it was {hang.state}{stuck}{channel}"


def saved_text(event: BatchSaved) -> str:
    """Return how many rows were saved, and what became of them if that is known."""
    counts = counts_text(event.inserted, event.updated, event.unchanged)
    return f"{counted(event.rows, 'row')} saved{f': {counts}' if counts else ''}"


def counts_text(inserted: int | None, updated: int | None, unchanged: int | None) -> str:
    """Return what became of rows; empty if the driver does not tell."""
    if inserted is None or updated is None or unchanged is None:
        return ""
    return f"{inserted:,} inserted, {updated:,} updated, {unchanged:,} unchanged"


def speed_text(rows: float, size: float | None = None) -> str:
    """Return the rows, and the megabytes if they are known, of one second."""
    return f"{rows:,.0f} rows/s" + ("" if size is None else f", {size / MB:,.1f} MB/s")


def counters_text(status: Status) -> str:
    """Return rows, speed, differences, kills and retries."""
    parts = [counted(status.rows, "row")]
    if status.rows_speed is not None:
        parts.append(speed_text(status.rows_speed, status.bytes_speed))
    if status.differences is not None:
        parts.append(counted(status.differences, "difference"))
    return ", ".join([*parts, counted(status.kills, "kill"), counted(status.retries, "retry")])


def share_text(status: Status) -> str:
    return "starting" if status.share is None else f"{status.share:.0%}"


def left_text(status: Status) -> str:
    """Return the time left; unknown if it is longer than any run may take."""
    left = status.seconds_left
    known = left is not None and left <= MAX_SECONDS
    return f"ETA {seconds_text(max(1.0, round(left))) if left is not None and known else '?'}"


def status_line(status: Status) -> str:
    """Return the plain line of every few seconds."""
    parts = [share_text(status), counters_text(status)]
    if status.shards is not None:
        parts += [str(status.shards), left_text(status)]
    elif status.share is not None:
        parts += [f"next id {status.next_id} of {status.max_id}", left_text(status)]
    return ", ".join([*parts, *status.waits])
