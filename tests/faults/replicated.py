"""A copy whose server is lost, for good or for a while, and another one that takes its place."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pipecopy.contracts import Side
from pipecopy.events import BatchSaved, Event
from pipecopy.postgres import PostgresPool
from tests.faults.held import side_of
from tests.support.checks import LIMITS, Tables
from tests.support.databases import TemporaryDatabase
from tests.support.gates import Gate
from tests.support.servers import PostgresServer
from tests.support.standbys import Standby, either

ROWS, BATCH = 500, 25
EARLY, HELD = 110, 310
"""Rows at which a copy waits: in the fifth batch, and in the thirteenth of twenty."""
REACHES_TWO = 3.0
"""Seconds of a call in which libpq gives up one host, after 2 s at least, and asks the next."""


def _freeze(server: PostgresServer) -> None:
    server.freeze()


def _crash(server: PostgresServer) -> None:
    server.stop("immediate")


@dataclass(frozen=True)
class Lost:
    """How a server goes away, and how long a call then needs to reach the other one."""

    how: Callable[[PostgresServer], None]
    call_timeout: float


FROZEN, CRASHED = Lost(_freeze, REACHES_TWO), Lost(_crash, 1.0)
LOSSES = {"frozen": FROZEN, "shut down": CRASHED}


@dataclass(frozen=True, kw_only=True)
class Replicated:
    """Two tables, one of which is on a standby as well."""

    tables: Tables
    side: Side
    standby: Standby
    parameters: dict[str, str]

    @property
    def primary(self) -> PostgresServer:
        return self.standby.primary

    def pool(self, **parameters: str) -> PostgresPool:
        """Return the way to both tables, one of them on either server."""
        database = side_of(self.tables, self.side)
        there = self.standby.same(database)
        uri = either(database, there, **{**self.parameters, **parameters})
        return self.tables.pool(**{self.side: uri})

    @contextlib.contextmanager
    def losing(self, lost: Lost) -> Iterator[None]:
        """Lose the primary for the time of the block; then it is gone for good."""
        lost.how(self.primary)
        try:
            yield
        finally:
            self.primary.stop("immediate")

    def cut_off(self, early: Gate, saved: Saved) -> None:
        """Have the standby receive no more from the gate's row on, and wait until that is saved."""
        early.arrival()
        self.standby.catch_up()
        self.standby.cut_off()
        early.lift()
        saved.wait()

    def failed_over(self) -> Tables:
        """Return the tables as they are once the standby is the primary."""
        database = self.standby.same(side_of(self.tables, self.side))
        if self.side == "source":
            return replace(self.tables, source=database)
        return replace(self.tables, target=database)


@contextlib.contextmanager
def replicated(tables: Tables, side: Side, **parameters: str) -> Iterator[Replicated]:
    primary = side_of(tables, side).server
    with revived(primary), Standby(primary) as standby:
        yield Replicated(tables=tables, side=side, standby=standby, parameters=parameters)


@contextlib.contextmanager
def revived(primary: PostgresServer) -> Iterator[None]:
    """Have the server run after the block, whatever became of it."""
    try:
        yield
    finally:
        if not primary.running:
            primary.start()
        primary.resume()


def limits_for(lost: Lost, **limits: float) -> dict[str, Any]:
    """Return limits in which the second attempt of a call reaches another server."""
    return {
        "batch_size": BATCH,
        "call_timeout": lost.call_timeout,
        "max_retries": LIMITS.max_retries,
        **limits,
    }


class Saved:
    """An observer that waits until a row's batch is saved."""

    def __init__(self, row: int) -> None:
        self._row = row
        self._saved = threading.Event()

    def __call__(self, event: Event) -> None:
        if isinstance(event, BatchSaved) and event.key_range[1] > self._row:
            self._saved.set()

    def wait(self) -> None:
        assert self._saved.wait(20)


NO_POSITIONS = "^pg_(control_|current_wal|last_wal|last_xact|walfile|stat_get_wal)"
"""Nobody tells where in its log a server is, as with some managed services."""


def make_plain_role(database: TemporaryDatabase, forbidden: str) -> None:
    """Make the role `plain`, which may use `profiles`, but not the functions of such names."""
    database.execute(
        f"""
        DO $$
        DECLARE f text;
        BEGIN
            IF to_regrole('plain') IS NULL THEN CREATE ROLE plain LOGIN; END IF;
            FOR f IN SELECT oid::regprocedure FROM pg_proc WHERE proname ~ '{forbidden}'
            LOOP
                EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);
            END LOOP;
            GRANT ALL ON ALL TABLES IN SCHEMA public TO plain;
            GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO plain;
        END $$
        """
    )
