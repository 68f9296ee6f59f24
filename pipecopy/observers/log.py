"""A run's events in a log: a record each, with one set of fields; and as JSON, a line each."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from typing import Any, Literal

from pythonjsonlogger.json import JsonFormatter

from pipecopy.errors import PipecopyError
from pipecopy.events import (
    BatchSaved,
    CallEnded,
    CallStarted,
    DifferencesFound,
    DriverOutput,
    Event,
    RangeKnown,
    RangeVerified,
    RetryScheduled,
    RunEnded,
    RunStarted,
    ShardsKnown,
    ShardStarted,
    Where,
    WorkerKilled,
)
from pipecopy.observers.shards import Whole
from pipecopy.observers.summary import summary_lines
from pipecopy.observers.text import (
    ERROR,
    INFO,
    Status,
    differences_line,
    event_line,
    level_of,
    part_text,
)
from pipecopy.redact import redact
from pipecopy.report import Report
from pipecopy.sharded import ShardedReport


@dataclass(frozen=True)
class Field:
    """One field of a record, and of a line of JSON: each has all of them."""

    name: str
    kind: Literal["text", "integer", "number"]
    meaning: str
    always: bool = False
    """It is never null."""


FIELDS = (
    Field("time", "text", "when it happened: ISO 8601, in UTC", always=True),
    Field("level", "text", "`DEBUG`, `INFO`, `WARNING` or `ERROR`", always=True),
    Field("event", "text", "what happened: one of the names below", always=True),
    Field("message", "text", "the same in words, as in the lines for people", always=True),
    Field("run", "text", "the run's id, also in the report"),
    Field("table", "text", "the source's table"),
    Field("shard", "integer", "the number of the shard, if it is about one"),
    Field("host", "text", "on which that shard is copied"),
    Field("side", "text", "`source` or `target`"),
    Field("database", "text", "the name of that side's database"),
    Field("call", "text", "the database call, such as `load_rows`"),
    Field("first_id", "integer", "the first id of the range"),
    Field("end_id", "integer", "the id after the last one of the range"),
    Field("attempt", "integer", "which attempt of the call, or of the shard; 1 for the first"),
    Field("seconds", "number", "how long it took, or has waited; of a retry: until it begins"),
    Field("outcome", "text", "how the call, the shard or the run ended"),
    Field("rows", "integer", "rows of the batch, or of the shard or the run so far"),
    Field("bytes", "integer", "bytes of these rows"),
    Field("inserted", "integer", "of these rows: new in the target"),
    Field("updated", "integer", "of these rows: had other values in the target"),
    Field("unchanged", "integer", "of these rows: were in the target already"),
    Field("next_id", "integer", "every id of the run, or of the shard, below this one is done"),
    Field("shards", "integer", "of a sharded run: how many shards there are"),
    Field("shards_done", "integer", "how many of them are done"),
    Field("pid", "integer", "the worker process"),
    Field("stack", "text", "the Python stack in which a killed worker was stuck, innermost first"),
    Field("exit_code", "integer", "of the command"),
)
"""All of them, in their order: a field that does not apply to an event is null."""
_SAME = (
    *("seconds", "outcome", "pid", "rows", "bytes", "inserted", "updated", "unchanged"),
    *("attempt", "next_id"),
)
"""Fields that events have by the same name."""
_OF_A_REPORT = ("outcome", "seconds", "rows", "bytes", "inserted", "updated", "unchanged")


def event_name(kind: type[Any]) -> str:
    """Return the name of such an event: `retry_scheduled` of RetryScheduled."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


class LogObserver:
    """An observer that writes each event of a run as a record of a logger.

    What people should see is INFO; calls and batches are DEBUG; warnings, kills and
    retries are WARNING; a run that was not completed ends with ERROR.
    A record has the fields of `pipecopy.observers.log.FIELDS` as attributes.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._run: dict[str, Any] = {}
        self._whole = Whole()

    def __call__(self, event: Event) -> None:
        """Write the event; raises what the logger's handlers raise."""
        of_run = self._whole.has(event)
        if of_run and isinstance(event, RunStarted):
            self._run = {"run": event.run_id, "table": event.table}
        level = _level(event, of_run=of_run)
        if self._logger.isEnabledFor(level):
            name = event_name(type(event))
            fields = {**self._run, **_part_of(event), **_fields_of(event), "event": name}
            self._write(event.at, level, _message(event) or name.replace("_", " "), fields)

    def write_status(self, status: Status, line: str) -> None:
        """Write how far the run is, as the line says."""
        fields: dict[str, Any] = {"event": "progress", "rows": status.rows}
        if (shards := status.shards) is None:
            fields["next_id"] = status.next_id
        else:
            fields |= {"shards": shards.shards, "shards_done": shards.done}
        if self._logger.isEnabledFor(INFO):
            self._write(time.time(), INFO, line, self._run | fields)

    def _write(self, at: float, level: int, message: str, fields: dict[str, Any]) -> None:
        known = dict.fromkeys(field.name for field in FIELDS if not field.always)
        extra = {name: _redacted(value) for name, value in (known | fields).items()}
        record = self._logger.makeRecord(
            self._logger.name, level, "", 0, redact(message), (), None, extra=extra
        )
        record.created, record.msecs = at, at % 1 * 1000
        self._logger.handle(record)


