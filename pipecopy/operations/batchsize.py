"""BatchSize: how many rows the next batch has, so that saving it takes about `Config.batch_time`.

Two tools that do the like were read. pt-online-schema-change (`--chunk-time`, WeightedAvgRate in
Percona Toolkit) takes the rate from a decaying average: rows and seconds so far, each times 0.75,
and the new ones. Spirit (block/spirit, pkg/table: the chunker, by time) looks at the second slowest
of ten chunks, grows by half at most, leaves out a chunk of an earlier size, and shrinks at once if
one took 5 times too long. Here the average and the 5 are the same, but batches may double with each
save: if they grew by half every ten saves, a copy of 100 batches would end before they had grown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from pipecopy.config import Config

_GROWTH = 2
"""At most to so many times the size at once."""
_SHRINK = 0.5
"""At most to this share of the size at once, unless a save or a load took `_FAR` times too long."""
_FAR = 5
_WEIGHT = 0.75
"""What a save counts for in the average once the next one has ended."""
_FILL = 0.9
"""The share of `max_batch_bytes` that a batch may grow to: the next rows may be bigger."""
_TELLING = 0.5
"""The share of the rows asked for that has to be there to tell how big rows are."""
_LEAST = 0.01
"""The smallest batch, as a share of `batch_size`: fewer rows do not make a round trip shorter."""
_SHORTEST = 0.001
"""Seconds, for a clock that has not moved."""


@dataclass(frozen=True, kw_only=True)
class Saved:
    """What a batch was, and how long it took."""

    asked: int
    """The rows (ids) that were asked for."""
    rows: int
    bytes: int
    load: float
    """Seconds of the attempt that loaded it."""
    save: float
    """Seconds of the attempt that saved it."""
    timed_out: bool = False
    """An earlier attempt to save it timed out."""


@dataclass(frozen=True, kw_only=True)
class BatchSize:
    """The rows (ids) of the next batch, and what is remembered of the saves so far."""

    rows: int
    batch_time: float | None
    """None: it stays as it is."""
    first: int
    most_bytes: int
    too_slow: bool = False
    """Even the smallest batch has taken longer."""
    rows_saved: float = 0.0
    """In the average, as is `seconds`."""
    seconds: float = 0.0

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return the size of the first batch."""
        return cls(
            rows=config.batch_size,
            batch_time=config.batch_time,
            first=config.batch_size,
            most_bytes=config.max_batch_bytes,
        )

    @property
    def least(self) -> int:
        """The size of the smallest batch."""
        return max(1, int(_LEAST * self.first))

    def after(self, saved: Saved) -> Self:
        """Return the size once this batch is saved.

        It may have had another size than the present one: with `read_ahead` the next batch is
        loaded already. So a batch that took too long counts by its own size: two of one size shrink
        the next one once. What a batch grows to is told by rows, not by ids, which may be denser
        further on; few rows, which take little more than a round trip, only keep it from growing.
        A load that takes longer than a save should takes back what has grown, and no more: without
        an index on the key each load takes the same time, whatever the size.
        """
        if self.batch_time is None:
            return self
        if saved.timed_out:  # slow or stuck, nobody can tell: its rate does not count
            return self._sized(min(self.rows, _SHRINK * saved.asked), saved)
        rows_saved = _WEIGHT * self.rows_saved + saved.rows
        seconds = _WEIGHT * self.seconds + max(saved.load, saved.save, _SHORTEST)
        if saved.save > self.batch_time:
            rows = self._shrunk(saved.asked, saved.save)
        elif saved.load > self.batch_time:
            rows = max(min(self.rows, self.first), self._shrunk(saved.asked, saved.load))
        else:
            rate = min(rows_saved / seconds, saved.rows / max(saved.load, saved.save, _SHORTEST))
            most = min(_GROWTH * self.rows, rate * self.batch_time, self._fit(saved))
            rows = max(self.rows, most)
        return replace(self._sized(rows, saved), rows_saved=rows_saved, seconds=seconds)

    def _shrunk(self, asked: int, seconds: float) -> float:
        """Return the size for a batch that took too long."""
        times = seconds / (self.batch_time or seconds)
        most = 0 if times > _FAR else _SHRINK * self.rows
        return min(self.rows, max(most, asked / times))

    def _fit(self, saved: Saved) -> float:
        """Return how many such rows fit into a batch."""
        return _FILL * self.most_bytes * saved.rows / max(1, saved.bytes)

    def _sized(self, rows: float, saved: Saved) -> Self:
        """Return it with this size; what has grown shrinks as rows get bigger.

        A database that can't split a batch would have one of too many bytes.
        """
        if saved.bytes > self.most_bytes or saved.rows >= _TELLING * saved.asked:
            rows = min(rows, max(self._fit(saved), self.first))
        too_slow = saved.asked <= self.least and saved.save > (self.batch_time or saved.save)
        return replace(self, rows=max(self.least, int(rows)), too_slow=self.too_slow or too_slow)
