"""The matrix: what strikes between a worker and its server, on either side."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest

from pipecopy.contracts import Side
from pipecopy.errors import CallTimeoutError, DatabaseError
from pipecopy.events import CallStarted, Event, RetryScheduled
from tests.faults.held import copying, gate_of, side_of
from tests.support.checks import (
    LIMITS,
    ROWS,
    Ended,
    Expected,
    Tables,
    check,
    command_ended,
    options,
    run_copy,
)
from tests.support.command import start
from tests.support.gates import save_gate
from tests.support.logged import parsed
from tests.support.proxy import Proxy

_LATENCY = 0.02
"""Seconds each way: a fault that the start of a call brings about strikes in that call."""
_KILOBYTE = 1000
_HALF_A_BATCH = 2000
"""Bytes, of about 4000."""

Fault = Callable[[Proxy], AbstractContextManager[Any]]
Since = Literal["start", "third batch"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One cell of the matrix."""

    side: Side
    name: str
    fault: Fault
    since: Since
    until_retry: bool
    """It is lifted when a retry is scheduled; else when the copy has ended."""
    expected: Expected

    def __str__(self) -> str:
        often = "once" if self.until_retry else "always"
        return f"{self.side}: {self.name} since {self.since}, {often}"

    @property
    def call(self) -> str:
        """The call that moves a batch."""
        return "load_rows" if self.side == "source" else "save_rows"


_EXIT: dict[Side, int] = {"source": 3, "target": 4}
_BATCH: dict[Side, str] = {"source": "load_rows", "target": "save_rows"}
_DATA: dict[Side, Literal["to_client", "to_server"]] = {
    "source": "to_client",
    "target": "to_server",
}
_THIRD: dict[Side, tuple[int, int]] = {"source": (21, ROWS + 1), "target": (21, 31)}
"""What the call that moves the third batch is about."""
_SLOW = "1 KB/s"
_FREEZES: dict[str, Fault] = {
    "nothing to the server": lambda proxy: proxy.freeze("to_server"),
    "nothing to the client": lambda proxy: proxy.freeze("to_client"),
    "nothing at all": lambda proxy: proxy.freeze("both"),
    _SLOW: lambda proxy: proxy.throttle(_KILOBYTE),
}


def _timed_out(side: Side, since: Since, *, until_retry: bool) -> Expected:
    if until_retry:
        return Expected(retries=1)
    in_batch = since == "third batch"
    return Expected(
        error=CallTimeoutError,
        exit_code=75,
        side=side,
        call=_BATCH[side] if in_batch else "connect",
        key_range=_THIRD[side] if in_batch else None,
        words=("all 2 attempts",),
        next_id=21 if in_batch else 0,
        # the session of a save that was cut off in the middle can't be told to end
        warnings=None,
    )


def _broken(side: Side, call: str) -> Expected:
    in_batch = call in _BATCH.values()
    return Expected(
        error=DatabaseError,
        exit_code=75 if in_batch else _EXIT[side],  # an established session passes, the first not
        side=side,
        call=call,
        key_range=_THIRD[side] if in_batch else None,
        words=("(08006)",) if in_batch else (),
    )


def _half(side: Side, action: str) -> Fault:
    """Strike once half a batch has passed."""
    return lambda proxy: getattr(proxy, action)(_DATA[side], after=_HALF_A_BATCH, connections=1)


def _while_connecting(action: str, direction: str) -> Fault:
    return lambda proxy: getattr(proxy, action)(direction, after=50)


def _cases_of(side: Side) -> list[Case]:
    def case(name: str, fault: Fault, since: Since, expected: Expected, *, once: bool) -> Case:
        return Case(
            side=side, name=name, fault=fault, since=since, until_retry=once, expected=expected
        )

    cases = []
    for once in (True, False):
        expected = _timed_out(side, "start", until_retry=once)
        cases.append(case("no answer", lambda p: p.deaf(), "start", expected, once=once))
        for name, fault in _FREEZES.items():
            since_when: tuple[Since, ...] = ("third batch",)
            if name == _SLOW:  # the others would be no answer again
                since_when = ("start", "third batch")
            for since in since_when:
                expected = _timed_out(side, since, until_retry=once)
                cases.append(case(name, fault, since, expected, once=once))
    cases.append(
        case(
            "a half batch, then nothing",
            _half(side, "freeze"),
            "third batch",
            _timed_out(side, "third batch", until_retry=True),
            once=True,
        )
    )
    for action in ("reset", "cut"):
        cases.append(
            case(
                f"{action} after half a batch",
                _half(side, action),
                "third batch",
                _broken(side, _BATCH[side]),
                once=False,
            )
        )
        cases += [
            case(
                f"{action} after 50 bytes {direction}",
                _while_connecting(action, direction),
                "start",
                _broken(side, "connect"),
                once=False,
            )
            for direction in ("to_server", "to_client")
        ]
    return cases