def json_formatter() -> logging.Formatter:
    """Return what makes a line of JSON of a record."""
    return JsonFormatter(
        "%(levelname)s %(message)s",
        rename_fields={"levelname": "level"},
        defaults=dict.fromkeys(field.name for field in FIELDS),  # and so their order
        timestamp="time",
    )


def json_line(level: int, event: str, message: str, **fields: Any) -> str:
    """Return a line of what is no event of a run; without a lock, for any thread."""
    record = logging.LogRecord("pipecopy", level, "", 0, redact(message), (), None)
    vars(record).update(event=event, **fields)
    return json_formatter().format(record)


def fields_of_report(report: Report) -> dict[str, Any]:
    """Return what the last line of a run has."""
    found = {name: getattr(report, name, None) for name in (*_OF_A_REPORT, "next_id")}
    if isinstance(report, ShardedReport):
        found |= {"shards": report.shards, "shards_done": report.done}
        if report.max_id is None:  # of several tables
            found["next_id"] = None
    return {"run": report.run_id, "table": report.table, **found}


def fields_of_error(error: PipecopyError) -> dict[str, Any]:
    """Return which attempt it is about."""
    first, end = error.key_range or (None, None)
    return {
        "side": error.side,
        "database": error.dbname,
        "call": error.call,
        "first_id": first,
        "end_id": end,
        "attempt": error.attempts,
    }


def _level(event: Event, *, of_run: bool) -> int:
    if of_run and isinstance(event, RunEnded) and event.report.outcome != "complete":
        return ERROR
    return level_of(event, of_run=of_run)


def _part_of(event: Event) -> dict[str, Any]:
    """Return which part of a sharded run it is about, if it is about one."""
    table = {} if event.table is None else {"table": event.table}
    return {"shard": event.shard, "host": event.host, **table}


def _message(event: Event) -> str | None:
    match event:
        case DifferencesFound():
            return differences_line(event)
        case RunEnded(report=report):
            *_, last = summary_lines(report) or [""]
            outcome = "" if report.outcome == "complete" else f"{report.outcome}: "
            return f"{part_text(event, with_table=True)}{outcome}{last}"
    return event_line(event)


def _fields_of(event: Event) -> dict[str, Any]:
    match event:
        case CallStarted(where=where) | CallEnded(where=where) | WorkerKilled(where=where):
            found = _where(where)
        case RetryScheduled(where=where, delay=delay):
            return {**_where(where), "seconds": delay}
        case RangeKnown(first_id=first, max_id=last) | ShardStarted(first=first, last=last):
            found = {"first_id": first, "end_id": last + 1}
        case ShardsKnown(shards=shards):
            done = sum(shard.state == "done" for shard in shards)
            return {"shards": len(shards), "shards_done": done}
        case BatchSaved() | RangeVerified():
            first, end = event.key_range
            found = {"first_id": first, "end_id": end}
        case DriverOutput(side=side, dbname=dbname):
            found = {"side": side, "database": dbname}
        case RunEnded(report=report):
            return fields_of_report(report)
        case _:
            found = {}
    if isinstance(event, WorkerKilled):
        found["stack"] = event.hang.stack or None if event.hang else None
    return {**found, **{name: getattr(event, name) for name in _SAME if hasattr(event, name)}}


def _where(where: Where) -> dict[str, Any]:
    first, end = where.key_range or (None, None)
    return {
        "side": where.side,
        "database": where.dbname,
        "call": where.call,
        "first_id": first,
        "end_id": end,
        "attempt": where.attempt,
    }


def _redacted(value: Any) -> Any:
    return redact(value) if isinstance(value, str) else value
