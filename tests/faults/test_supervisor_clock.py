"""The wall clock steps by an hour, either way: no limit is shorter or longer for that."""

from __future__ import annotations

import os
import threading

import pytest

from pipecopy.contracts import Side
from pipecopy.errors import CallTimeoutError
from pipecopy.events import CallEnded, Event
from tests.faults.held import copying, gate_of
from tests.support.checks import Expected, Tables, check
from tests.support.wall_clock import stepped

STEPS_THE_CLOCK = True
HOUR = 3600

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may set the clock")


@pytest.mark.parametrize("step", [HOUR, -HOUR])
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_step_does_not_fail_a_copy(step: float, side: Side, tables: Tables) -> None:
    timed_out = threading.Event()

    def observe(event: Event) -> None:
        if isinstance(event, CallEnded) and event.outcome == "timed out":
            timed_out.set()

    with (
        gate_of(tables, side) as gate,
        copying(tables, observer=observe, call_timeout=3) as ending,
    ):
        gate.arrival()
        with stepped(step):
            # a server that is stepped forward ends the statement at its next alarm
            timed_out.wait(0.8)
        gate.lift()
        ended = ending.result()
    check(ended, tables, Expected(retries=int(timed_out.is_set())))


@pytest.mark.parametrize("step", [HOUR, -HOUR])
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_step_does_not_prolong_a_limit(step: float, side: Side, tables: Tables) -> None:
    with gate_of(tables, side) as gate, copying(tables, call_timeout=0.6) as ending:
        gate.arrival()
        with stepped(step):
            ended = ending.result()
    call = "load_rows" if side == "source" else "save_rows"
    check(ended, tables, Expected(error=CallTimeoutError, side=side, call=call, retries=1))
