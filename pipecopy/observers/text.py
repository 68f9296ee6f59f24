"""Events and reports as text: pure functions from values to lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipecopy.config import MAX_SECONDS
from pipecopy.events import (
    CallEnded,
    CallOutcome,
    DifferencesFound,
    DriverOutput,
    Event,
    Hang,
    Paused,
    RangeKnown,
    Resumed,
    RetryScheduled,
    RunStarted,
    StopRequested,
    TransactionsAwaited,
    Warned,
    WorkerKilled,
)
from pipecopy.finding import side_name
from pipecopy.redact import redact
from pipecopy.report import LISTED_IDS, CopyReport, Failed, Report, VerifyReport
from pipecopy.units import counted, duration_text, id_ranges

_MB = 1_000_000
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_STOPS = (".", ":", ";", ",", "?", "!")
"""After these a sentence that follows needs no other sign that it begins."""
_FRAMES = 4
"""How many frames of a stack are shown, innermost first."""
_TRANSACTIONS = 5
"""How many of the transactions that are waited for are named."""
_FAILED = 10
"""How many of the ids on which a side failed are written out with the reason."""


_ENDS: dict[CallOutcome, str] = {
    "returned": "returned",
    "raised": "failed",
    "crashed": "failed",
    "timed out": "timed out",
    "cut short": "was cut short",
}


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


def event_line(event: Event) -> str | None:
    """Return the line for an event, None for what the counters show."""
    line = None
    match event:
        case RunStarted(mode="copy" | "verify"):
            line = _start_line(event)
        case DifferencesFound():
            line = _differences_line(event)
        case RangeKnown():
            line = _range_line(event)
        case TransactionsAwaited() | Paused() | Resumed() | StopRequested():
            line = _wait_line(event)
        case WorkerKilled():
            line = _kill_line(event)
        case RetryScheduled(where=where, delay=delay):
            line = f"{redact(str(where))}: retrying in {duration_text(delay)}"
        case CallEnded():
            line = _end_line(event)
        case DriverOutput(side=side, dbname=dbname, text=text):
            line = redact(f"{side_name(side, dbname)}: driver output: {text.rstrip()}")
        case Warned(message=message):
            line = f"warning: {redact(one_line(message))}"
    return None if line is None else printable(line)


def _start_line(event: RunStarted) -> str:
    source, target = redact(event.source), redact(event.target)
    if event.mode == "copy":
        return f'copying from "{source}" to "{target}", run {event.run_id}'
    what = "verifying and repairing" if event.writes else "verifying"
    return f'{what} "{target}" against "{source}", run {event.run_id}'


def _range_line(event: RangeKnown) -> str:
    if event.max_id < event.first_id:
        return f"no ids: the last one, {event.max_id}, is below the first, {event.first_id}"
    return f"ids from {event.first_id} to {event.max_id}"


def _differences_line(event: DifferencesFound) -> str:
    kinds = (
        (event.missing, "missing in the target"),
        (event.surplus, "only in the target"),
        (event.differing, "differing"),
    )
    return "; ".join(f"{what}: {id_ranges(ids, count=len(ids))}" for ids, what in kinds if ids)


def _awaited_line(event: TransactionsAwaited) -> str | None:
    """Return the line as the wait begins, and as it ends because all transactions have ended."""
    if not event.open:
        return f"the open transactions of the source ended after {event.seconds:.1f}s"
    if event.seconds:
        return None  # fewer than before: the status shows it
    more = len(event.open) - _TRANSACTIONS
    named = "; ".join([*event.open[:_TRANSACTIONS], *([f"and {more} more"] if more > 0 else [])])
    return (
        f"waiting up to {duration_text(event.limit)} for"
        f" {counted(len(event.open), 'open transaction')} of the source: {redact(named)}"
    )


def _stop_line(event: StopRequested) -> str | None:
    """Return the line; none if the run ends at once, since its last lines say so."""
    if event.finishing is None:
        return None
    again = "; send it again to stop at once" if event.by else ""
    most = duration_text(event.grace)
    return f"{event.by or 'asked to stop'}: finishing {event.finishing}, at most {most}{again}"


def _wait_line(event: TransactionsAwaited | Paused | Resumed | StopRequested) -> str | None:
    """Return the line as a wait begins, and as it ends; none of a rate, which is always kept."""
    if isinstance(event, TransactionsAwaited):
        return _awaited_line(event)
    if isinstance(event, StopRequested):
        return _stop_line(event)
    if event.reason == "max rate":
        return None
    if isinstance(event, Resumed):
        return f"resumed after {event.seconds:.1f} s"
    return None if event.seconds else f"paused: {redact(event.detail)}"


def _kill_line(event: WorkerKilled) -> str:
    who, fate = f"worker {event.pid}", "was killed"
    if event.pid is None:
        who, fate = "its worker", "had not been forked yet and was given up"
    elif event.abandoned:
        fate = "is in uninterruptible sleep and was abandoned: it ends when that sleep does"
    return f"{redact(str(event.where))}: {who} {fate}{_stuck(event.hang)}"


def _stuck(hang: Hang | None) -> str:
    """Return where the driver hung, and what called that."""
    if hang is None or not hang.frames:
        return ""
    more = " < …" if len(hang.frames) > _FRAMES else ""
    return f"; it was stuck in {' < '.join(hang.frames[:_FRAMES])}{more}"


def _end_line(event: CallEnded) -> str | None:
    attempt = f"attempt {event.where.attempt} {_ENDS[event.outcome]} after {event.seconds:.1f}s"
    if event.outcome == "returned" and event.where.attempt == 1:
        return None  # all is well
    if event.outcome == "raised":
        return None  # it is told as the run's error, as a warning, or of the rows that it is about
    who = "its worker " if event.outcome == "crashed" else ""
    detail = f": {who}{redact(one_line(event.detail))}" if event.detail else ""
    return f"{redact(str(event.where))}: {attempt}{detail}"


def speed_text(rows: float, size: float | None = None) -> str:
    """Return the rows, and the megabytes if they are known, of one second."""
    return f"{rows:,.0f} rows/s" + ("" if size is None else f", {size / _MB:,.1f} MB/s")


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
    return f"ETA {duration_text(max(1.0, round(left))) if left is not None and known else '?'}"


def status_line(status: Status) -> str:
    """Return the plain line of every few seconds."""
    parts = [share_text(status), counters_text(status)]
    if status.share is not None:
        parts += [f"next id {status.next_id} of {status.max_id}", left_text(status)]
    return ", ".join([*parts, *status.waits])


def summary_lines(report: Report) -> list[str]:
    """Return the few lines that a copy or a verification ends with."""
    seconds = max(report.seconds, 0.001)
    took = duration_text(round(report.seconds, 1))
    counts = {
        "call": report.calls,
        "timeout": report.timeouts,
        "kill": report.kills,
        "retry": report.retries,
    }
    counters = ", ".join(counted(number, one) for one, number in counts.items())
    run = f"run {report.run_id}: {counters}"
    match report:
        case CopyReport(rows=rows, batches=batches, bytes=size, batch_size=adapted):
            last = "" if adapted is None else f" (adapted to {counted(adapted, 'row')})"
            done = f"{counted(rows, 'row')} in {counted(batches, 'batch')}{last}"
            done = f"{done}, {size / _MB:,.1f} MB"
            return [f"{done}, in {took}: {speed_text(rows / seconds, size / seconds)}", run]
        case VerifyReport(rows=rows, ranges=ranges):
            done = f"{counted(rows, 'row')} compared in {counted(ranges, 'range')}"
            verdict = [verdict_line(report)] if report.outcome == "complete" else []
            return [
                f"{done}, in {took}: {speed_text(rows / seconds)}",
                run,
                *_found(report),
                *verdict,
            ]
    return []


def _found(report: VerifyReport) -> Iterator[str]:
    """Yield a line for each kind of difference, and for each thing done about it."""
    if report.generated:
        yield f"also compared, as each side computes it: the generated {_names(report.generated)}"
    if report.not_compared and not report.equal:
        yield f"not compared: the generated {_names(report.not_compared)}"
    kinds = (
        (report.missing, report.missing_ids, "missing in the target"),
        (report.surplus, report.surplus_ids, "only in the target"),
        (report.differing, report.differing_ids, "differing"),
    )
    for count, ids, what in kinds:
        if count:
            listed = f": {id_ranges(ids, count=count)}" if ids else ""
            if count > len(ids) == LISTED_IDS:
                listed += f" (the report lists the first {LISTED_IDS:,})"
            yield f"{counted(count, 'id')} {what}{listed}"
    yield from _failed_lines("not comparable", report.not_comparable_ids)
    yield from _failed_lines("not repaired", report.not_repaired_ids)
    if report.differing_generated:
        yield f"{counted(report.differing_generated, 'id')} of these in generated columns only"
    if report.repaired:
        yield f"{counted(report.repaired, 'id')} repaired"
    if report.deleted:
        yield f"{counted(report.deleted, 'id')} removed from the target"


def verdict_line(report: VerifyReport) -> str:
    """Return the one line that matters, with what to do."""
    if report.equal:
        apart = f"; not compared: the generated {_names(report.not_compared)}"
        return f"the tables are equal{apart if report.not_compared else ''}"
    said = []
    if report.left:
        said.append(f"the tables differ in {counted(report.left, 'id')}")
    if report.not_comparable:
        said.append(f"{counted(report.not_comparable, 'id')} could not be compared")
    return f"{', and '.join(said)}: {'; '.join(_advice(report))}"


def _advice(report: VerifyReport) -> Iterator[str]:
    """Yield what to do that this run has not done already; to delete rows is never the first."""
    surplus = report.surplus - report.without_id - report.deleted
    stale = report.left - surplus - report.without_id - report.differing_generated
    if stale > 0 and not report.repair:
        yield (
            f"run again with --repair, which copies {counted(stale, 'row')} again (missing or"
            " differing) and deletes nothing"
        )
    elif stale > report.not_repaired:
        yield "run again when fewer rows are written, since these changed meanwhile"
    if report.not_repaired:
        yield (
            f"{counted(report.not_repaired, 'row')} could not be repaired, see the reason of each:"
            f" {redact(report.not_repaired_ids[0].reason)}"
        )
    if report.not_comparable:
        failed = report.not_comparable_ids[0]
        yield (
            "change the values that could not be compared, or leave their columns out (--exclude);"
            f" the first one: {failed.first_id}: {failed.side}: {redact(failed.reason)}"
        )
    if surplus > 0 and report.delete_surplus:
        yield "run again when fewer rows are written, since these changed meanwhile"
    elif surplus > 0:
        yield (
            f"{counted(surplus, 'row')} only in the target may be history that is kept there on"
            " purpose, deleted on the source, or of another source: --repair --delete-surplus"
            " deletes what is only in the target"
        )
    if report.differing_generated:
        yield (
            f"make the expressions of the generated {_names(report.generated)}, and the functions"
            " that they call, the same on both sides and let the target compute them again, since"
            " a copy can't set them; or compare only the other columns (--columns)"
        )
    if report.without_id:
        yield f"remove {counted(report.without_id, 'row')} with a NULL or negative id yourself"


def _failed_lines(what: str, listed: Sequence[Failed]) -> Iterator[str]:
    for each in listed[:_FAILED]:
        ids = str(each.first_id)
        if each.last_id > each.first_id:
            ids = f"{each.first_id}-{each.last_id}"
        yield redact(f"{what}: {ids}: {each.side}: {each.reason}")
    if more := len(listed[_FAILED:]):
        first = f" (the first {LISTED_IDS:,} of all)" if len(listed) == LISTED_IDS else ""
        yield f"{what}: {more:,} more, which --json lists{first}"


def _names(names: Sequence[str]) -> str:
    listed = ", ".join(f'"{name}"' for name in names)
    return f"{'column' if len(names) == 1 else 'columns'} {listed}"
