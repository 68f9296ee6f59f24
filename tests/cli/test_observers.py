"""The observers of a command, by the options that ask for them."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from pipecopy.cli.options import Output
from pipecopy.errors import ConfigError
from tests.support.command import LONGEST, run_stubbed, start_stubbed, unstamped
from tests.support.copying import copying
from tests.support.drivers import RecordingPool
from tests.support.figures import Read

STUCK = """Strike(side="target", call="save_rows", fault="sleep in C"),"""


def test_none_of_them_holds_up_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / "x.prom", tmp_path / "a.json"]
    hang = "; ".join(f"os.mkfifo('{path}.tmp')" for path in files)  # it takes a reader to open it
    made = copying(tmp_path, first=hang)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        arguments = ("--metrics-file", str(files[0]), "--traces", "--report", str(files[1]))
        result = run_stubbed(made, "--quiet", *arguments)
        took = time.time() - RecordingPool(tmp_path).recorder.path.stat().st_mtime
    assert result.returncode == 0
    metrics, traces, report = unstamped(result.stderr)
    for option, line in (("--metrics-file", metrics), ("--report", report)):
        assert line == f"warning: {option} did not end within 2 s: it was left behind"
    said = rf"warning: (\d+) of \1 spans did not reach {endpoint}: no answer in time"
    assert re.fullmatch(said, traces)
    assert took < 9  # since the last call; OpenTelemetry's own limit for one request is 10 s


ENDS = {124: ("timed out", "500ms"), 143: ("stopped", "30s")}


@pytest.mark.parametrize("code", ENDS)
def test_all_are_told_how_a_command_ends_on_the_way(code: int, tmp_path: Path) -> None:
    outcome, limit = ENDS[code]
    metrics, report = tmp_path / "x.prom", tmp_path / "a.json"
    limits = ("--full-copy-timeout", limit, "--grace", "100ms")
    files = ("--metrics-file", str(metrics), "--report", str(report))
    process = start_stubbed(copying(tmp_path, STUCK), ("--json", *limits, *files))
    try:
        if outcome == "stopped":
            deadline = time.monotonic() + LONGEST
            while not RecordingPool(tmp_path).recorder.attempts(call="save_rows"):
                assert time.monotonic() < deadline
                time.sleep(0.01)  # the driver's record is a file
            process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=LONGEST)
    finally:
        process.kill()
    assert process.returncode == code
    read = Read(metrics)
    assert (read.outcome, read("pipecopy_exit_code")) == (outcome, code)
    said = json.loads(report.read_text())
    timeline = said.pop("timeline")
    assert said == json.loads(out)
    assert (said["outcome"], said["exit_code"]) == (outcome, code)
    if outcome == "stopped":
        stop, cut = timeline["incidents"]
        asked = ("stop requested", "finishing the batch in flight, at most 100 ms")
        assert (stop["what"], stop["detail"]) == asked
        assert (cut["what"], cut["call"]) == ("cut short", "save_rows")


# -- before anything starts

MODULES = {
    "metrics": ("metrics", "prometheus_client", Output(metrics_file="x.prom")),
    "traces": ("otlp", "opentelemetry", Output(traces=True)),
    "report": ("page", "bokeh", Output(report="a.html")),
}


@pytest.mark.parametrize("extra", MODULES)
def test_an_extra_that_is_not_installed(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs, output = MODULES[extra]
    for name in (theirs, *[name for name in sys.modules if name.startswith(f"{theirs}.")]):
        monkeypatch.setitem(sys.modules, name, None)  # as Python has one that it can't import
    monkeypatch.delitem(sys.modules, f"pipecopy.observers.{ours}", raising=False)
    option = "--metrics-file" if extra == "metrics" else f"--{extra}"
    with pytest.raises(ConfigError) as refused:
        output.observers()
    wanted = f'{option} needs the extra {extra}: pip install "pipecopy[{extra}]"'
    assert str(refused.value) == wanted


def test_the_report_as_json_needs_no_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bokeh", None)
    assert list(Output(report=str(tmp_path / "a.json")).observers()) == ["--report"]


def test_a_report_that_cant_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"report .*/none/a\.html can't be written: No such file"):
        Output(report=str(tmp_path / "none" / "a.html")).observers()
