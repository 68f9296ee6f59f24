"""Batch by batch, in the order of ids: loads in order, saves in order, no further ahead than asked.

::

    read_ahead=0   load 0 │ save 0 │ load 1 │ save 1 │ …
    read_ahead=1   load 0 │ load 1 │ load 2 │ …
                          │ save 0 │ save 1 │ …
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from pipecopy.calls import Calls
from pipecopy.crew import Crew
from pipecopy.events import BatchSaved
from pipecopy.retry import Call, KeyRange
from pipecopy.run import Run
from pipecopy.seat import Seat
from pipecopy.tally import CopyTally
from pipecopy.workers import Batch, Task

_OVERHEAD = 4096
"""Bytes of a slot besides the rows' own."""


@dataclass(frozen=True)
class _Loaded:
    """A batch that waits in its slot."""

    key_range: KeyRange
    slot: int
    batch: Batch


class Batches:
    """Takes the batches of one copy from the source to the target."""

    def __init__(self, run: Run, calls: Calls, crew: Crew, tally: CopyTally) -> None:
        self._run = run
        self._calls = calls
        self._crew = crew
        self._tally = tally
        self._saving: Call | None = None
        # a batch's bytes are counted with what tells them apart
        self._most_bytes = run.config.max_batch_bytes + _OVERHEAD

    def copy(self, source: Seat, target: Seat, first_id: int, max_id: int) -> None:
        """Copy the ids from `first_id` to `max_id`. Raises what `Calls.wait` raises."""
        first, past_last = first_id, max_id + 1
        while first < past_last:
            if self._run.config.read_ahead == 0:
                self._wait_until_saved()
            loaded = self._load(source, (first, self._end(source, first, past_last)))
            self._wait_until_saved()
            self._save(target, loaded)
            first = loaded.key_range[1]
        self._wait_until_saved()

    def _end(self, source: Seat, first: int, past_last: int) -> int:
        """Return where the batch that begins at `first` ends."""
        rows = self._run.config.batch_size
        if "end_of_batch" not in source.offers:
            return min(first + rows, past_last)
        task = Task("end_of_batch", (first, past_last, rows))
        call = self._calls.begin(source, task, key_range=(first, past_last))
        end: int = self._calls.wait(call)
        return end

    def _load(self, source: Seat, key_range: KeyRange) -> _Loaded:
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
        return _Loaded((key_range[0], batch.end), slot, batch)

    def _save(self, target: Seat, loaded: _Loaded) -> None:
        """Begin to save the batch; one with no rows is not saved."""
        if not loaded.batch.rows:
            self._count(loaded)
            return
        if not self._crew.has_slot(target, loaded.slot):
            target.kill()  # it has the slot of an abandoned reader; the next worker has this one
        self._saving = self._calls.begin(
            target,
            Task("save_rows", (loaded.slot,)),
            key_range=loaded.key_range,
            on_return=lambda: self._count(loaded),
        )

    def _wait_until_saved(self) -> None:
        if self._saving is not None:
            self._calls.wait(self._saving)
            self._saving = None

    def _count(self, loaded: _Loaded) -> None:
        """Count a batch that is durably in the target, or had no rows."""
        batch, key_range = loaded.batch, loaded.key_range
        self._tally.saved(rows=batch.rows, size=batch.bytes, next_id=key_range[1])
        self._run.notify(BatchSaved(key_range=key_range, rows=batch.rows, bytes=batch.bytes))
