"""One side's place for a worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipecopy.contracts import Side
from pipecopy.workers import Worker


class Seat:
    """One side's place for a worker: has one started whenever there is none."""

    def __init__(
        self,
        side: Side,
        dbname: str,
        *,
        start_worker: Callable[[], Worker],
        on_abandoned: Callable[[], None],
        on_stuck_start: Callable[[], None],
    ) -> None:
        self.side = side
        self.dbname = dbname
        """As it may be shown."""
        self._start_worker = start_worker
        self._on_abandoned = on_abandoned
        self._on_stuck_start = on_stuck_start
        self.worker: Worker | None = None
        self.offers: frozenset[str] = frozenset()
        self.connected = False
        """Its worker's `connect` returned, as far as is known."""
        self.other: object = None
        """What the other side's table is, once that is known; for the workers that are started."""
        self.described: object = None
        """What this side's table is, likewise."""
        self.greatest_id: int | None = None
        """What `get_max_id` returned, likewise."""
        self.position: object = None
        """Which server the calls reached and how far that had come, likewise."""
        self.saved_rows_stand = True
        """What was saved is still there, and what this table has, as far as is known."""

    def __str__(self) -> str:
        return f"{self.side} {self.dbname!r}"

    def remember(self, call: str, value: Any, position: object) -> None:
        """Keep what the next worker has to know of a call that returned."""
        if call == "describe":
            self.described = value
        elif call == "get_max_id":
            self.greatest_id = value
        if position is not None:
            self.position = position

    def ensure_worker(self) -> Worker:
        """Return the worker; one that is missing is being started."""
        if self.worker is None:
            self.worker = self._start_worker()
        return self.worker

    def kill_at_limit(self) -> bool:
        """Kill the worker; where it was not even forked in time, what forks it is replaced."""
        forked = self.worker is None or self.worker.pid is not None
        died = self.kill()
        if not forked:
            self._on_stuck_start()
        return died

    def kill(self) -> bool:
        """Kill the worker, if there is one; False where it had to be abandoned."""
        worker, self.worker = self.worker, None
        self.connected = False
        if worker is None:
            return True
        died = worker.kill()
        worker.release()
        if not died:
            self._on_abandoned()
        return died
