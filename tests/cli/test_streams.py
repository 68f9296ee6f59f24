"""Standard output and error that are closed, full or read by nobody: limits and codes stay."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults.held import gate_of
from tests.support.checks import (
    LIMITS,
    Tables,
    check_next_id,
    check_nothing_left,
    check_second_run,
    options,
)
from tests.support.command import LONGEST, full_pipe_end, run, start, start_stubbed, unstamped
from tests.support.drivers import RecordingPool
from tests.support.logged import parsed
from tests.support.scripts import SQLITE, run_script

Streams = Callable[[], contextlib.AbstractContextManager[dict[str, Any]]]
TOLD = 0.5
"""Seconds that the command gives each of two streams that takes nothing, and a little."""


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """Give the writing end of a pipe that takes nothing more, and that nobody reads."""
    with full_pipe_end() as write:
        yield write


@contextlib.contextmanager
def full_pipes() -> Iterator[dict[str, Any]]:
    with full_pipe_end() as stuck:
        yield {"stdout": stuck, "stderr": stuck}


@contextlib.contextmanager
def full_disk() -> Iterator[dict[str, Any]]:
    with Path("/dev/full").open("wb") as full:
        yield {"stdout": full, "stderr": full}


@contextlib.contextmanager
def pipes_without_reader() -> Iterator[dict[str, Any]]:
    read, write = os.pipe()
    os.close(read)
    try:
        yield {"stdout": write, "stderr": write}
    finally:
        os.close(write)


@contextlib.contextmanager
def closed(how: str = "<&- >&- 2>&-") -> Iterator[dict[str, Any]]:
    yield {"by": ["sh", "-c", f'exec "$@" {how}', "sh"]}


@pytest.mark.parametrize(
    ("streams", "limits", "code"),
    [
        (full_pipes, {"call_timeout": 10, "grace": 0}, 128 + signal.SIGTERM),
        (closed, {"call_timeout": 10, "grace": 0}, 128 + signal.SIGTERM),
        (full_pipes, {"call_timeout": 10, "full_copy_timeout": 2}, 124),
        (pipes_without_reader, {"call_timeout": 10, "full_copy_timeout": 2}, 124),
        (full_pipes, {"call_timeout": 0.5}, 75),
        (full_disk, {"call_timeout": 0.5}, 75),
    ],
)
def test_a_copy_whose_save_is_stuck_ends_as_ever(
    streams: Streams, limits: dict[str, Any], code: int, tables: Tables
) -> None:
    config = replace(LIMITS, **limits)
    arguments = ["copy", tables.source.uri, tables.target.uri, *options(config)]
    at_most = {124: config.full_copy_timeout, 75: 2 * 0.5 + config.retries_delay}.get(code, 1.5)
    with gate_of(tables, "target") as gate, streams() as how, start(arguments, **how) as process:
        gate.arrival()
        began = time.monotonic()
        if code > 128:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == code
        ended = time.monotonic()
        assert ended - began <= at_most + 0.25 + TOLD
    check_next_id(None, tables)
    check_nothing_left(since=ended)
    check_second_run(tables)


@pytest.mark.parametrize("streams", [pipes_without_reader, closed, lambda: closed("2>&-")])
def test_a_copy_that_is_complete_is_0(streams: Streams, tables: Tables) -> None:
    with streams() as how:
        process = start(["copy", tables.source.uri, tables.target.uri, *options()], **how)
        _, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 0
    assert "Traceback" not in (err or "")
    assert tables.target.value("SELECT count(*) FROM profiles") == 50


@pytest.mark.parametrize(
    ("streams", "why"),
    [(full_pipes, "nobody reads it"), (full_disk, "No space left on device")],
)
def test_output_that_could_not_be_written_is_said(
    streams: Streams, why: str, tables: Tables
) -> None:
    with streams() as how:
        arguments = ("copy", tables.source.uri, tables.target.uri, *options())
        result = run(*arguments, stdout=how["stdout"])
    assert result.returncode == 0
    assert result.stderr.splitlines()[-1] == f"standard output could not be written: {why}"


def test_output_into_a_closed_stream_is_said(tables: Tables) -> None:
    arguments = ["copy", tables.source.uri, tables.target.uri, *options()]
    with closed(">&-") as how:  # standard input is open: what is opened next gets the number 1
        process = start(arguments, stderr=subprocess.PIPE, **how)
        _, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 0
    assert err.splitlines()[-1] == "standard output could not be written: it is closed"


def test_errors_that_nobody_reads_change_no_exit_code(full_pipe: int) -> None:
    result = run("copy", "a", "b", "--batch-size", "0", "--json", stderr=full_pipe)
    assert (result.returncode, json.loads(result.stdout)["exit_code"]) == (2, 2)


def test_help_into_a_full_disk_is_said() -> None:
    with full_disk() as how:
        result = run("--help", stdout=how["stdout"])
    why = "standard output could not be written: No space left on device\n"
    assert (result.returncode, result.stderr) == (71, why)


def test_help_into_a_closed_pipe_is_no_error() -> None:
    with pipes_without_reader() as how:
        result = run("--help", stdout=how["stdout"])
    assert (result.returncode, result.stderr) == (0, "")


FAILS = """
def copy_table(*_, observer, **__):
    {before}
    raise FullCopyTimeoutError("too late", report=report("timed out"))
