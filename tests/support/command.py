"""The command as a user runs it: a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

_STUBBED = """
import os, signal, sys, time
import pipecopy
from pipecopy.cli import app, operation
from pipecopy.errors import *
from pipecopy.events import RunEnded
from pipecopy.report import CopyReport

def report(outcome):
    return CopyReport(
        run_id="0123456789ab", source="a", target="b", outcome=outcome, rows=4, batches=1,
        bytes=99, max_id=9, next_id=5, calls=1, timeouts=0, kills=0, retries=0, seconds=1.0,
    )

{stub}

pipecopy.copy_table = copy_table
from pipecopy.__main__ import main
main()
"""
_STRUCK = """
import _signal, runpy, signal, sys
{strike}
sys.argv = {argv!r}
runpy.run_module("pipecopy", run_name="__main__")
"""
BEFORE_IMPORTS = """
block = _signal.pthread_sigmask

def strike(how, signals):
    _signal.pthread_sigmask = block
    before = block(how, signals)
    signal.raise_signal(signal.{signum})
    return before

signal.pthread_sigmask = strike
"""
"""Sends the command a signal before it imports anything, for `run_struck`."""
COMMAND = (sys.executable, "-m", "pipecopy")
LONGEST = 60
STAMP = re.compile(r"[0-9-]{10} [0-9:]{8}[+-][0-9]{2}:[0-9]{2} ")
"""The time before a line that is about a run."""


def environment() -> dict[str, str]:
    """Return ours, without what would change the output."""
    ignored = ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TERM")
    return {name: value for name, value in os.environ.items() if name not in ignored}


def start(
    arguments: Sequence[str], *, by: Sequence[str] = (), **streams: Any
) -> subprocess.Popen[str]:
    """Start the command, or have it started `by` another; its streams are pipes by default."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    return subprocess.Popen(
        [*by, *COMMAND, *arguments], text=True, env=environment(), **{**pipes, **streams}
    )


@contextmanager
def full_pipe_end() -> Iterator[int]:
    """Give the writing end of a pipe that takes nothing more, and that nobody reads."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with suppress(BlockingIOError):
        while True:
            os.write(write, b"x" * 4096)
    os.set_blocking(write, True)
    try:
        yield write
    finally:
        os.close(write)
        os.close(read)


def start_stubbed(stub: str, arguments: Sequence[str], **streams: Any) -> subprocess.Popen[str]:
    """Start a copy with the stub's `copy_table` in the place of the real one."""
    program = _STUBBED.replace("{stub}", stub)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    return subprocess.Popen(
        [sys.executable, "-c", program, "copy", "host=a", "host=b", *arguments],
        text=True,
        env=environment(),
        **{**pipes, **streams},
    )


def run_stubbed(stub: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    process = start_stubbed(stub, arguments)
    try:
        out, err = process.communicate(timeout=LONGEST)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def run_struck(strike: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process that runs this program first, which sends it a signal."""
    program = _STRUCK.format(strike=strike, argv=["pipecopy", *arguments])
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
        env=environment(),
    )


def unstamped(stderr: str) -> list[str]:
    """Return the lines without their times."""
    return [STAMP.sub("", line) for line in stderr.splitlines()]


def run(*arguments: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    process = start(arguments, **streams)
    try:
        out, err = process.communicate(timeout=LONGEST)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
