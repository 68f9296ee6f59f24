"""OtlpTraces: the spans of a command go to a collector by OTLP, as the OTEL_… variables say."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pipecopy.errors import ConfigError, HostError
from pipecopy.events import CommandEnded, Event, RunEnded
from pipecopy.observers.traces import Traces
from pipecopy.redact import redact
from pipecopy.workers.host import causes, start

_FLUSH = 1.0
"""Seconds, after the run, for the spans that are left: less than a command gives its observers."""
_HTTP = "http/protobuf"


class OtlpTraces:
    """The observer of a command: it ends the run's span when it knows how the command ends.

    Raises ConfigError for OTEL_… variables that are not valid; called with the last event,
    HostError if spans did not reach the collector.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """Set up the way to the collector; `environ` may have a TRACEPARENT."""
        self._endpoint = _of(environ, "ENDPOINT") or "http://localhost:4318"
        protocol = _of(environ, "PROTOCOL") or _HTTP
        if protocol != _HTTP:
            raise ConfigError(
                f"--traces sends by {_HTTP} only; set OTEL_EXPORTER_OTLP_PROTOCOL={_HTTP}"
            )
        self._log = _Log()
        try:
            self._exporter = _Exporter()
            self._processor = _Processor(self._exporter)
            provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        except Exception as error:  # OpenTelemetry raises what it likes
            message = f"--traces: an OTEL_… variable is not valid: {error}"
            raise ConfigError(redact(message)) from error
        provider.add_span_processor(self._processor)
        carrier = {name: environ.get(name.upper(), "") for name in ("traceparent", "tracestate")}
        parent = TraceContextTextMapPropagator().extract(carrier)
        self._traces = Traces(provider.get_tracer("pipecopy"), parent)

    def __call__(self, event: Event) -> None:
        """Take note of the event."""
        if isinstance(event, RunEnded):  # that of a shard says nothing that its end does not
            return  # CommandEnded says more
        self._traces(event)
        if isinstance(event, CommandEnded):
            flush = threading.Thread(target=self._processor.flush_and_end, daemon=True)
            start(flush)
            flush.join(_FLUSH)  # the limits of OpenTelemetry are longer, and not all are kept
            made, sent = self._processor.made, self._exporter.sent
            if sent < made:
                where, why = redact(self._endpoint), self._log.first or "no answer in time"
                raise HostError(f"{made - sent} of {made} spans did not reach {where}: {why}")


def _of(environ: Mapping[str, str], name: str) -> str:
    prefix = "OTEL_EXPORTER_OTLP"
    return environ.get(f"{prefix}_TRACES_{name}") or environ.get(f"{prefix}_{name}") or ""


def _resource() -> Resource:
    """Return what the variables say of this process, by the name pipecopy if they have none."""
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        return resource.merge(Resource({SERVICE_NAME: "pipecopy"}))
    return resource


class _Processor(BatchSpanProcessor):
    """Counts the spans that were made."""

    made = 0

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is not None and span.context.trace_flags.sampled:
            self.made += 1
        super().on_end(span)

    def flush_and_end(self) -> None:
        super().shutdown()  # type: ignore[no-untyped-call] # the SDK has no types here


class _Exporter(SpanExporter):
    """Counts the spans that were sent."""

    def __init__(self) -> None:
        self._exporter = OTLPSpanExporter()
        self.sent = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.sent += len(spans)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call] # as above


class _Log(logging.Handler):
    """Keeps OpenTelemetry's own log off the screen, and the reason in its first line."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.first = ""
        logger = logging.getLogger("opentelemetry")
        logger.addHandler(self)
        logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        self.first = self.first or redact(_reason(record))


def _reason(record: logging.LogRecord) -> str:
    """Return why spans were not sent: the first cause of an exception that the record names."""
    named = record.args if isinstance(record.args, tuple) else ()
    for value in (*named, *(record.exc_info or ())):
        if isinstance(value, BaseException):
            *_, first = causes(value)
            return getattr(first, "strerror", None) or str(first)
    return record.getMessage()
