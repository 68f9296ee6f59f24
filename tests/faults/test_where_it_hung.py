"""A killed call says where its driver was stuck: to the caller, the observer, and in the log."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from pipecopy.contracts import Side
from pipecopy.errors import CallTimeoutError
from pipecopy.events import CallEnded, WorkerKilled
from tests.faults.cases import SPOTS
from tests.faults.checks import (
    LIMITS,
    Expected,
    Tables,
    check,
    command_ended,
    options,
    run_copy,
)
from tests.faults.held import side_of
from tests.faults.injected import FaultyPool
from tests.support.command import start
from tests.support.drivers import CallName, Strike
from tests.support.gates import save_gate
from tests.support.proxy import Proxy

_CALLS = [(side, call) for side, call in SPOTS if call != "close"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("side", "call"), _CALLS)
def test_a_deadlock_under_the_interpreters_lock(
    side: Side, call: CallName, small_tables: Tables, tmp_path: Path
) -> None:
    strike = Strike(side=side, call=call, fault="deadlock")
    ended = run_copy(FaultyPool(small_tables.pool(), tmp_path, (strike,)), max_retries=0)
    (kill,) = ended.events(WorkerKilled)
    assert (kill.where.side, kill.where.call, kill.abandoned) == (side, call, False)
    hang = kill.hang
    assert hang.state == "sleeping"
    assert "futex" in hang.wait_channel
    assert hang.frames[0].startswith("_deadlock (drivers.py:")
    method = "connect" if call == "connect" else "_attempt"
    assert any(frame.startswith(f"{method} (injected.py:") for frame in hang.frames)
    (end,) = [e for e in ended.events(CallEnded) if e.outcome == "timed out"]
    for text in (ended.message, end.detail):
        assert re.search(
            r"killed after 0\.5 s while sleeping in _deadlock \(drivers\.py:\d+\)", text
        )
        assert f"kernel: {hang.wait_channel}" in text


@pytest.mark.timeout(60)
def test_a_call_that_works_until_shortly_before_its_limit_is_not_disturbed(
    small_tables: Tables, tmp_path: Path
) -> None:
    # looking for where it hangs, when it does not, once ended calls in a segmentation fault
    strike = Strike(side="source", call="load_rows", fault="works for 1 s")
    ended = run_copy(
        FaultyPool(small_tables.pool(), tmp_path, (strike,)),
        call_timeout=1.03,
        full_copy_timeout=50,
        max_retries=5,  # on a busy machine it may well come too late
    )
    assert ended.report is not None
    check(ended, small_tables, Expected(retries=ended.report.timeouts))


@pytest.mark.timeout(60)
def test_a_stopped_worker_is_called_so(small_tables: Tables, tmp_path: Path) -> None:
    strike = Strike(side="target", call="save_rows", fault="stopped")
    ended = run_copy(FaultyPool(small_tables.pool(), tmp_path, (strike,)), max_retries=0)
    (kill,) = ended.events(WorkerKilled)
    assert kill.hang.state == "stopped"
    assert "killed after 0.5 s while stopped" in ended.message


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("side", "call", "frame"),
    [
        ("source", "load_rows", r"copy_out \(\w+\.py:\d+\)"),
        ("target", "save_rows", r"copy_in \(\w+\.py:\d+\)"),
    ],
    ids=["source", "target"],
)
def test_the_log_of_the_command_names_the_wait_for_a_dead_network(
    side: Side, call: str, frame: str, small_tables: Tables
) -> None:
    database = side_of(small_tables, side)
    uris = {"source": small_tables.source.uri, "target": small_tables.target.uri}
    limits = replace(LIMITS, call_timeout=1.0, read_ahead=0)
    with Proxy(database.server) as proxy, save_gate(small_tables.target, 5) as gate:
        uris[side] = proxy.uri(database.name)
        process = start(["copy", uris["source"], uris["target"], *options(limits)])
        try:
            gate.arrival()  # the source's session is idle then, the target's in the first save
            with proxy.freeze():
                gate.lift()
                ended = command_ended(process, limits)
        finally:
            process.kill()
    lines = [line for line in ended.log.splitlines() if f"{call} [" in line]

    killed = next(line for line in lines if "was killed" in line)
    assert re.search(f"; it was stuck in .*{frame}", killed), killed
    timed_out = next(line for line in lines if "attempt 1 timed out" in line)
    assert re.search(r"killed after 1 s while sleeping in .*, kernel: \w+", timed_out), timed_out
    expected = Expected(
        error=CallTimeoutError, exit_code=75, side=side, call=call, words=("killed after 1 s",)
    )
    check(ended, small_tables, expected)
