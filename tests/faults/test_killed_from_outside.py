"""A worker that somebody else kills, as the OOM killer does: an error at once, never a retry."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from pipecopy.contracts import Side
from pipecopy.errors import WorkerCrashedError
from tests.faults.cases import SECOND_BATCH, SPOTS
from tests.faults.checks import Expected, Tables, check
from tests.faults.held import copying, gate_of
from tests.faults.injected import FaultyPool
from tests.support.drivers import CallName, Strike

_EXIT: dict[Side, int] = {"source": 3, "target": 4}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("side", "call"), SPOTS)
def test_in_a_call(side: Side, call: CallName, small_tables: Tables, tmp_path: Path) -> None:
    in_batch = call in {"load_rows", "save_rows"}
    skip = 1 if in_batch else 0
    strike = Strike(side=side, call=call, fault="sleep in C", skip=skip)
    pool = FaultyPool(small_tables.pool(), tmp_path, (strike,))
    with copying(small_tables, pool=pool) as ending:
        os.kill(_worker_in(pool, side, call, attempt=skip + 1), signal.SIGKILL)
        ended = ending.result()
    expected = Expected(
        error=WorkerCrashedError,
        exit_code=_EXIT[side],
        side=side,
        call=call,
        key_range=SECOND_BATCH.get(call),
        words=("SIGKILL", "attempt 1"),
        retries=0,
    )
    check(ended, small_tables, Expected(retries=0, warnings=1) if call == "close" else expected)


def _worker_in(pool: FaultyPool, side: Side, call: CallName, attempt: int) -> int:
    """Wait until the worker is in the call; return its process id."""
    deadline = time.monotonic() + 20
    while len(attempts := pool.recorder.attempts(side=side, call=call)) < attempt:
        assert time.monotonic() < deadline
        time.sleep(0.01)  # the record is a file
    return attempts[-1].pid


@pytest.mark.timeout(60)
@pytest.mark.parametrize("side", ["source", "target"])
def test_while_idle(side: Side, small_tables: Tables, tmp_path: Path) -> None:
    pool = FaultyPool(small_tables.pool(), tmp_path)
    with (
        gate_of(small_tables, "target" if side == "source" else "source") as gate,
        copying(small_tables, pool=pool, read_ahead=0) as ending,
    ):
        gate.arrival()
        os.kill(pool.recorder.attempts(side=side)[-1].pid, signal.SIGKILL)
        gate.lift()
        ended = ending.result()
    expected = Expected(
        error=WorkerCrashedError,
        exit_code=_EXIT[side],
        side=side,
        words=("SIGKILL", "attempt 1"),
        retries=0,
    )
    check(ended, small_tables, expected)
