"""split: a range of ids in parts of about as many rows each, to be worked on side by side.

The source is asked where batches of equal numbers of rows end, many to a part; neighbours are
joined. If that takes too long, the rest is split by what the source estimates; if it knows nothing
either, evenly by ids. In each case the parts are all of the ids, and each id is in one of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from pipecopy.errors import CallTimeoutError
from pipecopy.supervisor.run import Run

_BATCHES = 16
"""Batches to a part: it has at most one of them more than it should."""
_FEWEST = 11
"""If they are fewer, since the source's estimate was too high, it is asked again."""
_BIGGEST = 50_000
"""Rows of a batch, at first: their end is found in some ms, or in half a second if each row has to
be looked up in a table that is not cached."""
_SMALL = 64
"""The same if nothing is known of how many there are: it grows with them."""
_CALL = 0.25
"""The share of the limit of a call that it is asked to take; a driver may need twice as long."""
_RUN = 0.25
"""The share of the time that is left to the run which all questions may take."""
_NEAR = 0.02
"""How far off an estimated end may be, in parts."""
_ROUNDS = 64
"""In which the estimated ends are found: every other one halves the ids in question."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some of the ids of a range, which follow each other."""

    first: int
    last: int
    """Itself included."""
    rows: int | None
    """About how many there are; None if that is not known."""


def split(run: Run[Any], first_id: int, last_id: int, parts: int) -> list[Piece]:
    """Split the ids from `first_id` to `last_id`, itself included, into at most so many parts.

    They are fewer if there are fewer ids with rows. Both sides are connected. All questions to the
    source take about a quarter of a call's limit (`Config.call_timeout`) if it can estimate what is
    not counted then, else about the limit of one call; one that hangs is killed at its limit, and
    not made again. (In a quarter of 30 s PostgreSQL counts 90 million rows if VACUUM has seen all
    of the table, and a hundredth of that in the worst case.) A warning says if the parts have as
    many ids instead of rows.

    Raises what `Run.call` raises, but no CallTimeoutError.
    """
    if parts <= 1 or first_id >= last_id:
        return [Piece(first=first_id, last=last_id, rows=None)]
    source = _Source(run, last_id + 1)
    expected = source.rows_below(first_id, [source.past_last])
    counts = _count(source, first_id, parts, None if expected is None else expected[0])
    if counts.told < source.past_last and not _estimate(source, counts, parts):
        if source.can_count:
            run.warn(
                f"{run.source}: the rows could not be counted in time, and the server has no"
                " statistics of them: the ranges have about as many ids each, not rows; run ANALYZE"
                " on the source's table before the next run"
            )
        _spread(source, counts, parts)
    return list(_parts(counts, parts))


class _Source:
    """What is asked of the source, in a limited time."""

    def __init__(self, run: Run[Any], past_last: int) -> None:
        self._run = run
        self.past_last = past_last
        self.limit = min(run.config.call_timeout, _RUN * run.left)
        """Seconds for all questions of one kind."""
        self._spent = dict.fromkeys(("ends_of_batches", "estimated_rows"), 0.0)

    @property
    def can_count(self) -> bool:
        """Whether it can be asked where batches end."""
        return "ends_of_batches" in self._run.source.offers

    def batches(self, first: int, rows: int, most: int, limit: float) -> list[tuple[int, int]]:
        """Return `(end, rows)` of the next ones; none if it takes too long."""
        return self._ask("ends_of_batches", first, self.past_last, rows, most, limit=limit) or []

    def rows_below(self, first: int, ends: Sequence[int]) -> list[int] | None:
        """Return the estimated rows from `first` up to the first of the ends; None if not known."""
        found: list[int] | None = self._ask("estimated_rows", first, ends, limit=_CALL * self.limit)
        return found

    def _ask(self, call: str, first: int, *args: Any, limit: float) -> Any:
        run, left = self._run, limit - self._spent[call]
        if call not in run.source.offers or left <= 0:
            return None
        ids = (first, self.past_last)
        seconds = min(left, _CALL * self.limit)
        asked = run.begin(run.source, call, first, *args, seconds, key_range=ids, retry=False)
        try:
            return run.wait(asked)
        except CallTimeoutError:
            return None
        finally:
            self._spent[call] += asked.seconds


