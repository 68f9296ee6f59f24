"""What a killed worker leaves on the server does not block the retry, nor outlives the copy."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from pipecopy.contracts import Side
from pipecopy.errors import CallTimeoutError, WorkerCrashedError
from pipecopy.events import CallStarted, DriverOutput, Event, Where
from tests.faults.faulty import FaultyPool
from tests.faults.held import copying, gate_of
from tests.faults.scripts import script_running
from tests.support.checks import Ended, Expected, Tables, check, check_nothing_left, run_copy
from tests.support.databases import TemporaryDatabase
from tests.support.gates import Gate, save_gate
from tests.support.proxy import Proxy
from tests.support.strikes import CallName, Strike

_HOLDER = "server session {} (postgres, tests, idle in transaction, since 20"


def _row_lock(target: TemporaryDatabase) -> AbstractContextManager[Gate]:
    return save_gate(target, 15)


@contextmanager
def _table_lock(target: TemporaryDatabase) -> Iterator[Gate]:
    gate = Gate(target, "BEGIN; LOCK TABLE profiles IN SHARE MODE")  # it can still be looked at
    try:
        yield gate
    finally:
        gate.lift()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("lock", "batch", "waits_on"),
    [
        (_row_lock, 1, f"Lock/transactionid for {_HOLDER}"),
        (_table_lock, 0, f"Lock/relation for {_HOLDER}"),
    ],
    ids=["row lock", "table lock"],
)
def test_a_save_that_waits_on_a_lock(
    lock: Callable[[TemporaryDatabase], AbstractContextManager[Gate]],
    batch: int,
    waits_on: str,
    tables: Tables,
    tmp_path: Path,
) -> None:
    # Without the server's own limits: one would end the statement before the worker is killed, the
    # other half a second after that.
    strike = Strike(side="target", call="save_rows", fault="no server limit", skip=batch, times=1)
    pool = FaultyPool(tables.pool(), tmp_path, (strike,))
    target = tables.target
    with (
        lock(target) as gate,
        copying(tables, pool=pool, call_timeout=1) as ending,
    ):
        holder = gate.pid
        orphan = gate.arrival()
        # The lock is still held: only the retry's session can have ended the orphan.
        _wait_until_ended(target, orphan)
        gate.lift()
        ended = ending.result()
    _check_told(ended, orphan, waits_on.format(holder))
    check(ended, tables, Expected(retries=1))


def _wait_until_ended(database: TemporaryDatabase, pid: int) -> None:
    deadline = time.monotonic() + 5
    while any(session["pid"] == pid for session in database.sessions()):
        assert time.monotonic() < deadline, f"the orphan {pid} is still there"
        time.sleep(0.02)  # pg_stat_activity sends no events


def _check_told(ended: Ended, orphan: int | None, waits_on: str) -> None:
    """See that the log has the orphan's state, what it waited on, and the age of its query."""
    (told,) = [e.text for e in ended.events(DriverOutput) if "a killed worker left" in e.text]
    if orphan is not None:
        assert f"server session {orphan} " in told
    assert "(active, its query " in told
    assert f" s old, waiting on {waits_on}" in told


@pytest.mark.timeout(60)
def test_a_save_that_waits_for_data(tables: Tables) -> None:
    target = tables.target
    with ExitStack() as stack:
        proxy = stack.enter_context(Proxy(target.server))
        stack.enter_context(proxy.latency(0.02))  # the fault so strikes in the call that begins

        def strike(event: Event) -> None:
            match event:
                case CallStarted(where=Where(call="save_rows", key_range=(11, 21), attempt=1)):
                    half = proxy.freeze("to_server", after=2000, connections=1)
                    stack.enter_context(half)

        pool = tables.pool(target=proxy.uri(target.name))
        ended = run_copy(pool, observer=strike, read_ahead=0, call_timeout=1)
    _check_told(ended, None, "Client/ClientRead")
    check(ended, tables, Expected(retries=1))