CASES = [*_cases_of("source"), *_cases_of("target")]


class _Switch:
    """An observer that brings the fault about, and lifts it."""

    def __init__(self, case: Case, proxy: Proxy) -> None:
        self._case = case
        self._proxy = proxy
        self._stack = ExitStack()
        self._batches = 0
        if case.since == "start":
            self._begin()

    def _begin(self) -> None:
        self._stack.enter_context(self._case.fault(self._proxy))

    def lift(self) -> None:
        self._stack.close()

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, CallStarted) and event.where.call == self._case.call:
            self._batches += 1
            if self._batches == 3 and self._case.since == "third batch":
                self._begin()
        if isinstance(event, RetryScheduled) and self._case.until_retry:
            self.lift()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_fault(case: Case, tables: Tables) -> None:
    ended = _copy_through_proxy(case, tables)
    check(ended, tables, case.expected)


def _copy_through_proxy(case: Case, tables: Tables) -> Ended:
    database = side_of(tables, case.side)
    with Proxy(database.server) as proxy, proxy.latency(_LATENCY):
        switch = _Switch(case, proxy)
        try:
            pool = tables.pool(**{case.side: proxy.uri(database.name)})
            # lockstep: what was saved before the third batch is so known
            return run_copy(pool, observer=switch, read_ahead=0)
        finally:
            switch.lift()


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("action", ["reset", "cut"])
def test_a_connection_that_breaks_between_two_calls_is_opened_again(
    side: Side, action: str, tables: Tables
) -> None:
    database = side_of(tables, side)
    with (
        Proxy(database.server) as proxy,
        # while the other side's call is under way this side's connection is idle
        gate_of(tables, "target" if side == "source" else "source") as gate,
        copying(
            tables,
            pool=tables.pool(**{side: proxy.uri(database.name)}),
            read_ahead=0,
        ) as ending,
    ):
        gate.arrival()
        with getattr(proxy, action)() as fault:
            assert fault.struck.wait(5)
        gate.lift()
        ended = ending.result()
    check(ended, tables, Expected(retries=0))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("side", "call", "frame", "log_format"),
    [
        ("source", "load_rows", r"copy_out \(\w+\.py:\d+\)", "text"),
        ("target", "save_rows", r"copy_in \(\w+\.py:\d+\)", "json"),
    ],
    ids=["source", "target"],
)
def test_the_log_of_the_command_names_the_wait_for_a_dead_network(
    side: Side, call: str, frame: str, log_format: str, tables: Tables
) -> None:
    database = side_of(tables, side)
    uris = {"source": tables.source.uri, "target": tables.target.uri}
    limits = replace(LIMITS, call_timeout=1.0, read_ahead=0)
    with Proxy(database.server) as proxy, save_gate(tables.target, 5) as gate:
        uris[side] = proxy.uri(database.name)
        shown = ["--log-format", log_format]
        process = start(["copy", uris["source"], uris["target"], *options(limits), *shown])
        try:
            gate.arrival()  # the source's session is idle then, the target's in the first save
            with proxy.freeze():
                gate.lift()
                ended = command_ended(process, limits)
        finally:
            process.kill()
    said = ended.log.splitlines()
    if log_format == "json":
        objects = parsed(ended.log)
        said = [each["message"] for each in objects]
        killed_first, *_ = [each for each in objects if each["event"] == "worker_killed"]
        assert (killed_first["side"], killed_first["attempt"]) == (side, 1)
        assert killed_first["seconds"] == pytest.approx(1, abs=0.5)
        assert re.search("copy_in", killed_first["stack"])
    lines = [line for line in said if f": {call} " in line]

    killed = next(line for line in lines if "was killed" in line)
    assert re.search(rf"; it was sleeping, stuck in .*{frame}.*, kernel: \S+$", killed), killed
    # the reason stands in the line before: each is told once
    assert any(re.search(r": attempt 1 timed out; retrying in 100 ms$", line) for line in lines)
    expected = Expected(
        error=CallTimeoutError, exit_code=75, side=side, call=call, words=("killed after 1 s",)
    )
    check(ended, tables, expected)