@dataclass
class _Counts:
    """How many rows there are from the first id on, up to some of the others."""

    ends: list[int]
    """In ascending order, the first id among them."""
    below: list[float] = field(default_factory=lambda: [0.0])
    """The rows below each."""
    told: int = 0
    """Up to this id they are counted or estimated; above, they are a guess."""

    def append(self, end: int, rows: float) -> None:
        """Add an end above the others, with the rows since the last of them."""
        self.ends.append(end)
        self.below.append(self.below[-1] + rows)

    def insert(self, end: int, below: float) -> None:
        """Add an end between others; estimates need not fit together."""
        place = bisect_left(self.ends, end)
        below = min(max(below, self.below[place - 1]), self.below[place])
        self.ends.insert(place, end)
        self.below.insert(place, below)

    def targets(self, parts: int, *, above: float = 0.0) -> list[float]:
        """Return how many rows should be below the end of each part but the last."""
        every = (self.below[-1] * part / parts for part in range(1, parts))
        return [each for each in every if each > above]

    def between(self, below: float, share: float | None = None) -> int | None:
        """Return an id below which so many rows are, if they are spread evenly.

        With `share`: the id in that place between the two that are known. None if there is none
        between them, or one of them is near enough.
        """
        place = bisect_left(self.below, below)
        first, past = self.ends[place - 1 : place + 1]
        least, most = self.below[place - 1 : place + 1]
        if past - first <= 1:
            return None
        if share is None:
            share = (below - least) / (most - least)
        return first + min(max(1, int((past - first) * share)), past - first - 1)

    def distance(self, below: float) -> float:
        """Return how many rows the nearest known end is away."""
        place = bisect_left(self.below, below)
        return min(below - self.below[place - 1], self.below[place] - below)


def _count(source: _Source, first: int, parts: int, expected: int | None) -> _Counts:
    """Count batches of rows, as far as the time allows."""
    most, limit, guess = _BIGGEST, _CALL * source.limit, expected
    if guess is None:
        most, limit, guess = _SMALL, source.limit, source.past_last - first
    rows = min(max(1, guess // (_BATCHES * parts)), most)
    counts = _count_batches(source, first, rows, most=2 * _BATCHES * parts, limit=limit)
    total = int(counts.below[-1])
    if counts.told == source.past_last and rows > max(1, total // (_FEWEST * parts)):
        rows = max(1, total // (_BATCHES * parts))
        again = _count_batches(source, first, rows, most=2 * _BATCHES * parts, limit=limit)
        if again.told == source.past_last:
            return again
    return counts


def _count_batches(source: _Source, first: int, rows: int, most: int, limit: float) -> _Counts:
    counts = _Counts([first], told=first)
    while counts.told < source.past_last:
        batches = source.batches(counts.told, rows, most, limit)
        if not batches:
            break
        for end, counted in batches:
            counts.append(end, counted)
        counts.told = counts.ends[-1]
        if len(batches) == most:
            rows *= 2  # they are more than was expected
    return counts


def _estimate(source: _Source, counts: _Counts, parts: int) -> bool:
    """Find the ends above what is counted by estimates; return whether there are any."""
    first, below = counts.told, counts.below[-1]
    rest = source.rows_below(first, [source.past_last])
    if rest is None:
        return False
    counts.append(source.past_last, rest[0])
    near = _NEAR * counts.below[-1] / parts
    for number in range(_ROUNDS):
        # what is known may be of little help, if most rows have few of the ids
        share = 0.5 if number % 2 else None
        far = [each for each in counts.targets(parts, above=below) if counts.distance(each) > near]
        ends = sorted({end for each in far if (end := counts.between(each, share)) is not None})
        estimated = source.rows_below(first, ends) if ends else None
        if not estimated:
            break
        for end, rows in zip(ends, estimated, strict=False):
            counts.insert(end, below + rows)
    _interpolate(counts, far)
    counts.told = source.past_last
    return True


def _spread(source: _Source, counts: _Counts, parts: int) -> None:
    """Take the rows above what is counted to be as close as those below; if none are, anyhow."""
    first, told, below = counts.ends[0], counts.told, counts.below[-1]
    density = below / (told - first) if below else 1.0
    counts.append(source.past_last, density * (source.past_last - told))
    _interpolate(counts, counts.targets(parts, above=below))


def _interpolate(counts: _Counts, targets: Iterable[float]) -> None:
    """Add an end for each of these numbers of rows, as if they were spread evenly in between."""
    for below in targets:
        end = counts.between(below)
        if end is not None:
            counts.insert(end, below)


def _parts(counts: _Counts, parts: int) -> Iterator[Piece]:
    """Yield the parts: each ends where about as many rows are below as should be."""
    cuts = [0]
    for target in counts.targets(parts):
        cut = bisect_left(counts.below, target)
        cut -= target - counts.below[cut - 1] < counts.below[cut] - target
        if counts.below[cuts[-1]] < counts.below[cut] < counts.below[-1]:
            cuts.append(cut)
    for begin, end in pairwise([*cuts, len(counts.ends) - 1]):
        is_told = counts.ends[end] <= counts.told
        yield Piece(
            first=counts.ends[begin],
            last=counts.ends[end] - 1,
            rows=round(counts.below[end] - counts.below[begin]) if is_told else None,
        )
