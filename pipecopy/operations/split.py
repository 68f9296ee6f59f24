"""split: a range of ids in parts of about as many rows each, to be worked on side by side.

The source is asked where batches of equal numbers of rows end, many to a part; neighbours are
joined. If that takes too long, the rest is split by what the source estimates; if it knows nothing
either, evenly by ids. In each case the parts are all of the ids, and each id is in one of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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
_ROUNDS = 128
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

    They are fewer if there are fewer ids with rows. Both sides are connected. To count takes about
    a quarter of a call's limit (`Config.call_timeout`) at most if the source can estimate the rest,
    else about that limit; estimates take at most that limit, mostly some ms. A call that hangs is
    killed at its limit, and not made again. (In a quarter of 30 s PostgreSQL counts 90 million rows
    if VACUUM has seen all of the table, a hundredth of that in the worst case.) A warning says if
    the parts have as many ids instead of rows.

    Raises what `Run.call` raises, but no CallTimeoutError.
    """
    return spread(run, first_id, last_id, parts).pieces(parts)


def spread(run: Run[Any], first_id: int, last_id: int, parts: int) -> Spread:
    """Find out how the rows are spread over the ids, well enough for so many parts; see `split`."""
    if first_id >= last_id:
        is_one = first_id == last_id  # which has one row, or none
        return Spread(_Counts([first_id, last_id + 1], [0.0, 1.0]), last_id + 1 if is_one else 0)
    source = _Source(run, last_id + 1)
    expected = source.rows_below(first_id, [source.past_last])
    if parts <= 1:
        told, rows = (0, 1.0) if expected is None else (source.past_last, float(expected[0]))
        return Spread(_Counts([first_id, source.past_last], [0.0, rows]), told)
    counts = _count(source, first_id, parts, None if expected is None else expected[0])
    told = source.past_last
    if counts.ends[-1] < source.past_last:
        rest = _estimated_rest(source, counts, parts)
        if rest is None:
            told, rest = counts.ends[-1], _guessed_rest(source, counts, parts)
            if source.can_count:
                run.warn(
                    f"{run.source}: the rows could be neither counted in time nor estimated: the"
                    " ranges have about as many ids each, not rows, and some may take much longer"
                    " than others; run VACUUM (ANALYZE) on the source's table before the next run"
                )
        counts.extend(rest)
    return Spread(counts, told)


class Spread:
    """How the rows of a range are spread over its ids, as far as is known."""

    def __init__(self, counts: _Counts, told: int) -> None:
        """Take what is known; the counts of ids from `told` on are a guess."""
        self._counts, self._told = counts, told

    @property
    def rows(self) -> int | None:
        """About how many there are; None if that is not known."""
        known = self._counts.ends[-1] <= self._told
        return round(self._counts.below[-1]) if known else None

    def pieces(self, parts: int) -> list[Piece]:
        """Return so many parts, at most, of about as many rows each."""
        return list(_pieces(self._counts, parts, self._told))


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
        found: list[int] | None = self._ask("estimated_rows", first, ends, limit=self.limit)
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


@dataclass(frozen=True)
class _Counts:
    """How many rows of the whole range are below which of the ids."""

    ends: list[int]
    """In ascending order, at first the one from which on they are counted."""
    below: list[float]

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

    def extend(self, rest: _Counts) -> None:
        """Add what begins at the last end."""
        self.ends.extend(rest.ends[1:])
        self.below.extend(rest.below[1:])

    def targets(self, parts: int) -> list[float]:
        """Return how many rows should be below the end of each part, as far as it is in here."""
        every = (self.below[-1] * part / parts for part in range(1, parts))
        return [each for each in every if each > self.below[0]]

    def distance(self, target: float) -> float:
        """Return how many rows the nearest known end is away."""
        place = bisect_left(self.below, target)
        return min(target - self.below[place - 1], self.below[place] - target)

    def between(self, target: float, *, halved: bool = False) -> int | None:
        """Return an id below which so many rows are, if they are spread evenly; or one halfway.

        It is between the two ends around the target; None if there is no id between them.
        """
        place = bisect_left(self.below, target)
        first, past = self.ends[place - 1 : place + 1]
        least, most = self.below[place - 1 : place + 1]
        if past - first <= 1:
            return None
        share = 0.5 if halved else (target - least) / (most - least)
        return first + min(max(1, int((past - first) * share)), past - first - 1)

    def interpolate(self, targets: Iterable[float]) -> None:
        """Add an end for each of these numbers of rows, as if they were spread evenly."""
        for target in targets:
            end = self.between(target)
            if end is not None:
                self.insert(end, target)


