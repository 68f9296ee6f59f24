"""A server that goes down at once and comes up again, in a call and between two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from pipecopy.contracts import Side
from pipecopy.errors import DatabaseError
from tests.faults.held import backend_of, check_held, copying, gate_of, side_of
from tests.support.checks import ROWS, Expected, Tables, check, run_copy
from tests.support.databases import TemporaryDatabase, empty_database
from tests.support.profiles import create_profiles
from tests.support.servers import PostgresServer


@pytest.fixture
def own_tables(own_source: PostgresServer, own_target: PostgresServer) -> Iterator[Tables]:
    """Give two tables on servers that may be stopped."""
    with empty_database(own_source) as source, empty_database(own_target) as target:
        create_profiles(source, ROWS)
        create_profiles(target)
        yield Tables(source=source, target=target)


def _restart(database: TemporaryDatabase) -> None:
    database.server.restart("immediate")


def _restart_in_order(database: TemporaryDatabase) -> None:
    database.server.restart("fast")


def _kill_backend(database: TemporaryDatabase) -> None:
    """Do what the OOM killer does to a backend: the server then ends all others, and recovers."""
    database.server.kill_backend(backend_of(database))


@dataclass(frozen=True)
class Case:
    fault: Callable[[TemporaryDatabase], None]
    held: Side
    """The side whose call is under way."""
    struck: Side


CASES = {
    "source restarted in a load": Case(_restart, "source", "source"),
    "target restarted in a save": Case(_restart, "target", "target"),
    "source restarted between two loads": Case(_restart, "target", "source"),
    "target restarted between two saves": Case(_restart, "source", "target"),
    "source restarted in order between two loads": Case(_restart_in_order, "target", "source"),
    "target restarted in order between two saves": Case(_restart_in_order, "source", "target"),
    "source's backend killed in a load": Case(_kill_backend, "source", "source"),
    "target's backend killed in a save": Case(_kill_backend, "target", "target"),
    "source's backend killed between two loads": Case(_kill_backend, "target", "source"),
    "target's backend killed between two saves": Case(_kill_backend, "source", "target"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_crash(case: Case, own_tables: Tables) -> None:
    with (
        gate_of(own_tables, case.held) as gate,
        copying(own_tables, max_retries=3, read_ahead=0) as ending,  # one side works at a time
    ):
        gate.arrival()
        case.fault(side_of(own_tables, case.struck))
        if case.struck != case.held:
            gate.lift()
        ended = ending.result()
    if case.struck != case.held:
        check(ended, own_tables, Expected(retries=0))
        return
    call = "load_rows" if case.held == "source" else "save_rows"
    words = ("attempt 1",)
    expected = Expected(error=DatabaseError, side=case.held, call=call, words=words, retries=0)
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
    words = ("refused", "attempt 1")
    expected = Expected(error=DatabaseError, side=side, call="connect", words=words, retries=0)
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
    expected = Expected(error=DatabaseError, side=side, words=("refused",), retries=0)
    check(ended, own_tables, expected)
