"""A copy that is held in one of its calls, so that a fault strikes at a known moment."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from pipecopy import ConnectionPool, Observer
from pipecopy.contracts import Side
from tests.support.checks import Ended, Tables, run_copy
from tests.support.databases import TemporaryDatabase
from tests.support.gates import Gate, load_gate, save_gate

HELD_ROW = 25


def side_of(tables: Tables, side: Side) -> TemporaryDatabase:
    """Return one side's database."""
    return tables.source if side == "source" else tables.target


def gate_of(tables: Tables, side: Side) -> contextlib.AbstractContextManager[Gate]:
    """Hold the load, or the save, of one row."""
    return (
        load_gate(tables.source, HELD_ROW)
        if side == "source"
        else save_gate(tables.target, HELD_ROW)
    )


def backend_of(database: TemporaryDatabase) -> int:
    """Return the process id of the copy's one session."""
    (session,) = database.server.sessions("pipecopy/", dbname=database.name)
    return int(session["pid"])


def check_held(ended: Ended) -> None:
    """See that the error names the batch of the held row, and that those before it are done."""
    assert ended.key_range is not None
    assert ended.report is not None
    assert ended.key_range[0] <= HELD_ROW < ended.key_range[1]
    assert ended.report.next_id == ended.key_range[0] > 0


def second_session(database: TemporaryDatabase, *, beside: int) -> None:
    """Wait until the copy has another session on this side than that backend's."""
    until(
        lambda: any(
            session["pid"] != beside
            for session in database.server.sessions("pipecopy/", dbname=database.name)
        )
    )


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for what sends no events, such as pg_stat_activity."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.005)


@contextlib.contextmanager
def copying(
    tables: Tables,
    *,
    pool: ConnectionPool | None = None,
    observer: Observer | None = None,
    **limits: Any,
) -> Iterator[Future[Ended]]:
    """Copy in a thread of its own meanwhile; a call has 10 s unless the limits say otherwise."""
    limits = {"call_timeout": 10, **limits}
    with ThreadPoolExecutor(1, thread_name_prefix="copy") as threads:
        yield threads.submit(run_copy, pool or tables.pool(), observer=observer, **limits)
