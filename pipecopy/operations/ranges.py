"""Ranges of ids: each is compared, narrowed down to the ids that differ, and these are repaired."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence

from pipecopy.errors import DatabaseError
from pipecopy.events import DifferencesFound, RangeVerified
from pipecopy.operations.compare import (
    COMPARING,
    Compared,
    Comparison,
    Differences,
    Listed,
    Suspects,
    Unread,
)
from pipecopy.operations.repair import Repair
from pipecopy.report import LISTED_IDS, VerifyReport
from pipecopy.supervisor.call import KeyRange
from pipecopy.supervisor.run import Run
from pipecopy.supervisor.stop import RANGE

_MOMENT = 0.1
"""Seconds after which a row that differed is read again."""
_MOST_SUSPECTS = 10
"""How many lists of suspects wait for that, of some thousand ids each."""
_FIRST_ROWS = 10
"""Rows of the first range: nobody knows yet how large they are."""
_GROWTH = 10
_SHARE = 4
"""A range has so many rows that it takes at most the fourth part of a call's limit."""
_MOST_CUTS = 200
"""How often a range is cut to find the rows that can't be compared: 14 times for one among 10,000.
What is left of it then is noted as a whole."""
_LISTED = 5_000
"""The most ids of a range in which what was postponed is listed."""
_MOST_CUTS_IN_ALL = 4_000
"""In one run: a cut takes 10 ms where rows fail."""


