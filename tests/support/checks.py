"""The same checks after every case of the fault matrix, whatever struck and where.

::

    with <the fault>:
        ended = run_copy(tables.pool(), limits)          # or: command_ended(process, limits)
    check(ended, tables, Expected(error=CallTimeoutError, side="target", call="save_rows"))

`check` sees that the copy ended in its time and as expected, that `next_id` is true, that nothing
is left behind, and that the two tables are equal: at once when the copy is complete, else after a
second run without the fault. The fault has to be lifted by then.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

from pipecopy import Config, ConnectionPool, CopyReport, Row, copy_table
from pipecopy.cli.codes import exit_code
from pipecopy.contracts import Side
from pipecopy.errors import PipecopyError
from pipecopy.events import CallEnded, CallStarted, Event
from pipecopy.postgres import PostgresPool
from tests.support.databases import TemporaryDatabase
from tests.support.leftovers import PATIENCE, left_of_copies
from tests.support.profiles import assert_equal_tables

LATE_CALL = 0.15
"""Seconds by which a call's limit, and the start of its next attempt, may be late."""
LATE_COPY = 0.25
"""Seconds by which the whole copy's limit may be overshot."""
SHORTEST_START = 5.0
"""Seconds that a worker gets to start if a call gets less, as the guide says."""

LIMITS = Config(
    batch_size=10,
    max_retries=1,
    retries_delay=0.1,
    call_timeout=0.5,
    full_copy_timeout=30,
    read_ahead=1,
)
_SIDES: tuple[Side, Side] = ("source", "target")
ROWS = 50
"""Rows of the tables: five batches of ten."""


Rows = frozenset[tuple[int, str]]
"""The ids of a table, each with its row's values or a digest of them."""


class Sides(Protocol):
    """Two tables that are copied: those of a server, or of files of SQLite."""

    def pool(self) -> ConnectionPool:
        """Return the way to both, without faults."""

    def rows(self, side: Side) -> Collection[Row]:
        """Return a side's rows: ids, and values or a digest of them."""

    def assert_equal(self) -> None:
        """See that both hold the same rows."""


@dataclass(frozen=True, kw_only=True)
class Tables:
    """A filled table on PROD and an empty one on STATS."""

    source: TemporaryDatabase
    target: TemporaryDatabase

    def pool(self, **connections: str) -> PostgresPool:
        """Return the way to `source` and `target`; `connections` replaces one's URI."""
        return PostgresPool({"source": self.source.uri, "target": self.target.uri, **connections})

    def rows(self, side: Side) -> Rows:
        return rows_of(self.source if side == "source" else self.target)

    def assert_equal(self) -> None:
        assert_equal_tables(self.source, self.target)


@dataclass(frozen=True)
class Seen:
    """An event, and when the observer saw it, by time.monotonic()."""

    at: float
    event: Event


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a copy ended, run by `copy_table` or by the command."""

    limits: Config
    report: CopyReport | None
    """None if nothing was begun."""
    error: str | None
    """The error's class; None if the copy is complete."""
    side: str | None = None
    call: str | None = None
    key_range: tuple[int, int] | None = None
    message: str = ""
    exit_code: int = 0
    seconds: float | None = None
    """From the call of `copy_table` to its end; None for a command, which starts up besides."""
    seen: tuple[Seen, ...] = ()
    exception: BaseException | None = None
    log: str = ""
    """The command's standard error."""

    def events(self, *kinds: type[Any]) -> list[Any]:
        """Return the events of these kinds."""
        return [seen.event for seen in self.seen if isinstance(seen.event, kinds)]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a user is to notice."""

    error: type[BaseException] | None = None
    """None: the copy is complete."""
    side: Side | None = None
    call: str | None = None
    """With an error: where it was; None: anywhere."""
    key_range: tuple[int, int] | None = None
    exit_code: int | None = None
    """None: the one that belongs to the error."""
    words: tuple[str, ...] = ()
    """What the message says besides side, call and range."""
    next_id: int | None = None
    """None: any that is true."""
    retries: int | None = None
    warnings: int | None = 0
    """How many warnings the report has; None: any number."""


def run_copy(
    pool: ConnectionPool,
    limits: Config = LIMITS,
    *,
    observer: Callable[[Any], object] | None = None,
    resume: bool = False,
    **changed: Any,
) -> Ended:
    """Copy from `source` to `target` in this process; `observer` is told what happens as well."""
    limits = replace(limits, **changed)
    seen: list[Seen] = []

    def observe(event: Event) -> None:
        seen.append(Seen(time.monotonic(), event))
        if observer is not None:
            observer(event)

    began = time.monotonic()
    try:
        report = copy_table(limits, pool, "source", "target", observer=observe, resume=resume)
    except PipecopyError as error:
        return Ended(
            limits=limits,
            seconds=time.monotonic() - began,
            report=error.report,
            error=type(error).__name__,
            side=error.side,
            call=error.call,
            key_range=error.key_range,
            message=str(error),
            exit_code=exit_code(error),
            seen=tuple(seen),
            exception=error,
        )
    seconds = time.monotonic() - began
    return Ended(limits=limits, seconds=seconds, report=report, error=None, seen=tuple(seen))


def options(limits: Config = LIMITS) -> list[str]:
    """Return the limits as the command's options, with the report as JSON."""
    values = {
        "--batch-size": limits.batch_size,
        "--max-retries": limits.max_retries,
        "--retries-delay": limits.retries_delay,
        "--call-timeout": limits.call_timeout,
        "--full-copy-timeout": limits.full_copy_timeout,
        "--read-ahead": limits.read_ahead,
        "--grace": limits.grace,
    }
    return ["--json", *(str(part) for item in values.items() for part in item)]


