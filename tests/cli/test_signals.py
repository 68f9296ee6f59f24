"""Signals, whenever they come: the right exit code, one line, no traceback, nothing left."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import pytest

from pipecopy.cli.main import StoppedBySignal
from tests.cli.moments import Moment, command_at, wait_for
from tests.faults.held import HELD_ROW
from tests.support.checks import (
    Expected,
    Tables,
    check,
    check_next_id,
    check_nothing_left,
    check_outcome,
    check_second_run,
    command_ended,
)
from tests.support.command import (
    BEFORE_IMPORTS,
    LONGEST,
    full_pipe_end,
    run_struck,
    run_stubbed,
    start,
    unstamped,
)

To = Literal["it", "its group"]

STOP_TIME = 1.5
"""Seconds in which the command stops: 1 for closing, and a little."""
WORKERS_GONE = 1.0
SESSIONS_GONE = 3.0
_STARTING = {signal.SIGINT: {1}, signal.SIGTERM: set[int]()}
"""What Python exits with if the signal comes while it imports `site`."""


@pytest.mark.parametrize(
    ("signum", "moment", "to", "grace"),
    [
        (signal.SIGTERM, "connect", "it", 10),
        (signal.SIGTERM, "load", "its group", 0),
        (signal.SIGTERM, "save", "it", 0),
        (signal.SIGTERM, "retry", "its group", 10),
        (signal.SIGTERM, "finish", "it", 0),
        (signal.SIGINT, "load", "it", 0),
        (signal.SIGINT, "save", "its group", 0),
        (signal.SIGHUP, "connect", "its group", 10),
        (signal.SIGHUP, "save", "it", 0),
        (signal.SIGHUP, "finish", "its group", 0),
    ],
)
def test_a_stop_that_waits_for_nothing(
    *, signum: signal.Signals, moment: Moment, to: To, grace: int, tables: Tables, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with command_at(moment, tables, log, grace=grace) as running:
        running.send(signum, to)
        sent = time.monotonic()
        ended = command_ended(running.process, running.limits)
        assert time.monotonic() - sent <= STOP_TIME
        assert not running.alive()
    said = log.read_text()
    assert unstamped(said)[-2].startswith(f"stopped by {signum.name}; ")
    assert said.count(signum.name) == 1
    assert "Traceback" not in said
    check(ended, tables, Expected(error=StoppedBySignal, exit_code=128 + signum))
    assert ended.report is not None
    assert ended.report.outcome == "stopped"
    # what a stop ends is no kill of a call that hung
    assert ended.report.kills <= ended.report.timeouts


@pytest.mark.parametrize(
    ("signum", "moment", "to", "by", "what"),
    [
        (signal.SIGTERM, "load", "it", [], "the batch in flight"),
        (signal.SIGHUP, "save", "its group", [], "the batch in flight"),
        # it sends the signal twice, to its command and then to the group
        (signal.SIGTERM, "save", "it", ["timeout", "60"], "the batch in flight"),
        (signal.SIGINT, "finish", "it", [], "the last steps"),
    ],
)
def test_a_stop_that_waits_for_what_is_in_flight(
    *,
    signum: signal.Signals,
    moment: Moment,
    to: To,
    by: list[str],
    what: str,
    tables: Tables,
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    with command_at(moment, tables, log, by=by) as running:
        running.send(signum, to)
        line = f"{signum.name}: finishing {what}, at most 10 s; send it again to stop at once"
        wait_for(line, log)
        running.barrier.lift()
        ended = command_ended(running.process, running.limits)
        assert not running.alive()
    said = log.read_text()
    assert said.count(line) == 1
    if moment == "finish":  # all is copied
        check(ended, tables, Expected())
        return
    check_outcome(ended, Expected(error=StoppedBySignal, exit_code=128 + signum))
    check_next_id(ended.report, tables)
    assert ended.report is not None
    next_id = ended.report.next_id
    assert HELD_ROW < next_id <= HELD_ROW + 10, "its batch, and no other"
    stopped, go_on = unstamped(said)[-2:]
    assert stopped.startswith(f"stopped by {signum.name}; every id below {next_id} (of 50) is in")
    assert go_on.startswith(
        f"to go on: run it again: it is safe; with --from-id {next_id} it begins"
    )


def test_a_second_signal_stops_at_once(tables: Tables, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with command_at("save", tables, log) as running:
        running.send(signal.SIGTERM, "it")
        wait_for("SIGTERM: finishing", log)
        time.sleep(0.6)  # what comes sooner is the same request
        running.send(signal.SIGHUP, "it")
        sent = time.monotonic()
        ended = command_ended(running.process, running.limits)
        assert time.monotonic() - sent <= STOP_TIME
        assert not running.alive()
    # the code says why it was to stop, which the first signal tells
    check(ended, tables, Expected(error=StoppedBySignal, exit_code=143, next_id=21))


def test_many_signals_are_as_good_as_one(tables: Tables, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with command_at("load", tables, log) as running:
        for _ in range(20):
            running.send(signal.SIGTERM, "its group")
            running.send(signal.SIGINT, "its group")
        wait_for(": finishing", log)
        running.barrier.lift()
        ended = command_ended(running.process, running.limits)
    # the kernel delivers the lower number first if both wait
    assert ended.exit_code in {143, 130}
    said = log.read_text()
    assert (said.count("stopped by"), "Traceback" in said) == (1, False)


def test_a_hangup_that_nohup_ignores_stays_ignored(tables: Tables, tmp_path: Path) -> None:
    with command_at("save", tables, tmp_path / "log", by=["nohup"]) as running:
        running.send(signal.SIGHUP, "it")
        running.barrier.lift()
        assert command_ended(running.process, running.limits).exit_code == 0


@pytest.mark.parametrize(
    ("moment", "to"),
    [
        ("connect", "it"),
        ("load", "it"),
        ("save", "it"),
        ("save", "its group"),
        ("retry", "it"),
        ("finish", "it"),
    ],
)
def test_a_kill(moment: Moment, to: To, tables: Tables, tmp_path: Path) -> None:
    with command_at(moment, tables, tmp_path / "log") as running:
        running.send(signal.SIGKILL, to)
        killed = time.monotonic()
        while running.alive():
            assert time.monotonic() - killed <= WORKERS_GONE, running.alive()
            time.sleep(0.01)  # /proc sends no events
        assert running.process.wait() == -signal.SIGKILL
        # also those of calls that still wait for a lock
        check_nothing_left(since=killed, patience=SESSIONS_GONE)
    check_next_id(None, tables)
    check_second_run(tables)


@pytest.mark.parametrize(
    ("moment", "to", "limits"),
    [  # too little, if the two seconds of the standstill counted
        ("load", "it", {"call_timeout": 1.2, "full_copy_timeout": 2.4}),
        ("save", "its group", {"call_timeout": 1.2, "full_copy_timeout": 2.4}),
        (
            "retry",
            "its group",
            {"call_timeout": 0.5, "retries_delay": 1, "full_copy_timeout": 3.5},
        ),
    ],
)
def test_a_standstill_does_not_count(
    moment: Moment, to: To, limits: dict[str, Any], tables: Tables, tmp_path: Path
) -> None:
    with command_at(moment, tables, tmp_path / "log", **limits) as running:
        running.send(signal.SIGSTOP, to)
        running.barrier.lift()  # a result arrives meanwhile
        time.sleep(2)  # the case itself
        running.send(signal.SIGCONT, to)
        ended = command_ended(running.process, running.limits)
    retries = 1 if moment == "retry" else 0
    check(ended, tables, Expected(retries=retries))
    assert ended.report is not None
    assert (ended.report.timeouts, ended.report.kills) == (retries, 0)


@pytest.mark.parametrize("milliseconds", range(20, 420, 40))
def test_a_signal_at_any_moment_of_the_start_ends_the_command_quietly(milliseconds: int) -> None:
    signum = signal.SIGINT if milliseconds % 80 == 20 else signal.SIGTERM
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
        assert json.loads(out)["exit_code"] == process.returncode


NOTHING_DONE = """\
stopped by SIGINT; nothing was done
to go on: run it again: it is safe; exit code 130: see `pipecopy guide exit-codes`
"""


def test_a_signal_before_anything_is_imported_is_heeded_once_it_can_be() -> None:
    strike = BEFORE_IMPORTS.format(signum="SIGINT")
    done = run_struck(strike, "copy", "host=a", "host=b", "--json")
    assert (done.returncode, done.stderr) == (
        130,
        NOTHING_DONE,
    )
    assert json.loads(done.stdout)["exit_code"] == 130


@pytest.mark.parametrize("module", ["dill.__info__", "multiprocess.context"])
def test_a_signal_while_a_package_is_imported_that_takes_any_exception(module: str) -> None:
    """It is heeded after the import."""
    strike = f"""
