"""The matrix: what happens to a server, or to a session there, in a call and between two: no retry.

What makes a call wait, and so is retried, is in test_server_locks.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import pytest

from pipecopy.contracts import Side
from pipecopy.errors import DatabaseError
from pipecopy.events import DriverOutput
from tests.faults.held import backend_of, check_held, copying, gate_of, side_of
from tests.support.checks import ROWS, Expected, Tables, check, run_copy
from tests.support.databases import TemporaryDatabase, empty_database
from tests.support.profiles import create_profiles
from tests.support.servers import PostgresServer

SIDES: tuple[Side, Side] = ("source", "target")


@pytest.fixture
def own_tables(own_source: PostgresServer, own_target: PostgresServer) -> Iterator[Tables]:
    """Give two tables on servers that may be stopped."""
    with empty_database(own_source) as source, empty_database(own_target) as target:
        create_profiles(source, ROWS)
        create_profiles(target)
        yield Tables(source=source, target=target)


def _end(database: TemporaryDatabase) -> None:
    database.query("SELECT pg_terminate_backend(%s, 5000)", [backend_of(database)])


def _cancel(database: TemporaryDatabase) -> None:
    database.query("SELECT pg_cancel_backend(%s)", [backend_of(database)])


def _restart(database: TemporaryDatabase) -> None:
    database.server.restart("immediate")


def _restart_in_order(database: TemporaryDatabase) -> None:
    database.server.restart("fast")


def _kill_backend(database: TemporaryDatabase) -> None:
    """Do what the OOM killer does to a backend: the server then ends all others, and recovers."""
    database.server.kill_backend(backend_of(database))


@dataclass(frozen=True)
class Case:
    """What happens to a server or to a session there, and what is said of it in a call."""

    fault: Callable[[TemporaryDatabase], None]
    words: tuple[str, ...] = ()
    exit_code: int | None = 75
    in_call: bool = True
    """It is tried in a call of that side as well, not only between two."""
    why: str | None = "57P01: "
    """What is said of the session that was found dead between two; None if it lives on."""


FAULTS = {
    "session ended": Case(_end, ("57P01",)),  # by an administrator
    "query cancelled": Case(_cancel, ("57014",), exit_code=None, why=None),
    "server restarted": Case(_restart, ("08006",), why=""),
    "server restarted in order": Case(_restart_in_order, in_call=False),  # it waits for the call
    "backend killed": Case(_kill_backend, why=""),  # a session opened again meets the recovery
}
CELLS = [
    pytest.param(case, held, struck, id=f"{struck}: {name} {'in' if held == struck else 'between'}")
    for name, case in FAULTS.items()
    for held, struck in product(SIDES, SIDES)
    if held != struck or case.in_call
]
"""The side whose call is under way, and the one that is struck."""


@pytest.mark.parametrize(("case", "held", "struck"), CELLS)
def test_fault(case: Case, held: Side, struck: Side, own_tables: Tables) -> None:
    with (
        gate_of(own_tables, held) as gate,
        copying(own_tables, max_retries=3, read_ahead=0) as ending,  # one side works at a time
    ):
        gate.arrival()
        case.fault(side_of(own_tables, struck))
        if struck != held:
            gate.lift()
        ended = ending.result()
    if struck != held:
        check(ended, own_tables, Expected(retries=0))
        told = [output.text for output in ended.events(DriverOutput) if output.side == struck]
        line = f"the session was found dead ({case.why}"
        assert [line in text for text in told] == [True] * (case.why is not None), told
        return
    call = "load_rows" if held == "source" else "save_rows"
    words = ("attempt 1", *case.words)
    code = case.exit_code or {"source": 3, "target": 4}[held]
    expected = Expected(
        error=DatabaseError, side=held, call=call, exit_code=code, words=words, retries=0
    )
    check(ended, own_tables, expected)
    check_held(ended)


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_server_that_is_down_is_an_error_at_once(side: Side, own_tables: Tables) -> None:
    server = side_of(own_tables, side).server
    server.stop("immediate")
    try:
        ended = run_copy(own_tables.pool(), call_timeout=10, max_retries=3)
    finally:
        server.start()
    code = {"source": 3, "target": 4}[side]
    expected = Expected(
        error=DatabaseError,
        side=side,
        call="connect",
        exit_code=code,
        words=("refused", "attempt 1"),
        retries=0,
    )
    check(ended, own_tables, expected)


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_server_that_stays_down_between_two_calls(side: Side, own_tables: Tables) -> None:
    server = side_of(own_tables, side).server
    other: Side = "target" if side == "source" else "source"
    with gate_of(own_tables, other) as gate, copying(own_tables, max_retries=3) as ending:
        gate.arrival()
        server.stop("immediate")
        gate.lift()
        ended = ending.result()
    server.start()
    words = ("refused", "08001")
    expected = Expected(error=DatabaseError, side=side, exit_code=75, words=words, retries=0)
    check(ended, own_tables, expected)
