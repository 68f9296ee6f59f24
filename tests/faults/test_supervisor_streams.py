"""Output that nobody takes, while a save is stuck: the exit code and the limits are as ever."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults.checks import (
    LIMITS,
    Tables,
    check_next_id,
    check_nothing_left,
    check_second_run,
    options,
)
from tests.faults.held import gate_of
from tests.support.command import full_pipe_end, start

Streams = Callable[[], contextlib.AbstractContextManager[dict[str, Any]]]
TOLD = 0.5
"""Seconds that the command gives each of two streams that takes nothing, and a little."""


@contextlib.contextmanager
def _full_pipes() -> Iterator[dict[str, Any]]:
    with full_pipe_end() as stuck:
        yield {"stdout": stuck, "stderr": stuck}


@contextlib.contextmanager
def _full_disk() -> Iterator[dict[str, Any]]:
    with Path("/dev/full").open("wb") as full:
        yield {"stdout": full, "stderr": full}


@contextlib.contextmanager
def _broken_pipes() -> Iterator[dict[str, Any]]:
    read, write = os.pipe()
    os.close(read)
    try:
        yield {"stdout": write, "stderr": write}
    finally:
        os.close(write)


@contextlib.contextmanager
def _closed() -> Iterator[dict[str, Any]]:
    yield {"by": ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]}


STREAMS: dict[str, Streams] = {
    "full pipes": _full_pipes,
    "a full disk": _full_disk,
    "pipes without a reader": _broken_pipes,
    "closed": _closed,
}


@pytest.mark.parametrize("streams", STREAMS.values(), ids=STREAMS)
def test_a_stop(streams: Streams, tables: Tables) -> None:
    arguments = ["copy", tables.source.uri, tables.target.uri]
    said = options(replace(LIMITS, call_timeout=10))
    with (
        gate_of(tables, "target") as gate,
        streams() as how,
        start([*arguments, *said], **how) as process,
    ):
        gate.arrival()
        process.send_signal(signal.SIGTERM)
        sent = time.monotonic()
        assert process.wait(10) == 128 + signal.SIGTERM
        ended = time.monotonic()
        assert ended - sent <= 1.5 + TOLD
    _check_the_rest(tables, since=ended)


CALL_LIMIT = {"call_timeout": 0.5}, 75
COPY_LIMIT = {"call_timeout": 10, "full_copy_timeout": 3}, 124


@pytest.mark.parametrize(
    ("streams", "limits", "code"),
    [
        (_full_pipes, *CALL_LIMIT),
        (_full_pipes, *COPY_LIMIT),
        (_full_disk, *CALL_LIMIT),
        (_broken_pipes, *COPY_LIMIT),
        (_closed, *CALL_LIMIT),
    ],
)
def test_a_timeout(streams: Streams, limits: dict[str, Any], code: int, tables: Tables) -> None:
    config = replace(LIMITS, **limits)
    arguments = ["copy", tables.source.uri, tables.target.uri, *options(config)]
    with (
        gate_of(tables, "target") as gate,
        streams() as how,
        start(arguments, **how) as process,
    ):
        gate.arrival()
        arrived = time.monotonic()
        assert process.wait(20) == code
        ended = time.monotonic()
        at_most = config.full_copy_timeout if code == 124 else 2 * 0.5 + config.retries_delay
        assert ended - arrived <= at_most + 0.25 + TOLD
    _check_the_rest(tables, since=ended)


def _check_the_rest(tables: Tables, *, since: float) -> None:
    check_next_id(None, tables)
    check_nothing_left(since=since)
    check_second_run(tables)