def command_ended(process: subprocess.Popen[str], limits: Config = LIMITS) -> Ended:
    """Wait for a command that was started with `options(limits)`, its streams being pipes."""
    out, log = process.communicate(timeout=limits.full_copy_timeout + 10)
    values: dict[str, Any] = json.loads(out)
    error: dict[str, Any] = values["error"] or {}
    report = None
    if values["run_id"] is not None:
        own = {field.name: values[field.name] for field in fields(CopyReport)}
        report = CopyReport(**{**own, "warnings": tuple(values["warnings"])})
    key_range = error.get("key_range")
    return Ended(
        limits=limits,
        report=report,
        error=error.get("class"),
        side=error.get("side"),
        call=error.get("call"),
        key_range=tuple(key_range) if key_range else None,
        message=error.get("message", ""),
        exit_code=process.returncode,
        log=log,
    )


# -- the checks


def check(ended: Ended, tables: Sides, expected: Expected) -> None:
    """See that all is as it should be after a fault that is lifted by now."""
    lifted = time.monotonic()
    check_outcome(ended, expected)
    check_times(ended)
    check_next_id(ended.report, tables)
    check_nothing_left(since=lifted)
    if ended.error is None:
        tables.assert_equal()
    else:
        check_second_run(tables)


def check_outcome(ended: Ended, expected: Expected) -> None:
    """See that the copy is complete, or failed with the right error, exit code and message."""
    name = None if expected.error is None else expected.error.__name__
    assert ended.error == name, ended.message
    if ended.report is not None:
        _check_report(ended.report, expected)
    if expected.error is not None:
        _check_error(ended, expected)
    else:
        assert ended.report is not None
        assert (ended.report.outcome, ended.exit_code) == ("complete", 0)


def _check_report(report: CopyReport, expected: Expected) -> None:
    if expected.warnings is not None:
        assert len(report.warnings) == expected.warnings, report.warnings
    if expected.retries is not None:
        assert report.retries == expected.retries
    if expected.next_id is not None:
        assert report.next_id == expected.next_id


def _check_error(ended: Ended, expected: Expected) -> None:
    assert ended.exit_code != 0
    for found, wanted in (
        (ended.exit_code, expected.exit_code),
        (ended.side, expected.side),
        (ended.call, expected.call),
        (ended.key_range, expected.key_range),
    ):
        assert wanted in {None, found}, ended.message
    words = [*expected.words, *(word for word in (ended.side, ended.call) if word)]
    if ended.key_range is not None:
        words.append(f"[{ended.key_range[0]}, {ended.key_range[1]})")
    for word in words:
        assert word in ended.message


def check_times(ended: Ended) -> None:
    """See that every call and the whole copy ended in their time, and retries began in theirs."""
    limits = ended.limits
    seconds = [ended.seconds, ended.report.seconds if ended.report else None]
    for taken in seconds:
        assert taken is None or taken <= limits.full_copy_timeout + LATE_COPY
    started: dict[str, tuple[Seen, CallStarted]] = {}
    timed_out: dict[str, float] = {}
    for seen in ended.seen:
        event = seen.event
        if isinstance(event, CallStarted):
            started[event.where.side] = (seen, event)
            before = timed_out.pop(event.where.side, None)
            if before is not None:
                _check_pause(seen.at - before, limits, event)
        elif isinstance(event, CallEnded):
            start = started.pop(event.where.side, None)
            limit = max(limits.call_timeout, SHORTEST_START)
            if start is not None:
                limit = start[1].limit
                assert seen.at - start[0].at <= limit + LATE_CALL, event
            assert event.seconds <= limit + LATE_CALL, event
            if event.outcome == "timed out" and start is not None:
                timed_out[event.where.side] = seen.at


def _check_pause(pause: float, limits: Config, event: CallStarted) -> None:
    if event.where.attempt == 1:
        return  # another call: what timed out was given up
    late = pause - limits.retries_delay
    # the observer may have seen the first of the two a moment late
    assert -0.02 <= late <= LATE_CALL, (late, event)


def check_next_id(report: CopyReport | None, tables: Sides) -> None:
    """See that every id below `next_id` is in the target, with equal values."""
    source, target = (frozenset((row[0], row[1]) for row in tables.rows(side)) for side in _SIDES)
    prove_next_id(report, source, target)


def rows_of(
    database: TemporaryDatabase, table: str = "profiles", columns: Sequence[str] = ("t",)
) -> Rows:
    """Return the rows that are in a table now, doubles once."""
    values = f"ROW({', '.join(columns)})::text"
    return frozenset(database.query(f"SELECT id, md5({values}) FROM {table} AS t"))


def prove_next_id(report: CopyReport | None, source: Rows, target: Rows) -> None:
    """See that every row of the source with an id below `next_id` is in the target."""
    next_id = 0 if report is None else report.next_id
    missing = sorted((id_, row) for id_, row in source - target if id_ < next_id)
    assert not missing, f"{len(missing)} not in the target, though below {next_id}: {missing[:5]}"


def check_nothing_left(*, since: float | None = None, patience: float = PATIENCE) -> None:
    """See that processes, server sessions, memory files and temporary files are gone in time."""
    deadline = (time.monotonic() if since is None else since) + patience
    while left := left_of_copies():
        if time.monotonic() > deadline:
            raise AssertionError("left behind:\n" + "\n".join(left))
        time.sleep(0.005)  # neither /proc nor pg_stat_activity sends events


def check_second_run(tables: Sides) -> None:
    """See that a run without the fault completes, and makes the two tables equal."""
    again = run_copy(tables.pool(), call_timeout=10)
    check_outcome(again, Expected())
    tables.assert_equal()
