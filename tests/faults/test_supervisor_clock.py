"""The wall clock steps by an hour, either way: no limit is shorter or longer for that.

All other tests wait for a step, so one strikes two copies: in a load, and in a save.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from pipecopy.contracts import Side
from pipecopy.errors import CallTimeoutError
from pipecopy.events import CallEnded, Event
from tests.faults.held import copying, gate_of
from tests.support.checks import ROWS, Ended, Expected, Tables, check
from tests.support.databases import empty_database
from tests.support.gates import Gate
from tests.support.profiles import create_profiles
from tests.support.servers import PostgresServer
from tests.support.wall_clock import stepped

STEPS_THE_CLOCK = True
HOUR = 3600
Endings = dict[Side, Future[Ended]]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may set the clock")


@pytest.fixture
def copied(
    tables: Tables, pg16: PostgresServer, pg18: PostgresServer
) -> Iterator[dict[Side, Tables]]:
    """Give the tables of a copy that is held in a load, and those of one that is in a save."""
    with empty_database(pg16) as source, empty_database(pg18) as target:
        create_profiles(source, ROWS)
        create_profiles(target)
        yield {"source": tables, "target": Tables(source=source, target=target)}


@contextlib.contextmanager
def held(copied: dict[Side, Tables], **how: Any) -> Iterator[tuple[list[Gate], Endings]]:
    """Give the gates at which the copies wait, and what they will end with."""
    with contextlib.ExitStack() as stack:
        gates = [stack.enter_context(gate_of(tables, side)) for side, tables in copied.items()]
        endings = {
            side: stack.enter_context(
                copying(tables, **{name: value[side] for name, value in how.items()})
            )
            for side, tables in copied.items()
        }
        for gate in gates:
            gate.arrival()
        yield gates, endings


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_step_does_not_fail_a_copy(step: float, copied: dict[Side, Tables]) -> None:
    timed_out: dict[Side, threading.Event] = {side: threading.Event() for side in copied}

    def observe(side: Side, event: Event) -> None:
        if isinstance(event, CallEnded) and event.outcome == "timed out":
            timed_out[side].set()

    observers = {side: functools.partial(observe, side) for side in copied}
    with held(copied, observer=observers, call_timeout=dict.fromkeys(copied, 3)) as (gates, ends):
        with stepped(step):
            # a server that is stepped forward ends the statement at its next alarm
            for ended_early in timed_out.values():
                ended_early.wait(0.5)
        for gate in gates:
            gate.lift()
        ended = {side: ending.result() for side, ending in ends.items()}
    for side, tables in copied.items():
        check(ended[side], tables, Expected(retries=int(timed_out[side].is_set())))


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_step_does_not_prolong_a_limit(step: float, copied: dict[Side, Tables]) -> None:
    with held(copied, call_timeout=dict.fromkeys(copied, 0.6)) as (_, ends), stepped(step):
        ended = {side: ending.result() for side, ending in ends.items()}
    for side, tables in copied.items():
        call = "load_rows" if side == "source" else "save_rows"
        expected = Expected(error=CallTimeoutError, side=side, call=call, retries=1)
        check(ended[side], tables, expected)
