"""What the seed decides: which faults strike, in which order, and how each copy is set up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal

from pipecopy import Config
from pipecopy.contracts import Side
from tests.support.proxy import Direction

Mode = Literal["library", "command"]
"""`copy_table` in this process, or `python -m pipecopy copy` in one of its own."""
Place = Literal["worker", "network", "server", "table", "supervisor"]


@dataclass(frozen=True)
class Kind:
    """A kind of fault; `bench.soak.strikes` has what each does."""

    name: str
    place: Place
    seconds: tuple[float, float] = (0.0, 0.0)
    """For how long it lasts, at least and at most; 0 for what is over at once."""
    mode: Mode | None = None
    """The copies that it can strike; None: any."""


KINDS = (
    Kind("killed by SIGKILL", "worker"),
    Kind("stopped by SIGSTOP", "worker", (0.1, 3.0)),
    Kind("deadlock in C under the GIL", "worker", mode="library"),
    Kind("deadlock, all signals masked", "worker", mode="library"),
    Kind("sleep in C", "worker", mode="library"),
    Kind("driver's own time-out", "worker", mode="library"),
    Kind("driver's error", "worker", mode="library"),
    Kind("exit", "worker", mode="library"),
    Kind("segmentation fault", "worker", mode="library"),
    Kind("frozen", "network", (0.1, 3.0)),
    Kind("reset", "network"),
    Kind("cut after some bytes", "network"),
    Kind("throttled", "network", (0.2, 2.0)),
    Kind("deaf to new connections", "network", (0.2, 2.0)),
    Kind("session ended", "server"),
    Kind("query cancelled", "server"),
    Kind("backend stopped", "server", (0.1, 3.0)),
    Kind("postmaster stopped", "server", (0.2, 2.0)),
    Kind("immediate shutdown, restart", "server"),
    Kind("table locked", "server", (0.1, 3.0)),
    Kind("rows locked", "server", (0.1, 3.0)),
    Kind("switched over in order", "server"),
    # its copies alone tell when they have heard of the new server
    Kind("failed over, commits lost", "server", (60.0, 60.0), mode="library"),
    Kind("table rewritten", "table"),
    Kind("table emptied and filled again", "table"),
    Kind("key of another type", "table"),
    Kind("another table of that name", "table"),
    Kind("SIGKILL", "supervisor", mode="command"),
    Kind("SIGTERM", "supervisor", mode="command"),
    Kind("SIGINT", "supervisor", mode="command"),
    Kind("SIGHUP", "supervisor", mode="command"),
    Kind("SIGSTOP, SIGCONT", "supervisor", (2.0, 2.5), mode="command"),
)

_DIRECTIONS: tuple[Direction, ...] = ("to_server", "to_client", "both")
_ROWS_GO: dict[Side, Direction] = {"source": "to_client", "target": "to_server"}


@dataclass(frozen=True)
class Fault:
    """One fault, as the seed drew it; what does not apply to its kind is ignored."""

    number: int
    kind: Kind
    side: Side
    pause: float
    """Seconds after the one before it, or after the copy's start."""
    seconds: float
    direction: Direction
    bytes: int
    """It strikes after so many bytes, or lets so many through in a second."""
    after: bool
    """In a worker: it strikes when the call's work is done, but not yet answered."""
    group: bool
    """A signal goes to the supervisor's whole process group, as batch hosts send it."""


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
    """Which target: one with a primary key, or one without any index."""
    emptied: bool
    """The target is empty, as for a first copy."""
    batches: int
    """About how many batches the table is copied in."""
    call_timeout: float
    full_copy_timeout: float
    read_ahead: int
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
    )