"""


@pytest.fixture
def moment(tmp_path: Path) -> Path:
    """Give the file into which `FAILS` writes when the copy ended."""
    return tmp_path / "moment"


def stub(moment: Path) -> str:
    return FAILS.format(before=f"print(time.monotonic(), file=open({str(moment)!r}, 'w'))")


def wait_for(moment: Path) -> float:
    deadline = time.monotonic() + LONGEST
    while not moment.exists() or not moment.read_text().endswith("\n"):
        assert time.monotonic() < deadline
        time.sleep(0.005)  # a file's being written sends no event
    return float(moment.read_text())


def test_the_command_ends_soon_after_the_copy_where_nobody_reads(
    full_pipe: int, moment: Path
) -> None:
    with (
        full_pipe_end() as other,
        start_stubbed(stub(moment), ["--json"], stdout=full_pipe, stderr=other) as process,
    ):
        assert process.wait(LONGEST) == 124
        took = time.monotonic() - wait_for(moment)
    assert took < 0.5  # 0.26 on a machine that does nothing else


def test_a_slow_reader_gets_all_of_it(moment: Path) -> None:
    read, write = os.pipe()
    before = b"x" * 65_536  # what a pipe holds
    os.write(write, before)
    text = b""
    streams = {"stdout": write, "stderr": subprocess.DEVNULL}
    with start_stubbed(stub(moment), ["--json"], **streams) as process:
        os.close(write)
        wait_for(moment)
        while piece := os.read(read, 8192):
            text += piece
            time.sleep(0.03)  # so slow, and yet it moves
        os.close(read)
    assert process.returncode == 124
    assert json.loads(text[len(before) :])["error"]["class"] == "FullCopyTimeoutError"


def test_the_error_is_told_however_much_waits(moment: Path) -> None:
    read, write = os.pipe()
    os.write(write, b"x" * 65_536)
    many = "[sys.stderr.write(f'{n}\\n') for n in range(2000)]; "
    program = stub(moment).replace("print(", f"{many}print(")
    text = b""
    with start_stubbed(program, ["--quiet"], stderr=write):
        os.close(write)
        wait_for(moment)
        while piece := os.read(read, 65_536):
            text += piece
        os.close(read)
    lines = unstamped(text.decode())
    assert "1999" not in lines  # what nobody read in time was dropped
    assert lines[-2].startswith("failed: too late")


# -- a script of a user

# The result goes to a file: both streams are full.
COPY = """
import ctypes, json, os, sys, time, traceback
from dataclasses import replace

class Hanging(Database):
    def load_rows(self, a, b):
        print("the driver hangs now", file=sys.stderr, flush=True)
        library = ctypes.PyDLL(None)
        mutex = ctypes.create_string_buffer(64)
        library.pthread_mutex_lock(mutex)
        library.pthread_mutex_lock(mutex)

class Chatting(Database):
    def load_rows(self, a, b):
        print("a driver's chatter " * 10_000, file=sys.stderr, flush=True)
        os.write(2, b"and more" * 10_000)
        return super().load_rows(a, b)

class OwnPool:
    def __init__(self, kind):
        self.kind = kind
    def connect(self, path):
        return self.kind(path)

def observe(event):
    os.write(2, repr(event).encode())

