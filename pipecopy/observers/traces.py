"""Traces: the calls of a run as spans of OpenTelemetry.

::

    copy_table(…, observer=Traces())        # to the application's own TracerProvider

It needs the extra: pip install "pipecopy[traces]". Only OpenTelemetry's API is used here: where the
spans go is for the application to say. ::

    pipecopy copy
    ├── reader     connect │ get_max_id │ load_rows │ load_rows │ load_rows │ …
    └── writer     connect │                        │ save_rows │ save_rows │ …
"""

from __future__ import annotations

from collections.abc import Mapping

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
    StopRequested,
    Warned,
    Where,
    WorkerKilled,
)
from pipecopy.redact import redact
from pipecopy.report import Report

_LANES: Mapping[Side, str] = {"source": "reader", "target": "writer"}
_OF_REPORT = ("rows", "batches", "ranges", "bytes", "first_id", "max_id", "next_id")
_COUNTS = ("calls", "timeouts", "kills", "retries")
_FAILED = {"raised", "timed out", "crashed"}


class Traces:
    """An observer that makes a span of a run, and below it one of each attempt of a call.

    A retry is linked to the attempt that it follows; a kill is an event of its attempt, with the
    stack. The same object may observe several runs, one after the other.
    """

    def __init__(self, tracer: Tracer | None = None, parent: Context | None = None) -> None:
        """Take what makes the spans, the application's by default, and whose part they are.

        By default they belong to the span that is current now.
        """
        self._tracer = trace.get_tracer("pipecopy") if tracer is None else tracer
        self._parent = context.get_current() if parent is None else parent
        self._run: _RunSpans | None = None

    def __call__(self, event: Event) -> None:
        """Take note of the event."""
        if isinstance(event, RunStarted):
            self._run = _RunSpans(self._tracer, self._parent, event)
        elif self._run is not None:
            self._run.take(event)
            if isinstance(event, RunEnded | CommandEnded):
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
        self._lanes = {
            side: self._below(self._root, lane, event.at, {"thread.name": lane})
            for side, lane in _LANES.items()
        }
        self._calls: dict[Side, _CallSpan] = {}
        """The attempts that are under way."""
        self._retried: dict[Side, SpanContext] = {}
        """The attempts that timed out and whose calls will be retried."""
        self._saved: _CallSpan | None = None
        """The save that has just ended: how many rows it had, the next event tells."""
        self._pause: Span | None = None

    def _below(
        self,
        parent: Span,
        name: str,
        at: float,
        attributes: Mapping[str, str | int | float],
        links: list[Link] | None = None,
    ) -> Span:
        within = trace.set_span_in_context(parent, Context())
        return self._tracer.start_span(
            name, within, start_time=_ns(at), attributes=attributes, links=links
        )

    def take(self, event: Event) -> None:
        """Take an event into account."""
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
            case StopRequested(grace=grace, at=at):
                self._root.add_event("stop requested", {"pipecopy.grace_seconds": grace}, _ns(at))
            case Warned(message=message, at=at):
                self._root.add_event("warning", {"pipecopy.message": redact(message)}, _ns(at))
            case RunEnded(report=report, at=at):
                self._end(report, at)
            case CommandEnded(report=report, at=at, error=error, exit_code=code):
                self._root.set_attribute("pipecopy.exit_code", code)
                self._end(report, at, error)

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
            "thread.name": _LANES[side],
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
        span = self._below(self._lanes[side], where.call, at, attributes, links)
        self._calls[side] = _CallSpan(span, at)
        return span

    def _take_of_pause(self, event: Paused | Resumed) -> None:
        if self._pause is None and isinstance(event, Paused):
            attributes = {"pipecopy.reason": event.reason, "pipecopy.detail": redact(event.detail)}
            self._pause = self._below(self._lanes["source"], "pause", event.at, attributes)
        elif self._pause is not None and isinstance(event, Resumed):
            self._pause.end(_ns(event.at))
            self._pause = None

    def _end(self, report: Report | None, at: float, error: str | None = None) -> None:
        for call in self._calls.values():
            call.end()
        outcome = "failed" if report is None else report.outcome
        self._root.set_attribute("pipecopy.outcome", outcome)
        for name in (*_OF_REPORT, *_COUNTS):
            if (value := getattr(report, name, None)) is not None:
                self._root.set_attribute(f"pipecopy.{name}", value)
        if outcome != "complete":
            self._root.set_status(Status(StatusCode.ERROR, redact(error or outcome)))
        for span in (self._pause, *self._lanes.values(), self._root):
            if span is not None:
                span.end(_ns(at))


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


def _ns(at: float) -> int:
    return int(at * 1e9)
