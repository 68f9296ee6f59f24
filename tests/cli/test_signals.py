"""Signals, whenever they come: the right exit code, one line, and no traceback."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.support.blocked import blocked_copy
from tests.support.command import LONGEST, full_pipe_end, run_stubbed, start
from tests.support.databases import TemporaryDatabase

_STARTING = {signal.SIGINT: {1}, signal.SIGTERM: set[int]()}
"""What Python exits with where the signal comes while it imports `site`."""
SIGNALS = [signal.SIGHUP, signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_during_a_call_stops_the_copy(
    signum: signal.Signals, source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    with blocked_copy(source_db, target_db, "--json") as process:
        process.send_signal(signum)
        sent = time.monotonic()
        out, err = process.communicate(timeout=LONGEST)
        assert time.monotonic() - sent < 3
    assert process.returncode == 128 + signum
    assert err.splitlines()[-1].startswith(f"stopped by {signum.name}; ")
    assert "Traceback" not in err
    report = json.loads(out)
    assert report["error"]["exit_code"] == 128 + signum
    assert (report["outcome"], report["next_id"]) == ("stopped", 0)


def test_a_signal_to_the_whole_group_and_many_more_change_nothing(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    with blocked_copy(source_db, target_db, start_new_session=True) as process:
        for _ in range(20):
            os.killpg(process.pid, signal.SIGTERM)
            os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=LONGEST)
    # the kernel delivers the lower number first where both wait
    assert process.returncode in {143, 130}
    assert err.splitlines()[-1].startswith("stopped by SIG")
    assert "Traceback" not in err


def test_a_hangup_that_nohup_ignores_stays_ignored(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    limit = ("--full-copy-timeout", "2s")
    with blocked_copy(source_db, target_db, *limit, by=["nohup"]) as process:
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=LONGEST)
    assert process.returncode == 124


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("milliseconds", range(20, 420, 40))
def test_a_signal_at_any_moment_of_the_start_ends_the_command_quietly(
    milliseconds: int, signum: signal.Signals
) -> None:
    process = start(["copy", "host=127.0.0.1 port=1", "host=127.0.0.1 port=1", "--json"])
    time.sleep(milliseconds / 1000)  # the moment itself is the case
    process.send_signal(signum)
    out, err = process.communicate(timeout=LONGEST)
    if process.returncode in {-signum, *_STARTING[signum]}:
        # it came before our first line, and ended Python itself; a shell says 130 or 143
        assert out == ""
        assert not re.search(r"pipecopy/(cli/|__main__)", err)
    else:
        assert process.returncode in {128 + signum, 3}
        assert "Traceback" not in err
        assert json.loads(out)["error"]["exit_code"] == process.returncode


def test_a_signal_before_anything_is_imported_is_heeded_once_it_can_be() -> None:
    program = """
import _signal, runpy, signal, sys
block = _signal.pthread_sigmask

def strike(how, signals):
    _signal.pthread_sigmask = block
    before = block(how, signals)
    signal.raise_signal(signal.SIGINT)
    return before

signal.pthread_sigmask = strike
sys.argv = ["pipecopy", "copy", "a", "b", "--json"]
runpy.run_module("pipecopy", run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=20
    )
    assert (done.returncode, done.stderr) == (130, "stopped by SIGINT; nothing more was done\n")
    assert json.loads(done.stdout)["error"]["exit_code"] == 130


STRIKE = "os.kill(os.getpid(), signal.SIGTERM); time.sleep(0.01)"
ENDS = {
    "told, then returned": f"""
def copy_table(*_, observer, **__):
    observer(RunEnded(report=report("complete")))
    {STRIKE}
    return report("complete")
""",
    "returned, then the screen ends": f"""
def copy_table(*_, observer, **__):
    return report("complete")

def leave(*_):
    {STRIKE}

app.Screen.__exit__ = leave
""",
    "stopped when all was copied": f"""
def copy_table(*_, observer, **__):
    try:
        {STRIKE}
    except BaseException as stop:
        stop.report = report("complete")
        raise
""",
    "told, then raised": f"""
def copy_table(*_, observer, **__):
    observer(RunEnded(report=report("timed out")))
    {STRIKE}
    raise FullCopyTimeoutError("too late", report=report("timed out"))
""",
    "raised, then the screen ends": f"""
def copy_table(*_, observer, **__):
    raise FullCopyTimeoutError("too late", report=report("timed out"))

def leave(*_):
    {STRIKE}

app.Screen.__exit__ = leave
""",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_signal_after_the_copy_ended_changes_nothing(end: str) -> None:
    done = run_stubbed(ENDS[end], "--json")
    raised = "raised" in end
    assert done.returncode == (124 if raised else 0)
    assert json.loads(done.stdout)["next_id"] == 5
    assert "stopped" not in done.stderr
    last = done.stderr.splitlines()[-1]
    if raised:
        assert last.startswith("error: too late; every id below 5 (of 9) is in the target")
    else:
        assert last.startswith("run 0123456789ab: ")


def test_a_signal_while_the_end_is_told_keeps_the_outcome() -> None:
    with full_pipe_end() as stuck:
        process = start(["copy", "a", "b", "--batch-size", "0"], stderr=stuck)
        try:
            while process.poll() is None:
                process.send_signal(signal.SIGTERM)
                time.sleep(0.005)  # again and again until it has ended
        finally:
            process.kill()
            process.communicate()
    assert process.returncode in {2, 143, -signal.SIGTERM}


def test_the_workers_of_a_stopped_copy_are_gone(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    with blocked_copy(source_db, target_db, start_new_session=True) as process:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LONGEST)
        listed = subprocess.run(
            ["ps", "-o", "pid=", "-g", str(process.pid)],  # noqa: S607 - from PATH, as anyone has it
            capture_output=True,
            text=True,
            check=False,
        )
        assert listed.stdout == ""


def test_a_signal_during_a_destructor_is_not_lost() -> None:
    program = """
import signal, time
from pipecopy.cli.main import StoppedBySignal, StopSignals

class Slow:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)  # what its handler raises, Python drops

StopSignals().install()
try:
    Slow()
    time.sleep(30)
except StoppedBySignal as stop:
    print(stop)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=20
    )
    assert (done.stdout, done.stderr) == ("stopped by SIGTERM\n", "")
