"""Transfer: takes one batch from the reader's worker to the writer's, through a slot."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from pipecopy.supervisor.call import Call, KeyRange
from pipecopy.supervisor.calls import Calls
from pipecopy.supervisor.endpoints import Crew
from pipecopy.supervisor.run import Run
from pipecopy.supervisor.seat import Seat
from pipecopy.workers import Batch, Task

_OVERHEAD = 4096
"""Bytes of a slot besides the rows' own."""


@dataclass(frozen=True)
class Loaded:
    """A batch that waits in its slot."""

    key_range: KeyRange
    slot: int
    batch: Batch


class Transfer:
    """Loads and saves batches, one at a time on each side."""

    def __init__(self, run: Run, calls: Calls, crew: Crew) -> None:
        self._run = run
        self._calls = calls
        self._crew = crew
        # a batch's bytes are counted with what tells them apart
        self._most_bytes = run.config.max_batch_bytes + _OVERHEAD

    def load(self, source: Seat, key_range: KeyRange) -> Loaded:
        """Load the rows of these ids, or the first of them that fit: see `Loaded.key_range`."""
        slot = self._crew.loading
        task = Task("load_rows", (slot, *key_range))
        batch: Batch = self._calls.wait(self._calls.begin(source, task, key_range=key_range))
        if batch.rows:
            self._crew.next_slot()
        splits = "end_of_batch" in source.offers
        if not splits and batch.rows > 1 and batch.bytes > self._most_bytes:
            self._most_bytes = sys.maxsize  # one warning is enough
            self._run.warn(
                f"the batch of ids [{key_range[0]}, {batch.end}) has {batch.bytes} bytes, "
                f"max_batch_bytes is {self._run.config.max_batch_bytes}, and its database can't "
                "split it: a smaller batch_size takes less memory"
            )
        return Loaded((key_range[0], batch.end), slot, batch)

    def save(
        self, target: Seat, loaded: Loaded, on_return: Callable[[], None] | None = None
    ) -> Call:
        """Begin to save a batch that has rows."""
        if not self._crew.has_slot(target, loaded.slot):
            target.kill()  # it has the slot of an abandoned reader; the next worker has this one
        return self._calls.begin(
            target,
            Task("save_rows", (loaded.slot,)),
            key_range=loaded.key_range,
            on_return=on_return,
        )
