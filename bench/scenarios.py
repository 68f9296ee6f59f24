"""Other copies than a first one by a short line: a second one, a verification, a slow line."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench import progress
from bench.contenders import Pipe, Pipecopy, start_cold
from bench.rounds import run_rounds
from bench.servers import Databases, Servers, fill_small
from pipecopy import verify_tables
from pipecopy.events import CallEnded, CallStarted, Event
from tests.support.databases import TemporaryDatabase
from tests.support.profiles import add_profiles
from tests.support.proxy import Proxy
from tests.support.servers import PostgresServer

_CONTENDER = Pipecopy(10_000, 1)
_SPARSE_SHARE = 0.1  # of the small data set's rows
_SPARSE_IDS = 10**12
_LATENCY = 0.02  # seconds, each way
_TRIP_ROWS, _TRIP_BATCH = 20_000, 1_000


def second_copy(databases: Databases, rows: int, rounds: int) -> dict[str, Any]:
    """Copy twice, in two ways: the second time at once, and after a VACUUM as the next night.

    Whoever first reads a row that was just written marks it as visible. With page checksums, the
    default since PostgreSQL 18, that mark is written to the WAL with its whole page when it is the
    first change after a checkpoint. At once, this falls to the second copy; the next night,
    autovacuum has long done it. A `SELECT count(*)` in its place shows what it comes to.
    """
    found: dict[str, list[dict[str, float]]] = {
        name: [] for name in ("first", "at once", "vacuumed", "reader")
    }
    for _ in range(rounds):
        for second in ("at once", "vacuumed"):
            databases.empty_target()
            found["first"].append(_seconds_and_wal(databases))
            if second == "vacuumed":
                databases.checkpoint()
                position = databases.wal_position
                databases.target.execute("SELECT count(*) FROM profiles")
                found["reader"].append(_wal_since(position, databases))
                databases.target.execute("VACUUM profiles")
            databases.checkpoint()
            found[second].append(_seconds_and_wal(databases))
            progress(f"second copy, {second}: {found[second][-1]}, first: {found['first'][-1]}")
    return {
        "title": _CONTENDER.title,
        "rows": rows,
        **{
            name: {figure: round(median(c[figure] for c in copies), 4) for figure in copies[0]}
            for name, copies in found.items()
        },
    }


def _seconds_and_wal(databases: Databases) -> dict[str, float]:
    position = databases.wal_position
    seconds = _seconds(lambda: _CONTENDER.copy(databases))
    return {"seconds": seconds, **_wal_since(position, databases)}


def _wal_since(position: int, databases: Databases) -> dict[str, float]:
    return {"wal_megabytes": (databases.wal_position - position) / 1e6}


def verifications(databases: Databases, rows: int, rounds: int) -> dict[str, Any]:
    """Copy, verify, change one row in the target, and verify again."""
    seconds: dict[str, list[float]] = {"copy": [], "equal": [], "one": []}
    for _ in range(rounds):
        databases.empty_target()
        seconds["copy"].append(_seconds(lambda: _CONTENDER.copy(databases)))
        databases.checkpoint()
        seconds["equal"].append(_seconds(lambda: _verify(databases, ())))
        stale = rows * 2 // 3
        databases.target.execute(f"UPDATE profiles SET data = NULL WHERE id = {stale}")
        databases.checkpoint()
        seconds["one"].append(_seconds(partial(_verify, databases, (stale,))))
        progress(f"verifications: {_last(seconds)}")
    return {
        "rows": rows,
        "title": _CONTENDER.title,
        **{name: round(median(each), 4) for name, each in seconds.items()},
    }


def _verify(databases: Databases, differing: tuple[int, ...]) -> None:
    start_cold()
    report = verify_tables(_CONTENDER.config, databases.pool, "PROD", "STATS")
    if report.differing_ids != differing or report.missing or report.surplus:
        raise AssertionError(f"the verification found something else: {report}")


def sparse_ids(servers: Servers, small_rows: int, rounds: int) -> dict[str, Any]:
    """Copy the same rows with dense ids and spread over 10**12, in turn.

    A batch holds so many rows across any gaps.
    """
    rows = max(1, int(_SPARSE_SHARE * small_rows))
    seconds: dict[str, list[float]] = {"dense": [], "sparse": []}
    for _ in range(rounds):
        for name, step in (("dense", 1), ("sparse", _SPARSE_IDS // rows)):
            with servers.filled(name, rows, partial(_fill, step)) as databases:
                seconds[name].append(_seconds(partial(_CONTENDER.copy, databases)))
        progress(f"ids that are {_last(seconds)}")
    medians = {name: median(each) for name, each in seconds.items()}
    return {"rows": rows, "ids": _SPARSE_IDS, **medians}


def _fill(step: int, table: TemporaryDatabase, rows: int) -> None:
    add_profiles(table, 1, rows + 1, step=step)


def round_trips(servers: Servers) -> dict[str, Any]:
    """Count each side's before the first load, from then to the last save, and after that."""
    with servers.filled("round_trips", _TRIP_ROWS, fill_small) as databases:
        databases.empty_target()
        found = {copy: _trips(databases) for copy in ("first", "second")}
    progress(f"round trips: {found}")
    return {"batches": _TRIP_ROWS // _TRIP_BATCH, **found}


def _trips(databases: Databases) -> dict[str, dict[str, float]]:
    """Copy through proxies that count answers, each late enough for the event before it."""
    with (
        Proxy(databases.source.server) as near,
        Proxy(databases.target.server) as far,
        near.latency(_LATENCY),
        far.latency(_LATENCY),
    ):
        seen: list[tuple[Event, tuple[int, int]]] = []
        Pipecopy(_TRIP_BATCH, 1).run(
            databases.by_ports(near.port, far.port),
            observer=lambda event: seen.append((event, (near.round_trips, far.round_trips))),
        )
        total = near.round_trips, far.round_trips
    loads, saves = (
        [trips for event, trips in seen if isinstance(event, kind) and event.where.call == call]
        for kind, call in ((CallStarted, "load_rows"), (CallEnded, "save_rows"))
    )
    return {
        side: {
            "before": before,
            "batch": round((last - before) / len(saves), 2),
            "after": end - last,
        }
        for side, before, last, end in zip(
            ("source", "target"), loads[0], saves[-1], total, strict=True
        )
    }


def through_latency(databases: Databases, rows: int, rounds: int) -> dict[str, Any]:
    """Time the binary pipe and pipecopy, by rows and by time, through proxies 20 ms away."""
    with (
        proxy_far_away(databases.source.server) as near,
        proxy_far_away(databases.target.server) as far,
    ):
        slow = databases.by_ports(near, far)
        pipecopy = Pipecopy(100_000, 1), Pipecopy(10_000, 1), Pipecopy(10_000, 1, batch_time=2)
        results = run_rounds(slow, [Pipe("binary"), *pipecopy], rows, rounds)
    return {"milliseconds": 1000 * _LATENCY, "rows": rows, "contenders": results}


@contextlib.contextmanager
def proxy_far_away(server: PostgresServer) -> Iterator[int]:
    """Run a proxy in a process of its own, as one that shared this one would slow the copy."""
    command = [sys.executable, "-m", "tests.support.proxy", server.host, str(server.port)]
    with subprocess.Popen(
        [*command, "--latency", str(_LATENCY)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
        text=True,
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise AssertionError("both are pipes")
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()  # which ends it


def _seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _last(seconds: dict[str, list[float]]) -> str:
    return ", ".join(f"{name} {each[-1]:.2f} s" for name, each in seconds.items())
