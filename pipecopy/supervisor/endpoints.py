"""What one copy's workers have in common: the fork server, the slots, the two seats."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from pipecopy.config import Config
from pipecopy.contracts import ConnectionPool, Session, Side
from pipecopy.redact import redact, secrets_in
from pipecopy.supervisor.seat import Seat
from pipecopy.workers import Buffer, ForkServer, Setup, Worker, modules_to_preload, pickle_pool


class Crew:
    """Starts the workers of one copy, owns the slots they share, and leaves nothing of them."""

    def __init__(
        self,
        config: Config,
        pool: ConnectionPool,
        story: Any,
        wake: Callable[[], None],
    ) -> None:
        self._config = config
        self._pool = pool
        self._pickled = b""
        self._preload = modules_to_preload()
        self._story = story
        self._wake = wake
        self._servers: list[ForkServer] = []
        """The last one forks; those before it got stuck."""
        self._seats: list[Seat] = []
        self._slots: list[Buffer] = []
        self.loading = 0
        """The slot that the reader writes, or will write next."""

    def seat(self, side: Side, dbname: str) -> Seat:
        """Return the place for the worker of one side."""
        seat = Seat(
            side,
            redact(dbname, secrets_in(dbname)),
            start_worker=lambda: self._start_worker(seat, dbname),
            # a writer only reads its slot
            on_abandoned=self._retire_slot if side == "source" else lambda: None,
            on_stuck_start=self._replace_server,
        )
        self._seats.append(seat)
        return seat

    def start(self) -> None:
        """Start the fork server and all workers, at the same time; the thread has to live on.

        Raises ConfigError where the pool can't be pickled.
        """
        self._pickled = pickle_pool(self._pool)
        self._slots += [Buffer() for _ in range(self._config.read_ahead + 1)]
        self._servers.append(ForkServer(self._preload))
        for seat in self._seats:
            seat.ensure_worker()

    def _start_worker(self, seat: Seat, dbname: str) -> Worker:
        if not self._servers:
            raise RuntimeError("the fork server is started first")
        session = Session(
            run_id=self._story.tally.run_id,
            side=seat.side,
            mode=self._story.mode,
            writes=self._story.writes,
            deletes=self._story.deletes,
            other=seat.other,
            described=seat.described,
            greatest_id=seat.greatest_id if seat.side == "source" else None,
            position=seat.position,
            call_timeout=self._config.call_timeout,
            max_batch_bytes=self._config.max_batch_bytes,
        )
        setup = Setup.of(self._pickled, dbname, session, tuple(self._slots))
        return Worker(self._servers[-1], setup, self._wake)

    def _replace_server(self) -> None:
        """Have another fork server start the workers: this one is stuck, perhaps in an import."""
        self._servers.append(ForkServer(self._preload))
        for seat in self._seats:
            if seat.worker is not None and seat.worker.pid is None:
                seat.kill()

    def next_slot(self) -> None:
        """Have the reader write the next slot, since this one holds a batch."""
        self.loading = (self.loading + 1) % len(self._slots)

    def has_slot(self, seat: Seat, slot: int) -> bool:
        """Tell whether the worker there, if any, was given the slot as it is now."""
        return seat.worker is None or seat.worker.buffers[slot].is_same(self._slots[slot])

    def _retire_slot(self) -> None:
        """Never use a slot again that a worker which may still be alive could write to."""
        self._slots[self.loading].close()
        self._slots[self.loading] = Buffer()

    def dismiss(self) -> None:
        """Kill the workers that are left, and give back all that they shared."""
        with ExitStack() as steps:  # each is taken, whatever the others come to; the last one first
            for slot in self._slots:
                steps.callback(slot.close)
            for server in self._servers:
                steps.callback(server.stop)
            for seat in self._seats:
                steps.callback(seat.kill)
