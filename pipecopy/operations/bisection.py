"""Bisection: from a range of ids that differs down to ranges so small that their ids are listed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipecopy.operations.compare import Compared, Comparison, Differences
from pipecopy.supervisor.call import KeyRange
from pipecopy.supervisor.run import Run

_FEW = 1_000
"""Rows of a range that is listed rather than cut in two. Listing a row takes about as long as two
checksums of it, so that cutting a range further would take longer."""
_MANY = 5_000
"""The same where it differs in many places, or one side has nothing there."""
_LOPSIDED = 3 / 4
"""A half with more of the rows than this is cut in the middle of its ids next. Each cut or the next
one so leaves fewer rows or half of the ids: where a side can't count rows, a cut by rows may do
neither, and would be made more often than Python's stack is deep."""


@dataclass(frozen=True)
class Suspects:
    """Ids that differed when they were listed; a row that was just being written looks so too."""

    found: Differences
    seen_at: float
    """By the run's clock."""


class Bisection:
    """Finds the ids that differ in ranges that do."""

    def __init__(self, run: Run, comparison: Comparison) -> None:
        self._run = run
        self._comparison = comparison

    def suspects(
        self, compared: Compared, *, scattered: bool = False, lopsided: bool = False
    ) -> Iterator[Suspects]:
        """Yield the ids of a differing range, a few at a time, in their order.

        `scattered`: it differs in more than one place. `lopsided`: the cut that made it left it
        most of the rows.
        """
        if compared.rows <= self._most(compared, scattered=scattered) or _is_one(compared):
            found = self._comparison.listed(compared.key_range).differences
            if found:
                yield Suspects(found, self._run.clock.now())
            return
        cut = self._middle(compared) if lopsided else self._halves(compared)
        halves = [self._comparison.compare(half) for half in cut]
        differing = [half for half in halves if not half.equal]
        for half in differing:
            yield from self.suspects(
                half,
                scattered=len(differing) > 1,
                lopsided=half.rows > _LOPSIDED * compared.rows,
            )

    def _most(self, compared: Compared, *, scattered: bool) -> int:
        one_side = not compared.source.rows or not compared.target.rows
        return _MANY if scattered or one_side else _FEW

    def _halves(self, compared: Compared) -> tuple[KeyRange, KeyRange]:
        """Cut a range where half of its rows are, else in the middle of its ids."""
        first, past_last = compared.key_range
        middle = self._comparison.end(first, past_last, compared.rows // 2)
        if not first < middle < past_last:  # the rows have gone, or most of them have one id
            return self._middle(compared)
        return (first, middle), (middle, past_last)

    def _middle(self, compared: Compared) -> tuple[KeyRange, KeyRange]:
        first, past_last = compared.key_range
        middle = (first + past_last) // 2
        return (first, middle), (middle, past_last)


def _is_one(compared: Compared) -> bool:
    first, past_last = compared.key_range
    return past_last - first == 1
