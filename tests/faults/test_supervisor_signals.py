"""Signals to the command, alone and with its whole group: it stops cleanly, or leaves nothing."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Literal

import pytest

from pipecopy.cli.main import StoppedBySignal
from tests.faults.checks import (
    Expected,
    Tables,
    check,
    check_next_id,
    check_nothing_left,
    check_second_run,
    command_ended,
)
from tests.faults.moments import MOMENTS, Moment, command_at

To = Literal["it", "its group"]

STOP_TIME = 1.5
"""Seconds in which the command stops: 1 for closing, and a little."""
WORKERS_GONE = 1.0
SESSIONS_GONE = 3.0


STOPS: list[tuple[signal.Signals, Moment, To]] = [
    *((signal.SIGTERM, moment, "it") for moment in MOMENTS),
    *((signal.SIGTERM, moment, "its group") for moment in MOMENTS),
    # these two take the same way: each moment once, alone or with the group
    (signal.SIGINT, "connect", "it"),
    (signal.SIGINT, "load", "its group"),
    (signal.SIGINT, "save", "it"),
    (signal.SIGINT, "retry", "its group"),
    (signal.SIGINT, "finish", "it"),
    (signal.SIGHUP, "connect", "its group"),
    (signal.SIGHUP, "load", "it"),
    (signal.SIGHUP, "save", "its group"),
    (signal.SIGHUP, "retry", "it"),
    (signal.SIGHUP, "finish", "its group"),
]


@pytest.mark.parametrize(("signum", "moment", "to"), STOPS)
def test_a_stop(
    signum: signal.Signals, moment: Moment, to: To, tables: Tables, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with command_at(moment, tables, log) as running:
        running.send(signum, to)
        sent = time.monotonic()
        ended = command_ended(running.process, running.limits)
        assert time.monotonic() - sent <= STOP_TIME
        assert not running.alive()
    said = log.read_text()
    assert said.splitlines()[-1].startswith(f"stopped by {signum.name}; ")
    assert said.count("stopped by") == 1
    assert "Traceback" not in said
    check(ended, tables, Expected(error=StoppedBySignal, exit_code=128 + signum))
    assert ended.report is not None
    assert ended.report.outcome == "stopped"


@pytest.mark.parametrize("to", ["it", "its group"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill(moment: Moment, to: To, tables: Tables, tmp_path: Path) -> None:
    with command_at(moment, tables, tmp_path / "log") as running:
        running.send(signal.SIGKILL, to)
        killed = time.monotonic()
        while running.alive():
            assert time.monotonic() - killed <= WORKERS_GONE, running.alive()
            time.sleep(0.01)  # /proc sends no events
        assert running.process.wait() == -signal.SIGKILL
        # also of calls that still wait for a lock
        check_nothing_left(since=killed, patience=SESSIONS_GONE)
    check_next_id(None, tables)
    check_second_run(tables)


@pytest.mark.parametrize("to", ["it", "its group"])
@pytest.mark.parametrize("moment", ["load", "save", "retry"])
def test_a_standstill_does_not_count(
    moment: Moment, to: To, tables: Tables, tmp_path: Path
) -> None:
    # too little, if the three seconds for which it stands still counted
    limits = {"call_timeout": 1.5, "full_copy_timeout": 3.2}
    if moment == "retry":
        limits = {"call_timeout": 0.5, "retries_delay": 1, "full_copy_timeout": 4.5}
    with command_at(moment, tables, tmp_path / "log", **limits) as running:
        running.send(signal.SIGSTOP, to)
        running.barrier.lift()  # a result arrives meanwhile
        time.sleep(3)  # the case itself
        running.send(signal.SIGCONT, to)
        ended = command_ended(running.process, running.limits)
    retries = 1 if moment == "retry" else 0
    check(ended, tables, Expected(retries=retries))
    assert ended.report is not None
    assert ended.report.timeouts == retries
    assert ended.report.kills == 0
