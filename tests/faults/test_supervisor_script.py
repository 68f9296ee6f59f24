"""Signals to a user's own script, which has no handlers: what it started goes with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import psutil
import pytest

from tests.cli.moments import is_alive
from tests.faults.held import gate_of
from tests.support.checks import Tables, check_next_id, check_nothing_left, check_second_run
from tests.support.drivers import RecordingPool
from tests.support.leftovers import left_of_copies

ROOT = Path(__file__).parents[2]
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]
WORKERS_GONE = 1.0
SESSIONS_GONE = 3.0


def _start(folder: Path, pool: str) -> subprocess.Popen[str]:
    script = folder / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from pipecopy.postgres import PostgresPool\n"
        "from tests.support.runs import copy\n"
        "from tests.support.drivers import RecordingPool\n"
        "from tests.support.strikes import Strike\n"
        "if __name__ == '__main__':\n"
        f"    copy({pool})\n"
    )
    return subprocess.Popen(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )


def _strike(
    process: subprocess.Popen[str], signum: signal.Signals, to: Literal["it", "its group"]
) -> float:
    """Send the signal; see that the script and its workers are gone in time; return when."""
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 2, "there are no workers"
    if to == "it":
        process.send_signal(signum)
    else:
        os.killpg(process.pid, signum)
    sent = time.monotonic()
    # an interrupted copy closes what is not stuck
    patience = 1.5 if signum == signal.SIGINT else WORKERS_GONE
    while any(is_alive(worker) for worker in family):
        assert time.monotonic() - sent <= patience, family
        time.sleep(0.01)  # /proc sends no events
    _, err = process.communicate(timeout=10)
    assert process.returncode == -signum
    assert ("KeyboardInterrupt" in err) == (signum == signal.SIGINT)
    return sent


@pytest.mark.parametrize(
    ("signum", "to"), [*((signum, "it") for signum in SIGNALS), (signal.SIGTERM, "its group")]
)
def test_in_a_save(
    signum: signal.Signals, to: Literal["it", "its group"], tables: Tables, tmp_path: Path
) -> None:
    uris = {"source": tables.source.uri, "target": tables.target.uri}
    with (
        gate_of(tables, "target") as gate,
        _start(tmp_path, f"PostgresPool({uris})") as process,
    ):
        gate.arrival()
        sent = _strike(process, signum, to)
        check_nothing_left(since=sent, patience=SESSIONS_GONE)
    check_next_id(None, tables)
    check_second_run(tables)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_while_closing(signum: signal.Signals, tmp_path: Path) -> None:
    pool = RecordingPool(tmp_path)
    pool.create(range(25))
    strike = "Strike(side='source', call='close', fault='deadlock, signals masked')"
    with _start(tmp_path, f"RecordingPool(Path({str(tmp_path)!r}), ({strike},))") as process:
        deadline = time.monotonic() + 20
        while not pool.recorder.attempts(side="source", call="close"):
            assert time.monotonic() < deadline
            time.sleep(0.01)  # the record is a file
        _strike(process, signum, "it")
    assert not left_of_copies()
    assert pool.rows("target") == pool.rows("source")