def _count(source: _Source, first: int, parts: int, expected: int | None) -> _Counts:
    """Count batches of rows, as far as the time allows."""
    biggest, limit, guess = _BIGGEST, _CALL * source.limit, expected
    if guess is None:
        biggest, limit, guess = _SMALL, source.limit, source.past_last - first
    rows = min(max(1, guess // (_BATCHES * parts)), biggest)
    most = 2 * _BATCHES * parts
    counts = _count_batches(source, first, rows, most, limit)
    total = int(counts.below[-1])
    if counts.ends[-1] == source.past_last and rows > max(1, total // (_FEWEST * parts)):
        again = _count_batches(source, first, max(1, total // (_BATCHES * parts)), most, limit)
        if again.ends[-1] == source.past_last:
            return again
    return counts


def _count_batches(source: _Source, first: int, rows: int, most: int, limit: float) -> _Counts:
    counts = _Counts([first], [0.0])
    while counts.ends[-1] < source.past_last:
        batches = source.batches(counts.ends[-1], rows, most, limit)
        if not batches:
            break
        for end, counted in batches:
            counts.append(end, counted)
        if len(batches) == most:
            rows *= 2  # they are more than was expected
    return counts


def _estimated_rest(source: _Source, counts: _Counts, parts: int) -> _Counts | None:
    """Return what is above the counted rows by the source's estimates; None without any."""
    first, below = counts.ends[-1], counts.below[-1]
    whole = source.rows_below(first, [source.past_last])
    if whole is None:
        return None
    rest = _Counts([first, source.past_last], [below, below + whole[0]])
    near = max(1.0, _NEAR * rest.below[-1] / parts)
    for number in range(_ROUNDS):
        far = [target for target in rest.targets(parts) if rest.distance(target) > near]
        # if most rows have few of the ids, what is known of the others leads nowhere
        ids = {rest.between(target, halved=number % 2 > 0) for target in far}
        ends = sorted(each for each in ids if each is not None)
        estimated = source.rows_below(first, ends) if ends else None
        if not estimated:
            break
        for end, rows in zip(ends, estimated, strict=False):
            rest.insert(end, below + rows)
    rest.interpolate(far)
    return rest


def _guessed_rest(source: _Source, counts: _Counts, parts: int) -> _Counts:
    """Return what is above the counted rows, as if it were as dense; if none are, anyhow."""
    first, told, below = counts.ends[0], counts.ends[-1], counts.below[-1]
    density = below / (told - first) if below else 1.0
    rest = _Counts([told, source.past_last], [below, below + density * (source.past_last - told)])
    rest.interpolate(rest.targets(parts))
    return rest


def _pieces(counts: _Counts, parts: int, told: int) -> Iterator[Piece]:
    """Yield the parts: each ends where about as many rows are below as should be.

    What is said of ids from `told` on is a guess.
    """
    cuts = [0]
    for target in counts.targets(parts):
        cut = bisect_left(counts.below, target)
        cut -= target - counts.below[cut - 1] < counts.below[cut] - target
        if counts.below[cuts[-1]] < counts.below[cut] < counts.below[-1]:
            cuts.append(cut)
    for begin, end in pairwise([*cuts, len(counts.ends) - 1]):
        rows = round(counts.below[end] - counts.below[begin])
        yield Piece(
            first=counts.ends[begin],
            last=counts.ends[end] - 1,
            rows=rows if counts.ends[end] <= told else None,
        )
