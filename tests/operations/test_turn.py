"""One run at a time writes a table: another one is refused, or waits for its end."""

from __future__ import annotations

import os
import re
import signal
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import pytest

from pipecopy import verify_tables
from pipecopy.errors import DatabaseError, FullCopyTimeoutError
from pipecopy.events import CallEnded, CallStarted, Happened, Paused, Resumed, RetryScheduled
from tests.faults.faulty import FaultyPool
from tests.faults.held import HELD_ROW, copying, until
from tests.support.checks import (
    LATE_COPY,
    LIMITS,
    Ended,
    Expected,
    Tables,
    check,
    check_outcome,
    options,
    run_copy,
)
from tests.support.command import start
from tests.support.gates import save_gate
from tests.support.strikes import Strike

HOLDER = (
    rf"pipecopy run [0-9a-f]{{12}} on host {os.uname().nodename[:6]}.*, pid {os.getpid()}, since"
)


class Waiting:
    """An observer that tells when a run waits for another one."""

    def __init__(self) -> None:
        self.began = Event()

    def __call__(self, event: Happened) -> None:
        if isinstance(event, Paused):
            self.began.set()


def test_a_copy_waits_and_looks_at_the_tables_only_then(tables: Tables) -> None:
    waiting = Waiting()
    with save_gate(tables.target, HELD_ROW) as gate, copying(tables) as first:
        gate.arrival()
        with copying(tables, observer=waiting, wait=True) as second:
            assert waiting.began.wait(10)
            until(lambda: len(tables.source.sessions()) == 1)  # one that waits keeps none on PROD
            gate.lift()
            report = first.result().report
            for database, default in ((tables.source, "'new'"), (tables.target, "NULL")):
                database.execute(f"ALTER TABLE profiles ADD COLUMN more text DEFAULT {default}")
            ended = second.result()
    assert report is not None
    check(ended, tables, Expected())
    assert tables.target.value("SELECT count(*) FROM profiles WHERE more = 'new'") == 50
    ((paused,), (resumed,)) = ended.events(Paused), ended.events(Resumed)
    assert (paused.reason, resumed.reason) == ("another run", "another run")
    assert re.match(f"waiting for target target, held by {HOLDER}", paused.detail)
    assert report.run_id in paused.detail
    assert resumed.seconds > 1


def test_a_run_that_retries_a_call_keeps_its_turn(tables: Tables, tmp_path: Path) -> None:
    """Its worker is killed: until the next attempt no session holds the table."""
    waiting, hung = Waiting(), Event()

    def see(event: Happened) -> None:
        if isinstance(event, CallStarted) and event.where.key_range == (11, 21):
            hung.set()

    strike = Strike(side="target", call="save_rows", fault="deadlock", skip=1, times=1)
    pool = FaultyPool(tables.pool(), tmp_path, (strike,))
    with copying(tables, pool=pool, observer=see, call_timeout=1, retries_delay=1) as first:
        assert hung.wait(10)
        with copying(tables, observer=waiting, wait=True, retries_delay=1) as second:
            assert waiting.began.wait(10)
    check_outcome(first.result(), Expected(retries=1))
    check(second.result(), tables, Expected())
    assert _saving(first.result())[1] < _saving(second.result())[0]


def test_the_limit_of_the_whole_copy_ends_the_wait(tables: Tables) -> None:
    with save_gate(tables.target, HELD_ROW) as gate, copying(tables) as first:
        gate.arrival()
        ended = run_copy(tables.pool(), wait=True, full_copy_timeout=1.3, call_timeout=10)
        gate.lift()
        first.result()
    assert re.search(f"waiting for target target, held by {HOLDER} ", ended.message), ended.message
    assert ended.seconds is not None
    assert 1.3 <= ended.seconds < 1.3 + LATE_COPY
    expected = Expected(error=FullCopyTimeoutError, exit_code=124)
    check_outcome(ended, expected)


def test_a_signal_ends_the_wait_at_once(tables: Tables) -> None:
    with save_gate(tables.target, HELD_ROW) as gate, copying(tables) as first:
        gate.arrival()
        process = start(["copy", tables.source.uri, tables.target.uri, "--wait", *options()])
        assert process.stderr is not None
        with process:
            for line in process.stderr:
                if re.search(f"waiting for target .*, held by {HOLDER} .* UTC$", line):
                    process.send_signal(signal.SIGTERM)
                    break
            process.stderr.read()
            assert process.wait(2) == 143
        gate.lift()
        first.result()


def test_a_verification_that_repairs_is_called_so(tables: Tables) -> None:
    with (
        save_gate(tables.target, HELD_ROW) as gate,
        ThreadPoolExecutor(1) as threads,
    ):
        limits = replace(LIMITS, call_timeout=10)
        repairing = threads.submit(
            verify_tables, limits, tables.pool(), "source", "target", repair=True
        )
        gate.arrival()
        ended = run_copy(tables.pool())
        gate.lift()
        repairing.result()
    words = f"target target: a verification that repairs is writing public.profiles: {HOLDER}"
    assert re.match(words, ended.message), ended.message
    error = ended.exception
    assert isinstance(error, DatabaseError)
    assert error.in_use
    assert error.holder is not None
    assert (error.holder.pid, error.side, ended.exit_code) == (os.getpid(), "target", 75)


@pytest.mark.parametrize("pair", range(2))
def test_of_two_at_once_one_is_refused(pair: int, tables: Tables) -> None:  # noqa: ARG001 - again
    barrier = Barrier(2)
    with save_gate(tables.target, HELD_ROW) as gate, ThreadPoolExecutor(2) as threads:
        both = [threads.submit(_at_once, barrier, tables, call_timeout=4) for _ in range(2)]
        done, _ = wait(both, return_when=FIRST_COMPLETED)
        gate.lift()
        (refused,) = (future.result() for future in done)
        (other,) = (future.result() for future in both if future not in done)
    assert re.search(f"another copy is writing public.profiles: {HOLDER}", refused.message)
    assert not refused.events(RetryScheduled)
    check(other, tables, Expected())


def test_of_two_at_once_that_wait_both_are_complete(tables: Tables) -> None:
    barrier = Barrier(2)
    with ThreadPoolExecutor(2) as threads:
        both: list[Future[Ended]] = [
            threads.submit(_at_once, barrier, tables, wait=True) for _ in range(2)
        ]
    spans = sorted(_saving(future.result()) for future in both)
    assert spans[0][1] < spans[1][0]
    for future in both:
        check(future.result(), tables, Expected())


def _at_once(barrier: Barrier, tables: Tables, **limits: Any) -> Ended:
    barrier.wait(10)
    return run_copy(tables.pool(), **limits)


def _saving(ended: Ended) -> tuple[float, float]:
    """Return when the copy wrote: from the start of its first save to the end of its last one."""
    at = [
        seen.at
        for seen in ended.seen
        if isinstance(seen.event, CallStarted | CallEnded) and seen.event.where.call == "save_rows"
    ]
    return at[0], at[-1]
