"""What the screen says, as pure functions from values to text."""

from __future__ import annotations

import re

from pipecopy.cli.idranges import id_ranges
from pipecopy.cli.progress import Progress, UnderWay
from pipecopy.config import MAX_SECONDS
from pipecopy.events import (
    CallEnded,
    DifferencesFound,
    DriverOutput,
    Event,
    Hang,
    RangeKnown,
    RetryScheduled,
    RunStarted,
    TransactionsAwaited,
    Warned,
    Where,
    WorkerKilled,
)
from pipecopy.redact import redact
from pipecopy.report import CopyReport, Report
from pipecopy.units import duration_text

SLOW = 1.0
"""Seconds after which a call is worth showing as under way."""
_MB = 1_000_000
_FRAMES = 4
"""How many frames of a stack are shown, from the innermost on."""
_TRANSACTIONS = 5
"""How many of those that are waited for are named."""


def counted(number: int, one: str) -> str:
    """Return `1 kill`, `2 kills`; `retry` becomes `retries`, `batch` `batches`."""
    many = re.sub("y$", "ie", re.sub("ch$", "che", one)) + "s"
    return f"{number:,} {one if number == 1 else many}"


def one_line(text: str) -> str:
    """Return the text without line breaks, which libpq's messages have."""
    return " ".join(text.split())


def where_text(where: Where) -> str:
    """Return the side, the database, the call and its ids: what an operator looks for."""
    rows = "" if where.rows is None else f" of up to {where.rows} rows of"
    ids = "" if where.key_range is None else f" [{where.key_range[0]}, {where.key_range[1]})"
    return f'{where.side} "{redact(where.dbname)}", {where.call}{rows}{ids}'


def event_line(event: Event) -> str | None:
    """Return the line that tells of the event, None for what the counters show."""
    line = None
    match event:
        case RunStarted(mode="copy" | "verify"):
            line = _start_line(event)
        case DifferencesFound():
            line = _differences_line(event)
        case RangeKnown(first_id=first_id, max_id=max_id):
            line = _range_line(first_id, max_id)
        case TransactionsAwaited():
            line = _awaited_line(event)
        case WorkerKilled():
            line = _kill_line(event)
        case RetryScheduled(where=where, delay=delay):
            line = f"{where_text(where)}: tried again in {duration_text(delay)}"
        case CallEnded():
            line = _end_line(event)
        case DriverOutput(side=side, dbname=dbname, text=text):
            line = f'{side} "{redact(dbname)}", its driver says: {redact(text.rstrip())}'
        case Warned(message=message):
            line = f"warning: {redact(message)}"
    return line


def _start_line(event: RunStarted) -> str:
    source, target = redact(event.source), redact(event.target)
    if event.mode == "copy":
        return f'copying from "{source}" to "{target}", run {event.run_id}'
    what = "verifying and repairing" if event.writes else "verifying"
    return f'{what} "{target}" by "{source}", run {event.run_id}'


def _differences_line(event: DifferencesFound) -> str:
    kinds = (
        (event.missing, "missing in the target"),
        (event.surplus, "in the target alone"),
        (event.differing, "differing"),
    )
    return "; ".join(f"{what}: {id_ranges(ids, count=len(ids))}" for ids, what in kinds if ids)


def _range_line(first_id: int, max_id: int) -> str:
    if max_id < first_id:
        return f"no ids from {first_id} on: the last one is {max_id}"
    return f"ids from {first_id} to {max_id}"


def _awaited_line(event: TransactionsAwaited) -> str | None:
    """Return the line as the wait begins, and as it ends because nobody is left."""
    if not event.open:
        return f"the transactions of the source have ended, after {event.seconds:.1f}s"
    if event.seconds:
        return None  # fewer than before: the status shows it
    more = len(event.open) - _TRANSACTIONS
    named = "; ".join([*event.open[:_TRANSACTIONS], *([f"and {more} more"] if more > 0 else [])])
    return (
        f"waiting up to {duration_text(event.limit)} for"
        f" {counted(len(event.open), 'transaction')} of the source: {redact(named)}"
    )


def _kill_line(event: WorkerKilled) -> str:
    fate = "was killed"
    if event.abandoned:
        fate = "is in uninterruptible sleep, and was given up: it will end when that does"
    return f"{where_text(event.where)}: worker {event.pid} {fate}{_stuck(event.hang)}"


