"""The spans of a run: from the library to the application's, from the command to a collector."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from pipecopy.cli.options import Output
from pipecopy.errors import ConfigError, DatabaseError
from pipecopy.events import (
    CallEnded,
    CallStarted,
    Event,
    Paused,
    Resumed,
    RunEnded,
    RunStarted,
    Warned,
)
from pipecopy.observers.otlp import OtlpTraces
from pipecopy.observers.traces import Traces
from pipecopy.report import CopyReport
from tests.observers import test_shards
from tests.observers.test_shards import LOAD, LOST, ended, of
from tests.support.command import run_stubbed, unstamped
from tests.support.copying import copying
from tests.support.drivers import RecordingPool
from tests.support.runs import CONFIG, copy
from tests.support.strikes import Strike

STUCK = Strike(side="target", call="save_rows", fault="deadlock", skip=2, times=1)
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def spans_of(pool: RecordingPool, **limits: Any) -> list[ReadableSpan]:
    """Copy, and return the spans in the order of their starts."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("nightly"):
        observer = Traces(tracer)
    with suppress(DatabaseError):
        assert not copy(pool, observer=observer, **limits).warnings
    return sorted(exporter.get_finished_spans(), key=lambda span: span.start_time or 0)


def attributes(span: ReadableSpan, *names: str) -> tuple[Any, ...]:
    found = span.attributes or {}
    return tuple(found.get(f"pipecopy.{name}") for name in names)


