"""What the seed decides: which faults strike, in which order, and how each copy is set up."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal

from bench.soak import server_strikes as server
from bench.soak import strikes
from bench.soak.scene import Mode
from bench.soak.strikes import Fault, Kind
from pipecopy import Config
from pipecopy.contracts import Side
from tests.support.traffic import Direction

KINDS = (
    Kind("killed by SIGKILL", "worker", strikes.worker_killed),
    Kind("stopped by SIGSTOP", "worker", strikes.worker_stopped, (0.1, 3.0)),
    *(
        Kind(name, "worker", strikes.in_call(fault), mode="library")
        for name, fault in (
            ("deadlock in C under the GIL", "deadlock"),
            ("deadlock, all signals masked", "deadlock, signals masked"),
            ("sleep in C", "sleep in C"),
            ("driver's own time-out", "TimeoutError"),
            ("driver's error", "ValueError"),
            ("exit", "_exit(1)"),
            ("segmentation fault", "segmentation fault"),
        )
    ),
    Kind("frozen", "network", strikes.frozen, (0.1, 3.0)),
    Kind("reset", "network", strikes.reset),
    Kind("cut after some bytes", "network", strikes.cut),
    Kind("throttled", "network", strikes.throttled, (0.2, 2.0)),
    Kind("deaf to new connections", "network", strikes.deaf, (0.2, 2.0)),
    Kind("session ended", "server", server.by_administrator("pg_terminate_backend")),
    Kind("query cancelled", "server", server.by_administrator("pg_cancel_backend")),
    Kind("backend stopped", "server", server.backend_stopped, (0.1, 3.0)),
    Kind("postmaster stopped", "server", server.postmaster_stopped, (0.2, 2.0)),
    Kind("immediate shutdown, restart", "server", server.restarted),
    Kind("table locked", "server", server.table_locked, (0.1, 3.0)),
    Kind("rows locked", "server", server.rows_locked, (0.1, 3.0)),
    Kind("switched over in order", "server", server.switched_over),
    # only its copies have events, by which a call to the new server is seen
    Kind("failed over, commits lost", "server", server.failed_over, (60.0, 60.0), "library"),
    Kind("table rewritten", "table", server.altered(server.REWRITE)),
    Kind("table emptied and filled again", "table", server.altered(server.REFILL)),
    Kind("key of another type", "table", server.altered(server.RETYPE, server.RETYPE_BACK)),
    Kind("another table of that name", "table", server.altered(server.RECREATE, "")),
    *(
        Kind(number.name, "supervisor", strikes.ended_by(number), mode="command")
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    ),
    Kind("SIGSTOP, SIGCONT", "supervisor", strikes.supervisor_stopped, (2.0, 2.5), "command"),
)
"""All kinds of faults; each strikes equally often."""

_DIRECTIONS: tuple[Direction, ...] = ("to_server", "to_client", "both")
_ROWS_GO: dict[Side, Direction] = {"source": "to_client", "target": "to_server"}


def faults(seed: int, count: int) -> Iterator[Fault]:
    """Yield the faults of a seed: every kind equally often, in random order."""
    random = Random(f"{seed} faults")
    kinds: list[Kind] = []
    for number in range(count):
        if not kinds:
            kinds = random.sample(KINDS, len(KINDS))
        kind = kinds.pop()
        side: Side = random.choice(("source", "target"))
        direction = random.choice(_DIRECTIONS)
        # the rows go one way, the other has little to say
        least, most = (2.0, 5.0) if direction in {"both", _ROWS_GO[side]} else (1.5, 3.5)
        yield Fault(
            number=number,
            kind=kind,
            side=side,
            # some strike at the very start, in connect; most somewhere on the way
            pause=random.choice((0.0, random.expovariate(3), random.uniform(0, 1.5))),
            seconds=random.uniform(*kind.seconds),
            direction=direction,
            bytes=int(10 ** random.uniform(least, most)),
            after=random.random() < 0.5,
            group=random.random() < 0.5,
        )


@dataclass(frozen=True)
class Setup:
    """How one copy is made."""

    mode: Mode
    """Unless the next fault wants the other."""
    target: Literal["indexed", "plain"]
    """The target: one with a primary key, or one without any index."""
    emptied: bool
    """The target is empty, as for a first copy."""
    batches: int
    """About how many batches the table is copied in."""
    call_timeout: float
    full_copy_timeout: float
    read_ahead: int
    grace: float
    calm: int
    """The faults' pauses are so many times as long: for copies that are struck but complete."""

    def config(self, rows: int) -> Config:
        """Return the limits for a table of so many rows."""
        return Config(
            batch_size=max(1, rows // self.batches),
            max_retries=3,
            retries_delay=0.05,
            call_timeout=self.call_timeout,
            full_copy_timeout=self.full_copy_timeout,
            read_ahead=self.read_ahead,
            grace=self.grace,
        )


def setup(seed: int, number: int) -> Setup:
    """Return how the copy of that number is made."""
    random = Random(f"{seed} copy {number}")
    return Setup(
        mode="command" if random.random() < 0.2 else "library",
        target=random.choice(("indexed", "indexed", "plain")),
        emptied=random.random() < 0.25,
        batches=random.randint(15, 80),
        call_timeout=random.choice((0.5, 0.7, 1.0)),
        full_copy_timeout=random.choice((4.0, 10.0, 10.0)),
        read_ahead=random.choice((0, 1, 1)),
        calm=random.choice((1, 1, 2)),
        grace=random.choice((0.0, 0.5, 2.0)),
    )