def _stuck(hang: Hang | None) -> str:
    """Return where the driver hung, and what called that."""
    if hang is None or not hang.frames:
        return ""
    more = " < …" if len(hang.frames) > _FRAMES else ""
    return f"; it was stuck in {' < '.join(hang.frames[:_FRAMES])}{more}"


def _end_line(event: CallEnded) -> str | None:
    attempt = f"attempt {event.where.attempt} {event.outcome}"
    if event.outcome == "returned" and event.where.attempt == 1:
        return None  # all is well
    said = f": {redact(one_line(event.detail))}" if event.detail else ""
    return f"{where_text(event.where)}: {attempt}, after {event.seconds:.1f}s{said}"


def speed_text(rows: float, size: float) -> str:
    """Return the rows and the megabytes in a second."""
    return f"{rows_speed_text(rows)}, {size / _MB:,.1f} MB/s"


def rows_speed_text(rows: float) -> str:
    """Return the rows in a second."""
    return f"{rows:,.0f} rows/s"


def counters_text(progress: Progress, now: float) -> str:
    """Return rows, speed, differences, kills and retries."""
    parts = [counted(progress.rows, "row")]
    if progress.marks:
        speed = progress.speed(now)
        verifies = progress.differences is not None
        parts.append(
            rows_speed_text(speed.rows) if verifies else speed_text(speed.rows, speed.bytes)
        )
    if progress.differences is not None:
        parts.append(counted(progress.differences, "difference"))
    parts += [counted(progress.kills, "kill"), counted(progress.retries, "retry")]
    return ", ".join(parts)


def left_text(progress: Progress, now: float) -> str:
    """Return the time left, as the bar shows it."""
    left = progress.seconds_left(now)
    if left is None or left > MAX_SECONDS:  # no copy may take longer
        return "ETA ?"
    return f"ETA {duration_text(max(1.0, round(left)))}"


def waiting_lines(progress: Progress, now: float) -> list[str]:
    """Return a line for each call that has been under way for long, and for what else it waits."""
    calls = (progress.source_call, progress.target_call)
    lines = [_waiting(call, now) for call in calls if call and now - call.since >= SLOW]
    if progress.awaited is not None:
        lines.append(
            f"waiting for {counted(len(progress.awaited.open), 'transaction')} of the source:"
            f" {now - progress.awaited_since:.0f}s of {duration_text(progress.awaited.limit)}"
        )
    return lines


def _waiting(call: UnderWay, now: float) -> str:
    return (
        f"{where_text(call.where)}: under way for {now - call.since:.0f}s"
        f" of {duration_text(call.limit)}"
    )


def status_line(progress: Progress, now: float) -> str:
    """Return the plain line of every few seconds."""
    share = progress.share
    done = "starting" if share is None else f"{share:.0%}"
    parts = [done, counters_text(progress, now)]
    if share is not None:
        parts += [f"next id {progress.next_id} of {progress.max_id}", left_text(progress, now)]
    return ", ".join([*parts, *waiting_lines(progress, now)])


def summary_lines(report: CopyReport) -> list[str]:
    """Return the few lines that a copy ends with."""
    rows = f"{counted(report.rows, 'row')} in {counted(report.batches, 'batch')}"
    took = f"{report.bytes / _MB:,.1f} MB, in {duration_text(round(report.seconds, 1))}"
    seconds = max(report.seconds, 0.001)
    return [
        f"{rows}, {took}: {speed_text(report.rows / seconds, report.bytes / seconds)}",
        counters_line(report),
    ]


def counters_line(report: Report) -> str:
    """Return the run's name, and how often it called."""
    counts = {
        "call": report.calls,
        "timeout": report.timeouts,
        "kill": report.kills,
        "retry": report.retries,
    }
    counters = ", ".join(counted(number, one) for one, number in counts.items())
    return f"run {report.run_id}: {counters}"


def far_line(report: CopyReport) -> str:
    """Return how far a copy came that did not end well."""
    if report.max_id is None:
        return "nothing was copied"
    begin = f" from {report.first_id} on and" if report.first_id else ""
    return (
        f"every id{begin} below {report.next_id} (of {report.max_id}) is in the target:"
        f" {counted(report.rows, 'row')} in {report.seconds:,.1f}s"
    )
