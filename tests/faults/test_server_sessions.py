"""What an administrator does to a copy's session, in a call and between two: no retry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from pipecopy.contracts import Side
from pipecopy.errors import DatabaseError
from tests.faults.held import backend_of, check_held, copying, gate_of, side_of
from tests.support.checks import Expected, Tables, check
from tests.support.databases import TemporaryDatabase

Fault = Callable[[TemporaryDatabase, int], object]
"""Is given the database, and the process id of the copy's session there."""


def _end(database: TemporaryDatabase, backend: int) -> None:
    database.query("SELECT pg_terminate_backend(%s, 5000)", [backend])


def _cancel(database: TemporaryDatabase, backend: int) -> None:
    database.query("SELECT pg_cancel_backend(%s)", [backend])


@dataclass(frozen=True)
class Case:
    fault: Fault
    held: Side
    """The side whose call is under way."""
    struck: Side
    sqlstate: str | None
    """None: the copy completes."""


CASES = {
    "source's session ended in a load": Case(_end, "source", "source", "57P01"),
    "target's session ended in a save": Case(_end, "target", "target", "57P01"),
    "source's query cancelled in a load": Case(_cancel, "source", "source", "57014"),
    "target's query cancelled in a save": Case(_cancel, "target", "target", "57014"),
    "source's session ended between two loads": Case(_end, "target", "source", None),
    "target's session ended between two saves": Case(_end, "source", "target", None),
    "cancelled between two loads": Case(_cancel, "target", "source", None),
    "cancelled between two saves": Case(_cancel, "source", "target", None),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_by_an_administrator(case: Case, tables: Tables) -> None:
    expected = Expected(retries=0)
    if case.sqlstate is not None:
        expected = Expected(
            error=DatabaseError,
            side=case.held,
            call="load_rows" if case.held == "source" else "save_rows",
            words=(case.sqlstate, "attempt 1"),
            retries=0,
        )
    struck = side_of(tables, case.struck)
    with (
        gate_of(tables, case.held) as gate,
        copying(tables, max_retries=3, read_ahead=0) as ending,  # one side works at a time
    ):
        gate.arrival()
        case.fault(struck, backend_of(struck))
        if case.struck != case.held:
            gate.lift()
        ended = ending.result()
    check(ended, tables, expected)
    if case.sqlstate is not None:
        check_held(ended)
