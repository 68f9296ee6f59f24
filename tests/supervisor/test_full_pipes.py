"""The whole copy's limit holds while nobody reads what the process writes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.drivers import RecordingPool
from tests.support.scripts import SQLITE, run_script

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

def run(kind):
    start = time.monotonic()
    try:
        report = copy_table(
            replace(config, full_copy_timeout=1.5), OwnPool(kind),
            "source.sqlite", "target.sqlite", observer=observe,
        )
        result = report.outcome
    except Exception as error:
        result = type(error).__name__
    with open("result.json", "w") as file:
        json.dump([result, time.monotonic() - start], file)
"""


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """Give the writing end of a pipe that is full and that nobody reads."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writer, True)
    yield writer
    os.close(writer)
    os.close(reader)


def run_with_full_pipe(folder: Path, full_pipe: int, kind: str) -> tuple[str, float]:
    """Copy in a script; return its outcome and the seconds it took."""
    guarded = f'if __name__ == "__main__":\n    run({kind})'
    streams = {"capture_output": False, "stdout": full_pipe, "stderr": full_pipe}
    run_script(folder, SQLITE, COPY, guarded, **streams)
    outcome, seconds = json.loads((folder / "result.json").read_text())
    return outcome, seconds


def test_a_hang_ends_at_the_whole_copys_limit(
    sqlite_pool: RecordingPool, tmp_path: Path, full_pipe: int
) -> None:
    sqlite_pool.create(range(1, 26))
    outcome, seconds = run_with_full_pipe(tmp_path, full_pipe, "Hanging")
    assert outcome == "FullCopyTimeoutError"
    assert 1.5 <= seconds <= 1.5 + 0.25


def test_a_chatty_driver_and_a_blocked_observer_do_not_stop_a_copy(
    sqlite_pool: RecordingPool, tmp_path: Path, full_pipe: int
) -> None:
    sqlite_pool.create(range(1, 26))
    outcome, seconds = run_with_full_pipe(tmp_path, full_pipe, "Chatting")
    assert outcome == "complete"
    assert seconds <= 1.5 + 0.25
    assert sqlite_pool.rows("target") == sqlite_pool.rows("source")
