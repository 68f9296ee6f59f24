"""A statement strikes a copy of `alt` at a random moment, from a session of its own."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random

import psycopg

from pipecopy.contracts import Side
from pipecopy.events import CallStarted, Event
from tests.faults.alt import (
    BATCH,
    check_changed,
    check_claim,
    check_complete,
    make,
    pool_of,
    rows_in,
)
from tests.faults.held import side_of
from tests.support.checks import Tables, run_copy

STATEMENTS: dict[str, tuple[Side, str]] = {
    "rewritten": ("source", "ALTER TABLE alt ADD u uuid DEFAULT gen_random_uuid()"),
    "refilled": ("source", "TRUNCATE alt; INSERT INTO alt SELECT * FROM alt_new"),
    "int to real": ("source", "ALTER TABLE alt ALTER a TYPE real"),
    "bigint to float8": ("source", "ALTER TABLE alt ALTER c TYPE float8"),
    "another column of that name": (
        "source",
        "ALTER TABLE alt DROP a; ALTER TABLE alt ADD a real DEFAULT 1",
    ),
    "int to bigint": ("source", "ALTER TABLE alt ALTER a TYPE bigint"),
    "the target's to float8": ("target", "ALTER TABLE alt ALTER c TYPE float8"),
    "the target exchanged": (
        "target",
        "ALTER TABLE alt RENAME TO alt_old; ALTER TABLE alt_new RENAME TO alt",
    ),
}
HARMLESS = frozenset({"rewritten", "refilled"})
_CALLS = 26
"""A copy of `alt` has some more: it strikes after one of these has begun."""
_LATER = 0.006
_HELD = (0.0, 0.0, 0.005, 0.02)
"""Seconds for which its transaction may go on."""


def strike(tables: Tables, name: str, seed: str) -> str:
    """Have the statement strike; see that no row is missed or altered, or that it is said.

    Returns how the copy ended.
    """
    side, sql = STATEMENTS[name]
    make(tables)
    before = rows_in(tables, "source")
    random = Random(f"{seed} {name}")
    call, later, held = random.randint(1, _CALLS), random.uniform(0, _LATER), random.choice(_HELD)
    arrived = _Arrived(call)
    with side_of(tables, side).connect() as other, ThreadPoolExecutor(1) as threads:
        altered = threads.submit(_alter, other, sql, arrived, later, held)
        ended = run_copy(
            pool_of(tables),
            batch_size=BATCH,
            call_timeout=10,
            observer=arrived,
            read_ahead=random.choice((0, 1)),
        )
        altered.result()
    if ended.error is None:
        check_complete(tables, before, *(["alt_old"] if name == "the target exchanged" else []))
        return "complete"
    assert name not in HARMLESS, ended.message
    check_changed(ended, side)
    check_claim(ended, tables, before)
    return "changed"


class _Arrived:
    """An observer that waits until so many calls have begun."""

    def __init__(self, calls: int) -> None:
        self._left = calls
        self._arrived = threading.Event()

    def __call__(self, event: Event) -> None:
        if isinstance(event, CallStarted):
            self._left -= 1
            if self._left == 0:
                self._arrived.set()

    def wait(self) -> None:
        assert self._arrived.wait(30)


def _alter(
    other: psycopg.Connection, sql: str, arrived: _Arrived, later: float, held: float
) -> None:
    arrived.wait()
    time.sleep(later)  # the moment is random, and so is how far the copy has come by then
    other.execute(f"BEGIN; {sql}".encode())
    time.sleep(held)
    other.execute("COMMIT")
