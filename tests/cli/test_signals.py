"""Signals, whenever they come: the right exit code, one line, and no traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.cli.blocked import blocked_copy
from tests.cli.command import LONGEST, full_pipe_end, start
from tests.servers import TemporaryDatabase

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


@pytest.mark.parametrize("milliseconds", range(60, 400, 40))
def test_a_signal_at_any_moment_of_the_start_ends_the_command_quietly(milliseconds: int) -> None:
    process = start(["copy", "host=127.0.0.1 port=1", "host=127.0.0.1 port=1"])
    time.sleep(milliseconds / 1000)  # the moment itself is the case
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=LONGEST)
    # before Python runs any of our code the signal itself ends the process; a shell says 143
    assert process.returncode in {143, -signal.SIGTERM, 3, 4}
    assert "Traceback" not in err


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
from pipecopy.cli.stop import StoppedBySignal, StopSignals

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