def test_a_run_with_a_kill(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create(range(1, 51))
    spans = spans_of(sqlite_pool.faulty(STUCK), call_timeout=0.5, max_retries=1)
    (outer,) = (span for span in spans if span.name == "nightly")
    (root,) = (span for span in spans if span.name == "pipecopy copy")
    assert root.parent == outer.context
    assert attributes(root, "outcome", "rows", "kills", "next_id") == ("complete", 50, 1, 51)
    lanes = {span.name: span for span in spans if span.parent == root.context}
    assert lanes.keys() == {"reader", "writer"}
    for lane, side in (("reader", "source"), ("writer", "target")):
        calls = [span for span in spans if span.parent == lanes[lane].context]
        assert {attributes(call, "side") for call in calls} == {(side,)}
        assert (calls[0].name, calls[-1].name) == ("connect", "close")
        for before, after in pairwise(calls):
            assert (before.end_time or 0) <= (after.start_time or 0)
        for call in calls:
            assert (root.start_time or 0) <= (call.start_time or 0)
            assert (call.end_time or 0) <= (root.end_time or 0)
    saves = [span for span in spans if span.name == "save_rows"]
    killed, retried = saves[2:4]
    ids = ("first_id", "last_id", "attempt", "outcome", "rows")
    assert attributes(saves[1], *ids) == (10, 19, 1, "returned", 10)
    assert attributes(killed, *ids) == (20, 29, 1, "timed out", None)
    assert attributes(retried, *ids) == (20, 29, 2, "returned", 10)
    assert killed.status.status_code is StatusCode.ERROR
    (kill,) = killed.events
    assert kill.name == "worker killed"
    assert "in _deadlock" in str((kill.attributes or {})["code.stacktrace"])
    assert [link.context for link in retried.links] == [killed.context]
    assert ((killed.end_time or 0) - (killed.start_time or 0)) / 1e9 == pytest.approx(0.5, abs=0.2)


def test_a_run_that_fails(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create(range(1, 51))
    spans = spans_of(
        sqlite_pool.faulty(Strike(side="source", call="load_rows", fault="ValueError"))
    )
    (root,) = (span for span in spans if span.name == "pipecopy copy")
    (load,) = (span for span in spans if span.name == "load_rows")
    assert attributes(root, "outcome", "rows") == ("failed", 0)
    for span, said in ((root, "failed"), (load, "ValueError: broken on purpose")):
        assert span.status.status_code is StatusCode.ERROR
        assert said in (span.status.description or "")


def test_a_pause_is_a_span_of_the_reader_and_no_span_has_a_password() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    run_id, source, target = "0123456789ab", "postgresql://me:s3cret@prod/app", "stats"
    report = CopyReport(run_id=run_id, source=source, target=target)
    started = RunStarted(
        run_id=run_id, source=source, target=target, config=CONFIG, mode="copy", at=1
    )
    traces = Traces(provider.get_tracer("test"))
    traces(started)
    traces(Paused(reason="max lag", detail="a standby lags 12 s", at=2))
    traces(Paused(reason="max lag", detail="a standby lags 11 s", at=3))
    traces(Resumed(reason="max lag", seconds=3, at=5))
    traces(Warned(message=f"the session of {source} was lost", at=5))
    traces(RunEnded(report=report, at=6))
    pause, reader, *_, root = exporter.get_finished_spans()
    assert (pause.name, pause.start_time, pause.end_time) == ("pause", 2 * 10**9, 5 * 10**9)
    assert pause.parent == reader.context
    assert attributes(pause, "reason") == ("max lag",)
    assert attributes(root, "source") == ("postgresql://me:***@prod/app",)
    (warning,) = root.events
    assert "s3cret" not in str(warning.attributes)


def test_the_spans_of_shards_are_below_theirs_whatever_comes_between() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traces = Traces(provider.get_tracer("test"))
    names: dict[str, Any] = {"run_id": "0123456789ab", "source": "prod", "target": "stats"}
    started = RunStarted(at=1, **names, config=CONFIG, mode="copy", table="a.b")
    one, two = of(1), of(1, "batch-8")  # two attempts of one shard at once
    report = CopyReport(**names)
    back: dict[str, Any] = {"where": LOAD, "outcome": "returned", "seconds": 1}
    lost = replace(LOST, host=None)  # it was on neither of them, for all that is known
    events: list[Event] = [
        *(started, CallStarted(at=2, where=LOAD, limit=9, table="a.b")),
        *(CallEnded(at=3, **back, table="a.b"), test_shards.started(1)),
        *(replace(started, **one, at=4), CallStarted(**one, at=4, where=LOAD, limit=9)),
        *(CallStarted(**two, at=5, where=LOAD, limit=9), CallEnded(**one, at=5, **back)),
        *(
            replace(lost, at=6),
            RunEnded(**one, at=6, report=report),
            CallEnded(**two, at=7, **back),
        ),
        *(replace(ended(1), at=8), RunEnded(at=9, report=report)),
    ]
    for event in events:
        traces(event)
    spans = {span.context.span_id: span for span in exporter.get_finished_spans()}
    (root,) = (span for span in spans.values() if span.parent is None)
    shards = [span for span in spans.values() if span.name == "shard 1"]
    assert {attributes(span, "host")[0] for span in shards[:2]} == {"batch-7", "batch-8"}
    assert sorted((span.start_time or 0) // 10**9 for span in shards)[:2] == [4, 5]
    assert attributes(shards[0], "outcome", "table") == ("lost", "public.profiles")
    for load in (span for span in spans.values() if span.name == "load_rows"):
        assert load.parent is not None
        reader = spans[load.parent.span_id]
        assert reader.parent is not None
        part = spans[reader.parent.span_id]
        assert (reader.name, part.parent) == ("reader", root.context)
        assert attributes(load, "host") == attributes(part, "host")
        assert part.name == ("shard 1" if attributes(load, "shard")[0] == 1 else "table a.b")
    assert all(span.end_time for span in spans.values())


# -- the command


class Collector(ThreadingHTTPServer):
    """Receives spans by OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[ExportTraceServiceRequest] = []

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.received
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert isinstance(self.server, Collector)
        self.server.received.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Write nothing."""


@contextmanager
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def send_to(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_the_command_sends_its_spans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEPARENT", f"00-{TRACE}-{PARENT}-01")
    with collector() as server:
        send_to(server.server_port, monkeypatch)
        result = run_stubbed(copying(tmp_path), "--traces", "--quiet")
    assert (result.returncode, result.stderr) == (0, "")
    assert {span.trace_id.hex() for span in server.spans} == {TRACE}
    (root,) = (span for span in server.spans if span.name == "pipecopy copy")
    assert root.parent_span_id.hex() == PARENT
    found = {each.key: each.value for each in root.attributes}
    assert (found["pipecopy.rows"].int_value, found["pipecopy.exit_code"].int_value) == (500, 0)
    names = {span.name for span in server.spans}
    assert names >= {"reader", "writer", "connect", "load_rows", "save_rows", "close"}
    (service,) = {
        each.value.string_value
        for request in server.received
        for resource in request.resource_spans
        for each in resource.resource.attributes
        if each.key == "service.name"
    }
    assert service == "pipecopy"


def test_a_collector_that_is_down_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        send_to(gone.getsockname()[1], monkeypatch)
    result = run_stubbed(copying(tmp_path), "--traces", "--quiet")
    assert result.returncode == 0
    (line,) = unstamped(result.stderr)
    said = r"warning: (\d+) of \1 spans did not reach http://127.0.0.1:\d+: Connection refused"
    assert re.fullmatch(said, line)


def test_wrong_variables_are_errors_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError) as refused:
        OtlpTraces({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    assert str(refused.value) == (
        "--traces sends by http/protobuf only; set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
    )
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1000000")
    with pytest.raises(ConfigError, match=r"^--traces: an OTEL_… variable is not valid: "):
        Output(traces=True).observers()
