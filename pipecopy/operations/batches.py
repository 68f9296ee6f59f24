"""Batch by batch, in the order of ids: loads in order, saves in order, no further ahead than asked.

::

    read_ahead=0   load 0 │ save 0 │ load 1 │ save 1 │ …
    read_ahead=1   load 0 │ load 1 │ load 2 │ …
                          │ save 0 │ save 1 │ …
"""

from __future__ import annotations

from pipecopy.events import BatchSaved
from pipecopy.supervisor.call import Call
from pipecopy.supervisor.calls import Calls
from pipecopy.supervisor.endpoints import Crew
from pipecopy.supervisor.run import Run
from pipecopy.supervisor.seat import Seat
from pipecopy.supervisor.tally import CopyTally
from pipecopy.supervisor.transfer import Loaded, Transfer
from pipecopy.workers import Task


class Batches:
    """Takes the batches of one copy from the source to the target."""

    def __init__(self, run: Run, calls: Calls, crew: Crew, tally: CopyTally) -> None:
        self._run = run
        self._calls = calls
        self._transfer = Transfer(run, calls, crew)
        self._tally = tally
        self._saving: Call | None = None
        self._next_end: int | None = None
        """Where the next batch ends, if the last one told."""

    def copy(self, source: Seat, target: Seat, first_id: int, max_id: int) -> None:
        """Copy the ids from `first_id` to `max_id`. Raises what `Calls.wait` raises."""
        first, past_last = first_id, max_id + 1
        while first < past_last:
            if self._run.config.read_ahead == 0:
                self._wait_until_saved()
            end = self._next_end or self._end(source, first, past_last)
            loaded = self._transfer.load(source, (first, end))
            self._next_end = loaded.batch.next_end
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

    def _save(self, target: Seat, loaded: Loaded) -> None:
        """Begin to save the batch; one with no rows is not saved."""
        if not loaded.batch.rows:
            self._count(loaded)
            return
        self._saving = self._transfer.save(target, loaded, lambda: self._count(loaded))

    def _wait_until_saved(self) -> None:
        if self._saving is not None:
            self._calls.wait(self._saving)
            self._saving = None

    def _count(self, loaded: Loaded) -> None:
        """Count a batch that is durably in the target, or had no rows."""
        batch, key_range = loaded.batch, loaded.key_range
        self._tally.saved(rows=batch.rows, size=batch.bytes, next_id=key_range[1])
        self._run.notify(BatchSaved(key_range=key_range, rows=batch.rows, bytes=batch.bytes))
