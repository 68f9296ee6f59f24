"""Batch by batch, in the order of ids: loads in order, saves in order, no further ahead than asked.

::

    read_ahead=0   load 0 │ save 0 │ load 1 │ save 1 │ …
    read_ahead=1   load 0 │ load 1 │ load 2 │ …
                          │ save 0 │ save 1 │ …
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipecopy.calls import Calls
from pipecopy.config import Config
from pipecopy.crew import Crew
from pipecopy.events import BatchSaved
from pipecopy.notifier import Notifier
from pipecopy.retry import Call, KeyRange
from pipecopy.seat import Seat
from pipecopy.tally import Tally
from pipecopy.workers import Batch, Task


@dataclass(frozen=True)
class _Loaded:
    """A batch that waits in its slot."""

    key_range: KeyRange
    slot: int
    batch: Batch


class Batches:
    """Takes the batches of one copy from the source to the target."""

    def __init__(
        self, config: Config, calls: Calls, crew: Crew, tally: Tally, notify: Notifier
    ) -> None:
        self._config = config
        self._calls = calls
        self._crew = crew
        self._tally = tally
        self._notify = notify
        self._saving: Call | None = None

    def copy(self, source: Seat, target: Seat, max_id: int) -> None:
        """Copy the ids from 0 to `max_id`. Raises what `Calls.wait` raises."""
        for key_range in _key_ranges(max_id, self._config.batch_size):
            if self._config.read_ahead == 0:
                self._wait_until_saved()
            loaded = self._load(source, key_range)
            self._wait_until_saved()
            self._save(target, loaded)
        self._wait_until_saved()

    def _load(self, source: Seat, key_range: KeyRange) -> _Loaded:
        slot = self._crew.loading
        task = Task("load_rows", (slot, *key_range))
        batch: Batch = self._calls.wait(self._calls.begin(source, task, key_range=key_range))
        if batch.rows:
            self._crew.next_slot()
        return _Loaded(key_range, slot, batch)

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
        self._notify(BatchSaved(key_range=key_range, rows=batch.rows, bytes=batch.bytes))


def _key_ranges(max_id: int, batch_size: int) -> Iterator[KeyRange]:
    for first in range(0, max_id + 1, batch_size):
        yield first, min(first + batch_size, max_id + 1)