@pytest.mark.timeout(60)
def test_a_save_that_waits_for_a_standby_that_is_gone(own_tables: Tables) -> None:
    server = own_tables.target.server
    server.execute("ALTER SYSTEM SET synchronous_standby_names = 'gone'")
    server.execute("SELECT pg_reload_conf()")
    try:
        ended = run_copy(own_tables.pool(), call_timeout=1)
        held = server.sessions("pipecopy/")
    finally:
        server.execute("ALTER SYSTEM RESET synchronous_standby_names")
        server.execute("SELECT pg_reload_conf()")
    assert not held  # the next run is not told of another copy
    words = (
        "all 2 attempts",
        "; ended the server session ",
        "waiting on IPC/SyncRep for a standby that synchronous_standby_names names",
    )
    expected = Expected(
        error=CallTimeoutError, side="target", exit_code=75, words=words, retries=1, next_id=0
    )
    check(ended, own_tables, expected)


@dataclass(frozen=True)
class Cell:
    """A cell of test_worker.py's matrix in which the server matters: a session is left there."""

    side: Side
    call: CallName
    fault: str = "deadlock"
    after: bool = False

    def __str__(self) -> str:
        return f"{self.side} {self.call}: {self.fault}{', when it is done' * self.after}"


CELLS = (
    Cell("source", "connect"),
    Cell("target", "connect"),
    Cell("source", "get_max_id"),
    Cell("source", "load_rows"),
    Cell("target", "save_rows"),
    Cell("target", "save_rows", after=True),
    Cell("source", "load_rows", "uninterruptible sleep"),
    Cell("target", "save_rows", "uninterruptible sleep"),
    Cell("source", "close"),
    Cell("target", "close"),
    Cell("source", "load_rows", "SIGKILL"),
    Cell("target", "save_rows", "SIGKILL", after=True),
)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_session_that_is_left(
    cell: Cell, tables: Tables, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    abandoned = cell.fault == "uninterruptible sleep"
    frozen = request.getfixturevalue("frozen") if abandoned else None
    skip = 1 if cell.call in {"load_rows", "save_rows"} else 0
    strike = Strike(
        side=cell.side, call=cell.call, fault=cell.fault, skip=skip, times=1, after=cell.after
    )
    ended = run_copy(FaultyPool(tables.pool(), tmp_path, (strike,)), call_timeout=1)
    if frozen is not None:
        frozen.thaw()
    expected = Expected(retries=1, warnings=int(abandoned))
    if cell.call == "close":
        expected = Expected(retries=0, warnings=1)
    elif cell.fault == "SIGKILL":
        expected = Expected(
            error=WorkerCrashedError,
            side=cell.side,
            call=cell.call,
            key_range=(11, 51 if cell.side == "source" else 21),
            words=("SIGKILL", "attempt 1"),
            retries=0,
        )
    check(ended, tables, expected)


STUCK: list[tuple[Side, CallName, str]] = [
    ("target", "save_rows", "deadlock, signals masked"),
    ("source", "load_rows", "deadlock, signals masked"),
    ("target", "save_rows", "stopped"),
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("side", "call", "fault"), STUCK)
def test_a_killed_supervisor_leaves_nothing(
    side: Side, call: CallName, fault: str, tables: Tables, tmp_path: Path
) -> None:
    strike = Strike(side=side, call=call, fault=fault, skip=1)
    pool = FaultyPool(tables.pool(), tmp_path, (strike,))
    with script_running(tmp_path, pool, call_timeout=30) as supervisor:
        deadline = time.monotonic() + 20
        while len(pool.recorder.attempts(side=side, call=call)) < 2:
            assert supervisor.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)  # the record is a file
        family = psutil.Process(supervisor.pid).children(recursive=True)
        assert len(family) == 3
        os.kill(supervisor.pid, signal.SIGKILL)
        killed = time.monotonic()
        _, alive = psutil.wait_procs(family, timeout=1)
        assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
        supervisor.wait(5)
    check_nothing_left(since=killed)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("side", ["source", "target"])
def test_an_idle_worker_that_is_killed_is_an_error_and_no_retry(
    side: Side, tables: Tables, tmp_path: Path
) -> None:
    pool = FaultyPool(tables.pool(), tmp_path)
    with (
        gate_of(tables, "target" if side == "source" else "source") as gate,
        copying(tables, pool=pool, read_ahead=0) as ending,
    ):
        gate.arrival()
        os.kill(pool.recorder.attempts(side=side)[-1].pid, signal.SIGKILL)
        gate.lift()
        ended = ending.result()
    expected = Expected(
        error=WorkerCrashedError,
        exit_code={"source": 3, "target": 4}[side],
        side=side,
        words=("SIGKILL", "attempt 1"),
        retries=0,
    )
    check(ended, tables, expected)
