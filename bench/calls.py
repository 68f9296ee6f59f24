"""What pipecopy adds to a call, a kill, a start and an end."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench import progress
from bench.contenders import Command, Pipecopy, start_cold
from bench.idle import IdlePool
from bench.servers import Servers, fill_small
from pipecopy import Config, ConnectionPool, copy_table
from pipecopy.events import CallEnded, CallStarted, Event, WorkerKilled

_CONFIG = Config(
    batch_size=1, max_retries=1, retries_delay=0, call_timeout=30, full_copy_timeout=300
)
_HANG_LIMIT = 0.3  # seconds
_COPIES = 20

Seen = list[tuple[float, Event]]


def idle_call(times: int, calls: int) -> dict[str, Any]:
    """Time a call that does nothing: the slope between few and many, without an observer."""
    few = calls // 10
    found = []
    for _ in range(times):
        fewer, more = (_milliseconds(partial(_idle, number)) for number in (few, few + calls))
        found.append((more - fewer) / calls)
    progress(f"a call that does nothing: {median(found):.3f} ms")
    return {"calls": calls, "milliseconds": round(median(found), 4)}


def _idle(calls: int) -> None:
    start_cold()
    copy_table(_CONFIG, IdlePool(calls), "PROD", "STATS")


def kill(times: int) -> dict[str, Any]:
    """Time a deadlocked call: from its limit until its worker is gone, then to the retry."""
    config = replace(_CONFIG, call_timeout=_HANG_LIMIT)
    gone, after = [], []
    for _ in range(times):
        with tempfile.TemporaryDirectory(prefix="pipecopy-bench-") as folder:
            seen = _observed(config, IdlePool(2, Path(folder, "hung")))
        (number,) = (n for n, (_, event) in enumerate(seen) if isinstance(event, WorkerKilled))
        when, _ = seen[number]
        gone.append(1000 * (when - max(_starts(seen[:number])) - _HANG_LIMIT))
        after.append(1000 * (next(_starts(seen[number:])) - when))
    found = {"gone": round(median(gone), 2), "next_call": round(median(after), 2)}
    progress(f"a kill, in milliseconds: {found}")
    return found


def start_and_stop(servers: Servers, times: int) -> dict[str, Any]:
    """Time what comes before the first call and after the last, and the command as a whole."""
    found = {"idle driver": _ends(IdlePool(2), times)}
    with servers.filled("ends", 1, fill_small) as databases:
        databases.empty_target()
        found["PostgreSQL"] = _ends(databases.pool, times)
        whole: dict[str, list[float]] = {"command": [], "python": [], "next_copy": []}
        for _ in range(times):  # in turn, so that a slow minute strikes all alike
            whole["command"].append(_milliseconds(partial(Command(10_000).copy, databases)))
            whole["python"].append(_milliseconds(_import_psycopg))
            copy = partial(copy_table, Pipecopy(10_000, 1).config, databases.pool, "PROD", "STATS")
            whole["next_copy"] += [_milliseconds(copy) for _ in range(_COPIES)][1:]
    medians = {name: round(median(each), 1) for name, each in whole.items()}
    progress(f"start and stop, in milliseconds: {found}; {medians}")
    return {**found, "copies": _COPIES, **medians}


def _ends(pool: ConnectionPool, times: int) -> dict[str, float]:
    starts, stops = [], []
    for _ in range(times):
        began = time.monotonic()
        seen = _observed(Pipecopy(10_000, 1).config, pool)
        ended = time.monotonic()
        starts.append(1000 * (next(_starts(seen)) - began))
        last = max(when for when, event in seen if isinstance(event, CallEnded))
        stops.append(1000 * (ended - last))
    return {"start": round(median(starts), 2), "stop": round(median(stops), 2)}


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return 1000 * (time.monotonic() - began)


def _import_psycopg() -> None:
    subprocess.run([sys.executable, "-c", "import psycopg"], check=True)


def _observed(config: Config, pool: ConnectionPool) -> Seen:
    seen: Seen = []
    start_cold()
    copy_table(
        config,
        pool,
        "PROD",
        "STATS",
        observer=lambda event: seen.append((time.monotonic(), event)),
    )
    return seen


def _starts(seen: Seen) -> Iterator[float]:
    return (when for when, event in seen if isinstance(event, CallStarted))