def run(kind, limit):
    start = time.monotonic()
    try:
        report = copy_table(
            replace(config, full_copy_timeout=limit), OwnPool(kind),
            "source.sqlite", "target.sqlite", observer=observe,
        )
        result = report.outcome
    except Exception as error:
        result = type(error).__name__
    with open("result.json", "w") as file:
        json.dump([result, time.monotonic() - start], file)
"""


def run_with_full_pipe(folder: Path, full_pipe: int, kind: str, limit: float) -> tuple[str, float]:
    """Copy in a script within that limit; return its outcome and the seconds it took."""
    guarded = f'if __name__ == "__main__":\n    run({kind}, {limit})'
    streams = {"capture_output": False, "stdout": full_pipe, "stderr": full_pipe}
    run_script(folder, SQLITE, COPY, guarded, **streams)
    outcome, seconds = json.loads((folder / "result.json").read_text())
    return outcome, seconds


def test_a_hang_ends_at_the_whole_copys_limit(
    sqlite_pool: RecordingPool, tmp_path: Path, full_pipe: int
) -> None:
    sqlite_pool.create(range(1, 26))
    outcome, seconds = run_with_full_pipe(tmp_path, full_pipe, "Hanging", 1.5)
    assert outcome == "FullCopyTimeoutError"
    assert 1.5 <= seconds <= 1.5 + 0.25


def test_a_chatty_driver_and_a_blocked_observer_do_not_stop_a_copy(
    sqlite_pool: RecordingPool, tmp_path: Path, full_pipe: int
) -> None:
    sqlite_pool.create(range(1, 26))
    outcome, _ = run_with_full_pipe(tmp_path, full_pipe, "Chatting", 30)  # stuck, it would wait
    assert outcome == "complete"
    assert sqlite_pool.rows("target") == sqlite_pool.rows("source")


def test_lines_that_nobody_takes_are_counted_and_each_line_is_json(moment: Path) -> None:
    """A pipe is full while a run has much to say, and is read from then on."""
    read, write = os.pipe()
    program = f"""
from pipecopy.events import DriverOutput, RunEnded

def copy_table(*_, observer, **__):
    written, write = [], sys.stderr.write
    sys.stderr.write = lambda text: written.append(write(text))
    for number in range(1500):
        observer(DriverOutput(side="source", dbname="a", text=f"{{number}} " + 200 * "x"))
    while len(written) < 1500:  # the screen takes them; the pipe is full long before
        time.sleep(0.01)
    print(time.monotonic(), file=open({str(moment)!r}, "w"), flush=True)
    while sys.stderr._queue.qsize():  # it is read now
        time.sleep(0.01)
    observer(DriverOutput(side="source", dbname="a", text="the last"))
    return report("complete")
"""
    text = b""
    with start_stubbed(program, ["--log-format", "json", "--progress", "none"], stderr=write):
        os.close(write)
        wait_for(moment)
        while piece := os.read(read, 65_536):
            text += piece
        os.close(read)
    lines = parsed(text.decode())
    assert lines[-1]["event"] == "run_ended"
    told = [line for line in lines if line["event"] == "driver_output"]
    counts = [
        int(re.sub("[^0-9]", "", line["message"]))
        for line in lines
        if line["event"] == "lines_dropped"
    ]
    assert counts
    assert len(told) + sum(counts) == 1501


def test_each_line_of_a_run_with_timeouts_is_json(tables: Tables) -> None:
    config = replace(LIMITS, call_timeout=0.5, max_retries=1)
    arguments = ["copy", tables.source.uri, tables.target.uri, *options(config)]
    with gate_of(tables, "target"):
        result = run(*arguments, "--log-format", "json", "-v")
    assert result.returncode == 75
    lines = parsed(result.stderr)
    assert [line["event"] for line in lines[-2:]] == ["run_ended", "to_go_on"]
    assert (lines[-2]["outcome"], lines[-2]["exit_code"]) == ("timed out", 75)
    (retry,) = [line for line in lines if line["event"] == "retry_scheduled"]
    assert (retry["side"], retry["call"], retry["attempt"]) == ("target", "save_rows", 1)
    ended = [line for line in lines if line["event"] == "call_ended" and line["attempt"] == 2]
    assert [line["outcome"] for line in ended] == ["timed out"]
    assert len({line["run"] for line in lines}) == 1
