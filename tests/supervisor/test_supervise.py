"""Where a copy can be run, and what can happen to the process that runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pipecopy import Row
from pipecopy.errors import ConfigError, DatabaseError
from pipecopy.events import CallStarted, Event
from tests.support.drivers import RecordingDatabase, RecordingPool
from tests.support.runs import copy
from tests.support.scripts import run_script
from tests.support.strikes import Strike

ROOT = str(Path(__file__).parents[2])


def test_in_a_daemonic_process(sqlite_pool: RecordingPool, tmp_path: Path) -> None:
    # As Celery and Dask run their tasks: multiprocessing itself allows such a process no children.
    sqlite_pool.create(range(25))
    ended = run_script(
        tmp_path,
        """
        import multiprocessing
        from pathlib import Path
        from tests.support.runs import copy
        from tests.support.drivers import RecordingPool

        if __name__ == "__main__":
            process = multiprocessing.Process(
                target=copy, args=(RecordingPool(Path.cwd()),), daemon=True
            )
            process.start()
            process.join()
            raise SystemExit(process.exitcode)
        """,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert sqlite_pool.rows("target") == sqlite_pool.rows("source")


def test_several_at_once_in_threads(tmp_path: Path) -> None:
    pools = []
    for number in range(3):
        (folder := tmp_path / str(number)).mkdir()
        pools.append(RecordingPool(folder))
        pools[-1].create(range(number, 100))
    threads = [threading.Thread(target=copy, args=(pool,)) for pool in pools]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for pool in pools:
        assert pool.rows("target") == pool.rows("source")


def test_from_an_interactive_session(sqlite_pool: RecordingPool, tmp_path: Path) -> None:
    sqlite_pool.create(range(25))
    lines = (
        "from pipecopy import *; from tests.support.drivers import RecordingPool;"
        " from pathlib import Path;"
        " copy_table(Config(batch_size=10, max_retries=0, retries_delay=0, call_timeout=10,"
        f" full_copy_timeout=30), RecordingPool(Path({str(tmp_path)!r})), 'source', 'target')"
    )
    subprocess.run([sys.executable, "-c", lines], check=True, timeout=60)
    assert sqlite_pool.rows("target") == sqlite_pool.rows("source")


def test_an_exception_in_the_calling_thread_stops_the_copy(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create(range(25))
    strike = Strike(side="target", call="save_rows", fault="deadlock")
    struck: list[float] = []

    def interrupt(event: Event) -> None:
        if isinstance(event, CallStarted) and event.where.call == "save_rows":
            struck.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt) as raised:
            copy(replace(sqlite_pool, strikes=(strike,)), observer=interrupt)
        assert time.monotonic() - struck[0] <= 0.5
    finally:
        signal.signal(signal.SIGALRM, before)
    assert getattr(raised.value, "report").outcome == "stopped"  # noqa: B009 - none declares it
    (closed,) = sqlite_pool.recorder.attempts(call="close")
    assert closed.side == "source"


def test_no_signal_handler_is_installed(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create(range(25))
    numbers = sorted(signal.valid_signals())
    before = [signal.getsignal(number) for number in numbers]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    copy(sqlite_pool, observer=lambda _: None)
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask


def test_a_pool_that_cannot_travel_is_refused(sqlite_pool: RecordingPool) -> None:
    class WithALock:
        def __init__(self) -> None:
            self.never = (n for n in range(3))  # a generator can't be pickled

        connect = sqlite_pool.connect

    with pytest.raises(ConfigError, match="can't be pickled"):
        copy(WithALock())


def test_a_row_that_cannot_travel_is_an_error(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create(range(25))
    with pytest.raises(DatabaseError) as caught:
        copy(_PoolOfGenerators(sqlite_pool))
    assert (caught.value.side, caught.value.call) == ("source", "load_rows")
    assert sqlite_pool.rows("target") == []


class _PoolOfGenerators:
    def __init__(self, pool: RecordingPool) -> None:
        self._pool = pool

    def connect(self, dbname: str) -> _Generators:
        return _Generators(self._pool, dbname)


class _Generators(RecordingDatabase):
    def load_rows(self, min_id: int, max_id: int) -> Sequence[Row]:
        return [[min_id, (n for n in range(max_id))]]