class Ranges:
    """Compares range by range; the ids that differ in one are found before the next one.

    `is_part`: others compare, and repair, other ids at the same time.
    """

    def __init__(self, run: Run[VerifyReport], *, is_part: bool = False) -> None:
        self._run = run
        self._comparison = Comparison(run, generated=bool(run.report.generated))
        self._repair = Repair(run, self._comparison, postpones=is_part)
        self._rows = min(_FIRST_ROWS, run.config.batch_size)
        """Of the next range, at most."""
        self._cuts = 0
        """How often ranges were cut to find the rows that can't be compared."""

    def verify(self, first_id: int, last_id: int) -> None:
        """Compare the ids from `first_id` to `last_id`."""
        dense = False
        while first_id <= last_id:
            with self._run.unit(RANGE):
                if dense:  # so many ids are so many rows: the question, a round trip, is spared
                    end = min(first_id + self._rows, last_id + 1)
                else:
                    end = self._comparison.end(first_id, last_id + 1, self._rows)
                rows = self._rows
                compared = self._compare((first_id, end))
                if isinstance(compared, Compared):
                    self._run.pace.took(rows=compared.source.rows, size=0)
                dense = compared.has_each_id
                most_cuts = min(self._cuts + _MOST_CUTS, _MOST_CUTS_IN_ALL)
                for part in self._parts(compared, rows, most_cuts):
                    self._look_into(part)
            first_id = end

    @property
    def postponed(self) -> Collection[int]:
        """Ids that were found to differ, and are to be repaired when all others have been."""
        return self._repair.postponed

    def repair(self, ids: Collection[int]) -> None:
        """Repair what was found, and counted, by others and postponed."""
        counted = frozenset(ids)
        for near in _near(sorted(ids)):
            with self._run.unit(RANGE):
                listed = self._comparison.listed((near[0], near[-1] + 1))
                self._repair_found(listed.differences.among(near), listed, near, counted)

    def _parts(self, compared: Compared | Unread, rows: int, most_cuts: int) -> Iterator[Compared]:
        """Yield the parts of a range of so many rows that can be compared; note what can't."""
        if isinstance(compared, Compared):
            yield compared
            return
        first, past_last = compared.key_range
        if past_last - first > 1 and self._cuts < most_cuts:
            self._cuts += 1
            for half in self._comparison.cut(compared.key_range, rows):
                yield from self._parts(self._comparison.compare(half), (rows + 1) // 2, most_cuts)
        else:
            self._run.report = self._run.report.unread(compared.noted())
            self._verified(compared.key_range)

    def _compare(self, key_range: KeyRange) -> Compared | Unread:
        """Compare a range as a whole, and see by the time it takes how large the next one may be.

        Copying splits a batch by its bytes, for which every row has to be read.
        """
        config, clock = self._run.config, self._run.clock
        began = clock.now()
        compared = self._comparison.compare(key_range)
        seconds = max(clock.now() - began, 0.001)
        growth = min(_GROWTH, config.call_timeout / _SHARE / seconds)
        self._rows = max(1, min(config.batch_size, int(self._rows * growth)))
        return compared

    def _look_into(self, compared: Compared) -> None:
        """Find the ids of a range that differ, and count it as verified."""
        before = self._run.report
        try:
            self._find_differences(compared)
        except DatabaseError as error:
            # a row that came after the range was compared
            if not error.is_of_a_row or error.call not in COMPARING:
                raise
            unread = Unread(compared.key_range, error, lacking=None)
            self._run.report = self._run.report.unread(unread.noted())
        self._verified(compared.key_range, compared.source.rows, before)

    def _find_differences(self, compared: Compared) -> None:
        if not compared.equal:
            waiting: deque[Suspects] = deque()
            for suspects in self._comparison.suspects(compared):
                waiting.append(suspects)
                while waiting and (len(waiting) > _MOST_SUSPECTS or self._due(waiting[0]) <= 0):
                    self._look_again(waiting.popleft())
            for suspects in waiting:
                self._look_again(suspects)

    def _verified(
        self, key_range: KeyRange, rows: int = 0, before: VerifyReport | None = None
    ) -> None:
        """Count a range of so many rows as verified; `before`: the report when that began."""
        run, report = self._run, self._run.report
        before = before or report
        run.update(rows=report.rows + rows, ranges=report.ranges + 1, next_id=key_range[1])
        run.notify(
            RangeVerified(
                key_range=key_range,
                rows=rows,
                missing=report.missing - before.missing,
                surplus=report.surplus - before.surplus,
                differing=report.differing - before.differing,
            )
        )

    def _due(self, suspects: Suspects) -> float:
        """Return the seconds until they may be read again."""
        return suspects.seen_at + _MOMENT - self._run.clock.now()

    def _look_again(self, suspects: Suspects) -> None:
        """Read them again, count what still differs, and repair it if that is asked for."""
        run = self._run
        run.pause(self._due(suspects))
        listed = self._comparison.listed(suspects.found.key_range)
        found = listed.differences.among(suspects.found.ids)
        if not found:
            return
        _notify_of(run, found)
        run.report = run.report.found(
            missing=found.missing, surplus=found.surplus, differing=found.differing
        )
        generated = self._comparison.only_generated(found)
        if run.report.repair:
            found = found.without(generated)  # copying them again would change nothing
            self._repair_found(found, listed, found.ids)
        run.update(differing_generated=run.report.differing_generated + len(generated))

    def _repair_found(
        self,
        found: Differences,
        listed: Listed,
        ids: Collection[int],
        counted: frozenset[int] = frozenset(),
    ) -> None:
        """Repair what was found among these ids; those that do not differ any more are repaired."""
        run = self._run
        done = self._repair.repair(found, listed, counted)
        generated = self._comparison.only_generated(done.left)
        run.update(
            repaired=run.report.repaired + len(ids) - len(done.left) - done.deleted,
            deleted=run.report.deleted + done.deleted,
            differing_generated=run.report.differing_generated + len(generated),
        )


def _near(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield the ids in groups, each of ids that are listed in one call."""
    begin = 0
    for here in range(1, len(ids) + 1):
        if here == len(ids) or ids[here] - ids[begin] >= _LISTED:
            yield ids[begin:here]
            begin = here


def _notify_of(run: Run[VerifyReport], found: Differences) -> None:
    """Notify of those that the report will list; any more are in its counts."""
    report = run.report
    event = DifferencesFound(
        missing=found.missing[: LISTED_IDS - len(report.missing_ids)],
        surplus=found.surplus[: LISTED_IDS - len(report.surplus_ids)],
        differing=found.differing[: LISTED_IDS - len(report.differing_ids)],
    )
    if event.missing or event.surplus or event.differing:
        run.notify(event)
