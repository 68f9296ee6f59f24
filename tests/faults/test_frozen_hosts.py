"""A host that copies a shard freezes, another one copies it, and the frozen one wakes."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from pipecopy import CopyReport, copy_shard, plan_sharded
from pipecopy.postgres import PostgresPool
from tests.faults.held import HELD_ROW, gate_of, side_of, until
from tests.support.checks import Tables
from tests.support.gates import Gate
from tests.support.runs import CONFIG

pytestmark = pytest.mark.server

_HOST = """
import pickle, sys
from pipecopy import copy_shard
if __name__ == "__main__":
    copy_shard(*pickle.load(sys.stdin.buffer), "source", "target", run=sys.argv[1], shard=0)
"""


class Host:
    """A process that copies shard 0, with all that it has started."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        main = psutil.Process(self._process.pid)
        for process in (main, *main.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def end(self) -> str:
        """Wait for its end; return what it wrote."""
        _, log = self._process.communicate(timeout=20)
        return log.decode()


@contextlib.contextmanager
def host(folder: Path, pool: PostgresPool, run: str) -> Iterator[Host]:
    script = folder / "host.py"
    script.write_text(_HOST)
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, script, run],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    ) as process:
        assert process.stdin is not None
        process.stdin.write(pickle.dumps((CONFIG, pool)))
        process.stdin.close()
        process.stdin = None
        one = Host(process)
        try:
            yield one
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.thaw()
            process.kill()


def between_two_saves(gate: Gate, tables: Tables, copying: Callable[[], CopyReport]) -> CopyReport:
    """Let the frozen host's load end with the old rows, before its session is ended."""
    backend = gate.arrival()
    gate.lift()
    state = "SELECT state = 'idle' FROM pg_stat_activity WHERE pid = %s"
    until(lambda: bool(tables.source.value(state, [backend])))
    return copying()


def in_a_copy(gate: Gate, tables: Tables, copying: Callable[[], CopyReport]) -> CopyReport:
    """Have the frozen host's COPY wait for a lock until the other host is there."""
    backend = gate.arrival()
    alive = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(copying)
        until(lambda: tables.target.value(alive, [backend]) == 0)
        gate.lift()
        return other.result()


@pytest.mark.parametrize(
    ("side", "copied_elsewhere"), [("source", between_two_saves), ("target", in_a_copy)]
)
def test_no_stale_row_is_saved_by_a_host_that_wakes(
    side: str,
    copied_elsewhere: Callable[[Gate, Tables, Callable[[], CopyReport]], CopyReport],
    tables: Tables,
    tmp_path: Path,
) -> None:
    pool = tables.pool()
    with gate_of(tables, "source" if side == "source" else "target") as gate:
        run = plan_sharded(CONFIG, pool, "source", "target", shards=2, to_id=50).run_id
        tables.target.execute(
            "UPDATE pipecopy_shards SET last = 40 WHERE shard = 0;"
            "UPDATE pipecopy_shards SET first = 41, next_id = 41 WHERE shard = 1"
        )
        with host(tmp_path, pool, run) as frozen:
            gate.arrival()
            frozen.freeze()
            name = "rows" if side == "source" else "profiles"
            tables.source.execute(f"UPDATE {name} SET data = '\"new\"' WHERE id >= {HELD_ROW - 3}")
            report = copied_elsewhere(
                gate,
                tables,
                lambda: copy_shard(CONFIG, pool, "source", "target", run=run, shard=0),
            )
            frozen.thaw()
            assert "DatabaseError" in frozen.end()
    assert side_of(tables, "target").value("SELECT max(id) FROM profiles") == 40
    stale = f"SELECT count(*) FROM profiles WHERE id >= {HELD_ROW - 3} AND data <> '\"new\"'"
    assert tables.target.value(stale) == 0
    far = 'SELECT "next_id"::int, "rows", "attempt", "state" FROM pipecopy_shards WHERE shard = 0'
    assert tables.target.query(far) == [(41, 40, 2, "done")]
    assert report.next_id == 41
    tables.target.execute("DROP TABLE pipecopy_shards")