class Strike:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Strike())
"""
    nowhere = "host=127.0.0.1 port=1"
    done = run_struck(strike, "copy", nowhere, nowhere, "--json")
    assert (done.returncode, done.stderr) == (
        130,
        NOTHING_DONE,
    )


@pytest.mark.parametrize("module", ["cyclopts", "pipecopy.operations.copy"])
def test_a_signal_while_a_class_is_made_is_no_internal_error(module: str) -> None:
    """Python 3.11 raises a RuntimeError in the place of what is raised there."""
    strike = f"""
class Named:
    def __set_name__(self, *_):
        signal.raise_signal(signal.SIGTERM)

class Strike:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            sys.meta_path.remove(self)
            type("Made", (), {{"named": Named()}})

sys.meta_path.insert(0, Strike())
"""
    done = run_struck(strike, "copy", "host=127.0.0.1 port=1", "host=127.0.0.1 port=1")
    said = done.stderr.splitlines()
    assert done.returncode == 143
    assert said[-1].startswith("to go on: run it again: it is safe; ")
    assert said[-1].endswith("exit code 143: see `pipecopy guide exit-codes`")
    assert said[-2] in {
        "stopped by SIGTERM; nothing was done",
        "stopped by SIGTERM; nothing was copied",
    }


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

operation.Screen.__exit__ = leave
""",
    "stopped when all was copied": f"""
def copy_table(*_, observer, **__):
    {STRIKE}
    time.sleep(0.6)  # what comes sooner is the same request
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

operation.Screen.__exit__ = leave
""",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_signal_after_the_copy_ended_changes_nothing(end: str) -> None:
    done = run_stubbed(ENDS[end], "--json")
    raised = "raised" in end
    assert done.returncode == (124 if raised else 0)
    assert json.loads(done.stdout)["next_id"] == 5
    assert "stopped" not in done.stderr
    *before, last = unstamped(done.stderr)
    if raised:
        assert before[-1] == "failed: too late"
        assert last.startswith("to go on: run it again with a longer --full-copy-timeout")
    else:
        assert last.startswith("complete: 4 rows")


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
