"""Traces: the calls of a run as spans of OpenTelemetry.

::

    copy_table(…, observer=Traces())        # to the application's own TracerProvider

It needs the extra: pip install "pipecopy[traces]". Only OpenTelemetry's API is used here: where the
spans go is for the application to say. ::

    pipecopy copy
    ├── reader     connect │ get_max_id │ load_rows │ load_rows │ load_rows │ …
    └── writer     connect │                        │ save_rows │ save_rows │ …

The two lanes of a shard, or of a step on one table of a sharded run, are below a span of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, Status, StatusCode, Tracer

from pipecopy.contracts import Side
from pipecopy.events import (
    BatchSaved,
    CallEnded,
    CallStarted,
    CommandEnded,
    Event,
    Paused,
    Resumed,
    RetryScheduled,
    RunEnded,
    RunStarted,
    ShardEnded,
    StopRequested,
    Warned,
    Where,
    WorkerKilled,
)
from pipecopy.observers.shards import Whole
from pipecopy.redact import redact
from pipecopy.report import Report

_LANES: Mapping[Side, str] = {"source": "reader", "target": "writer"}
_OF_REPORT = ("rows", "batches", "ranges", "bytes", "first_id", "max_id", "next_id")
_COUNTS = ("calls", "timeouts", "kills", "retries")
_FAILED = {"raised", "timed out", "crashed"}
_OPENS = (CallStarted, CallEnded, WorkerKilled, RetryScheduled, Paused)
"""What is a span, or a part of one."""
_Part: TypeAlias = tuple[int | None, str | None, str | None]
"""Which shard on which host, or which table."""


class Traces:
    """An observer that makes a span of a run, and below it one of each attempt of a call.

    The calls of a shard are below a span of that shard. A retry is linked to the attempt that it
    follows; a kill is an event of its attempt, with the stack. The same object may observe several
    runs, one after the other.
    """

    def __init__(self, tracer: Tracer | None = None, parent: Context | None = None) -> None:
        """Take what makes the spans, the application's by default, and whose part they are.

        By default they belong to the span that is current now.
        """
        self._tracer = trace.get_tracer("pipecopy") if tracer is None else tracer
        self._parent = context.get_current() if parent is None else parent
        self._whole = Whole()
        self._run: _RunSpans | None = None

    def __call__(self, event: Event) -> None:
        """Take note of the event."""
        of_run = self._whole.has(event)
        if of_run and isinstance(event, RunStarted):
            self._run = _RunSpans(self._tracer, self._parent, event)
        elif self._run is not None:
            self._run.take(event, of_run=of_run)
            if of_run and isinstance(event, RunEnded | CommandEnded):
                self._run = None


class _RunSpans:
    """The spans of one run that are open."""

    def __init__(self, tracer: Tracer, parent: Context, event: RunStarted) -> None:
        self._tracer = tracer
        names = {"source": event.source, "target": event.target, "table": event.table or ""}
        shown = {f"pipecopy.{name}": redact(value) for name, value in names.items()}
        self._root = tracer.start_span(
            f"pipecopy {event.mode}",
            parent,
            start_time=_ns(event.at),
            attributes={"pipecopy.run_id": event.run_id, **shown},
        )
        self._own = _Lanes(tracer, self._root, event.at)
        self._parts: dict[_Part, _Lanes] = {}
        """Of the shards that are under way on each host, and of the steps on each table."""

    def take(self, event: Event, *, of_run: bool) -> None:
        """Take an event into account."""
        if isinstance(event, ShardEnded):
            self._end_shard(event)
            return
        lanes = self._lanes_of(event, of_run=of_run)
        if lanes is not None:
            lanes.take(event)
        if not of_run:
            return
        match event:
            case StopRequested(grace=grace, at=at):
                self._root.add_event("stop requested", {"pipecopy.grace_seconds": grace}, _ns(at))
            case Warned(message=message, at=at):
                self._root.add_event("warning", {"pipecopy.message": redact(message)}, _ns(at))
            case RunEnded(report=report, at=at):
                self._end(report, at)
            case CommandEnded(report=report, at=at, error=error, exit_code=code):
                self._root.set_attribute("pipecopy.exit_code", code)
                self._end(report, at, error)

    def _lanes_of(self, event: Event, *, of_run: bool) -> _Lanes | None:
        """Return those of the shard, of the step on a table, or of the run itself.

        None if the event opens none: its shard has ended, or has not begun.
        """
        if event.shard is None and event.table is None:
            return self._own
        if of_run and event.shard is not None:  # one by hand
            return self._own
        part = (event.shard, event.host, event.table)
        if part not in self._parts and isinstance(event, _OPENS):
            self._parts[part] = _Lanes.of_part(self._tracer, self._root, event)
        return self._parts.get(part)

    def _end_shard(self, event: ShardEnded) -> None:
        """End its spans: on all hosts, if the one on which it was lost is not known."""
        known = [
            part for part in self._parts if part[0] == event.shard and event.host in {None, part[1]}
        ]
        for part in known:
            self._parts.pop(part).end(event.at, event)

    def _end(self, report: Report | None, at: float, error: str | None = None) -> None:
        for lanes in (*self._parts.values(), self._own):
            lanes.end(at)
        self._parts.clear()
        outcome = "failed" if report is None else report.outcome
        self._root.set_attribute("pipecopy.outcome", outcome)
        for name in (*_OF_REPORT, *_COUNTS):
            if (value := getattr(report, name, None)) is not None:
                self._root.set_attribute(f"pipecopy.{name}", value)
        if outcome != "complete":
            self._root.set_status(Status(StatusCode.ERROR, redact(error or outcome)))
        self._root.end(_ns(at))


def _below(
    tracer: Tracer,
    parent: Span,
    name: str,
    at: float,
    attributes: Mapping[str, str | int | float],
    *,
    links: list[Link] | None = None,
) -> Span:
    within = trace.set_span_in_context(parent, Context())
    return tracer.start_span(name, within, start_time=_ns(at), attributes=attributes, links=links)


class _Lanes:
    """The reader and the writer of the run itself, or of one part of it, with their calls."""

    def __init__(
        self,
        tracer: Tracer,
        parent: Span,
        at: float,
        part: Span | None = None,
        more: Mapping[str, str | int] | None = None,
    ) -> None:
        """Take whose they are, and `more` attributes that all of their spans have.

        `part` ends with them.
        """
        self._tracer = tracer
        self._part = part
        self._more = more or {}
        self._thread = "" if part is None else f"{_name_of(self._more)} "
        self._lanes = {
            side: _below(
                tracer, parent, lane, at, {"thread.name": f"{self._thread}{lane}", **self._more}
            )
            for side, lane in _LANES.items()
        }
        self._calls: dict[Side, _CallSpan] = {}
        """The attempts that are under way."""
        self._retried: dict[Side, SpanContext] = {}
        """The attempts that timed out and whose calls will be retried."""
        self._saved: _CallSpan | None = None
        """The save that has just ended: how many rows it had, the next event tells."""
        self._pause: Span | None = None

    @classmethod
    def of_part(cls, tracer: Tracer, root: Span, event: Event) -> _Lanes:
        """Return those of the shard, or of the step on a table, that the event is the first of."""
        told = {"shard": event.shard, "host": event.host, "table": event.table}
        more = {
            f"pipecopy.{name}": redact(value) if isinstance(value, str) else value
            for name, value in told.items()
            if value is not None
        }
        part = _below(tracer, root, _name_of(more), event.at, more)
        return cls(tracer, part, event.at, part, more)

    def take(self, event: Event) -> None:
        """Take an event of a call, of a batch or of a pause into account."""
        if self._saved is not None:
            if isinstance(event, BatchSaved):
                self._saved.span.set_attribute("pipecopy.rows", event.rows)
                self._saved.span.set_attribute("pipecopy.bytes", event.bytes)
            self._saved.end()
            self._saved = None
        match event:
            case CallStarted() | CallEnded() | WorkerKilled() | RetryScheduled():
                self._take_of_call(event)
            case Paused() | Resumed():
                self._take_of_pause(event)

    def end(self, at: float, ended: ShardEnded | None = None) -> None:
        """End all spans; `ended` tells how the shard did, if they are of one."""
        for call in (*self._calls.values(), self._saved):
            if call is not None:
                call.end()
        if self._part is not None and ended is not None:
            self._part.set_attribute("pipecopy.outcome", ended.outcome)
            self._part.set_attribute("pipecopy.rows", ended.rows)
            self._part.set_attribute("pipecopy.attempt", ended.attempt)
            if ended.outcome in {"lost", "failed"}:
                self._part.set_status(Status(StatusCode.ERROR, redact(ended.detail)))
        for span in (self._pause, *self._lanes.values(), self._part):
            if span is not None:
                span.end(_ns(at))

    def _take_of_call(self, event: CallStarted | CallEnded | WorkerKilled | RetryScheduled) -> None:
        side = event.where.side
        if isinstance(event, RetryScheduled):
            return  # the next attempt is linked to this one
        if isinstance(event, CallStarted):
            self._open(event.where, event.at).set_attribute("pipecopy.limit_seconds", event.limit)
            return
        if side not in self._calls:  # its worker did not come to start
            self._open(event.where, event.at - event.seconds)
        call = self._calls[side]
        if isinstance(event, WorkerKilled):
            call.kill(event)
            return
        call.note_end(event)
        del self._calls[side]
        if event.outcome == "timed out":
            self._retried[side] = call.span.get_span_context()
        if event.outcome == "returned" and side == "target":
            self._saved = call
        else:
            call.end()

    def _open(self, where: Where, at: float) -> Span:
        side = where.side
        attributes: dict[str, str | int | float] = {
            "pipecopy.side": side,
            "pipecopy.database": redact(where.dbname),
            "pipecopy.call": where.call,
            "pipecopy.attempt": where.attempt,
            "thread.name": f"{self._thread}{_LANES[side]}",
            **self._more,
        }
        if where.key_range is not None:
            first_id, past_last = where.key_range
            attributes |= {"pipecopy.first_id": first_id, "pipecopy.last_id": past_last - 1}
        if where.rows is not None:
            attributes["pipecopy.most_rows"] = where.rows
        before = self._retried.pop(side, None)
        links = [Link(before)] if before is not None and where.attempt > 1 else None
        if lost := self._calls.pop(side, None):  # its last event was dropped
            lost.end()
        span = _below(self._tracer, self._lanes[side], where.call, at, attributes, links=links)
        self._calls[side] = _CallSpan(span, at)
        return span

    def _take_of_pause(self, event: Paused | Resumed) -> None:
        if self._pause is None and isinstance(event, Paused):
            attributes = {"pipecopy.reason": event.reason, "pipecopy.detail": redact(event.detail)}
            self._pause = _below(self._tracer, self._lanes["source"], "pause", event.at, attributes)
        elif self._pause is not None and isinstance(event, Resumed):
            self._pause.end(_ns(event.at))
            self._pause = None


class _CallSpan:
    """An attempt of a call that is under way, or has just ended."""

    def __init__(self, span: Span, at: float) -> None:
        self.span = span
        self._began = self._ended = at

    def kill(self, event: WorkerKilled) -> None:
        """Note that its worker was killed, and where it was stuck."""
        attributes: dict[str, str | int | bool] = {"pipecopy.abandoned": event.abandoned}
        if event.pid is not None:
            attributes["process.pid"] = event.pid
        if event.hang is not None:
            attributes |= {
                "pipecopy.state": event.hang.state,
                "pipecopy.wait_channel": event.hang.wait_channel,
                "code.stacktrace": event.hang.stack,
            }
        self._ended = event.at
        self.span.add_event("worker killed", attributes, _ns(event.at))

    def note_end(self, event: CallEnded) -> None:
        """Note how it ended."""
        self._ended = event.at
        self.span.set_attribute("pipecopy.outcome", event.outcome)
        if event.outcome in _FAILED:
            self.span.set_status(Status(StatusCode.ERROR, redact(event.detail)))

    def end(self) -> None:
        """End the span when the attempt ended; never before it began: the clock may be set."""
        self.span.end(_ns(max(self._began, self._ended)))


def _name_of(more: Mapping[str, str | int]) -> str:
    shard = more.get("pipecopy.shard")
    return f"table {more.get('pipecopy.table')}" if shard is None else f"shard {shard}"


def _ns(at: float) -> int:
    return int(at * 1e9)
