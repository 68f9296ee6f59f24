"""What is waited for until the call's limit, and retried: locks, and what stands still."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from pipecopy.contracts import Side
from pipecopy.errors import CallTimeoutError
from pipecopy.events import Event, RetryScheduled
from tests.faults.held import backend_of, copying, gate_of, second_session, side_of
from tests.support.checks import Expected, Tables, check, run_copy
from tests.support.gates import Gate, finish_gate, table_gate

Lock = Callable[[Tables], contextlib.AbstractContextManager[Gate]]


@dataclass(frozen=True)
class Case:
    lock: Lock
    side: Side
    call: str
    read_ahead: int = 1
    holder: str = ""
    """What the error says of the session that has the lock."""


_HOLDER = r"server session {0} \(postgres, tests, idle in transaction, since 20[^)]*Z\)"
_END = r"; wait for .*, or end it there: SELECT pg_terminate_backend\({0}\);$"
LOCKS = {
    "on the source's table": Case(
        lambda t: table_gate(t.source),
        "source",
        "describe",
        holder=f"; {_HOLDER} had locked the table{_END}",
    ),
    "on the target's table": Case(
        lambda t: table_gate(t.target),
        "target",
        "describe",
        holder=f"; {_HOLDER} had locked the table{_END}",
    ),
    "on a row of the target": Case(
        lambda t: gate_of(t, "target"),
        "target",
        "save_rows",
        holder=f"; rows of the table may be locked by {_HOLDER}{_END}",
    ),
    "in the source's query": Case(lambda t: gate_of(t, "source"), "source", "load_rows", 0),
}


@pytest.mark.parametrize("case", LOCKS.values(), ids=LOCKS)
def test_a_lock_that_stays_is_a_timeout(case: Case, tables: Tables) -> None:
    with case.lock(tables) as gate:
        ended = run_copy(tables.pool(), call_timeout=0.5)
    assert re.search(case.holder.format(gate.pid), ended.message), ended.message
    error = Expected(
        error=CallTimeoutError, side=case.side, call=case.call, exit_code=75, retries=1
    )
    check(ended, tables, error)


@pytest.mark.parametrize("case", LOCKS.values(), ids=LOCKS)
def test_a_lock_that_is_given_back_is_survived(case: Case, tables: Tables) -> None:
    with case.lock(tables) as gate:
        ended = run_copy(
            tables.pool(),
            observer=at_a_retry(gate.lift),
            call_timeout=0.5,
            read_ahead=case.read_ahead,
        )
    check(ended, tables, Expected(retries=1))


def test_a_lock_on_the_sequence_is_a_warning(tables: Tables) -> None:
    with finish_gate(tables.target):
        ended = run_copy(tables.pool(), call_timeout=0.5)
    check(ended, tables, Expected(retries=1, warnings=1))
    assert ended.report is not None
    assert "finish" in ended.report.warnings[0]


def at_a_retry(act: Callable[[], Any]) -> Callable[[Event], None]:
    """Return an observer that acts when a call has timed out."""

    def observe(event: Event) -> None:
        if isinstance(event, RetryScheduled):
            act()

    return observe


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_backend_that_stands_still(side: Side, tables: Tables) -> None:
    database = side_of(tables, side)
    with gate_of(tables, side) as gate, copying(tables, call_timeout=1) as ending:
        gate.arrival()
        database.server.pause(backend_of(database))
        gate.lift()
        ended = ending.result()
        database.server.resume()
    call = "load_rows" if side == "source" else "save_rows"
    words = ("server session", "does not end")
    expected = Expected(error=CallTimeoutError, side=side, call=call, retries=1, words=words)
    check(ended, tables, expected)


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_backend_that_stands_still_until_the_retry_ends_it(side: Side, tables: Tables) -> None:
    database = side_of(tables, side)
    with gate_of(tables, side) as gate, copying(tables, call_timeout=1) as ending:
        gate.arrival()
        stopped = backend_of(database)
        database.server.pause(stopped)
        gate.lift()
        second_session(database, beside=stopped)
        database.server.resume()
        ended = ending.result()
    check(ended, tables, Expected(retries=1))


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_postmaster_that_stands_still_from_the_start(side: Side, tables: Tables) -> None:
    server = side_of(tables, side).server
    server.pause()
    try:
        ended = run_copy(tables.pool(), call_timeout=0.5)
    finally:
        server.resume()
    check(ended, tables, Expected(error=CallTimeoutError, side=side, call="connect", retries=1))


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_postmaster_that_goes_on_at_the_retry(side: Side, tables: Tables) -> None:
    server = side_of(tables, side).server
    server.pause()
    try:
        ended = run_copy(tables.pool(), call_timeout=1, observer=at_a_retry(server.resume))
    finally:
        server.resume()
    check(ended, tables, Expected(retries=1))


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_postmaster_that_stands_still_does_not_hurt_a_copy_under_way(
    side: Side, tables: Tables
) -> None:
    server = side_of(tables, side).server
    with gate_of(tables, side) as gate, copying(tables) as ending:
        gate.arrival()
        server.pause()
        try:
            gate.lift()
            ended = ending.result()
        finally:
            server.resume()
    check(ended, tables, Expected(retries=0))
