"""What differs is copied again; rows that have each other's unique values, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from pipecopy.arguments import function_call
from pipecopy.errors import DatabaseError
from pipecopy.operations.compare import Comparison, Differences, Listed
from pipecopy.report import Failed, VerifyReport
from pipecopy.supervisor.run import Run
from pipecopy.units import id_ranges

_NEAR = 250
"""Rows apart at which two stale ones are copied as one range: so many more take less time to load
and save than another load and save."""
_MOST_REFUSED = 100
"""So many ids whose rows can't be repaired are found one by one, in one run."""
_MOST_ROUNDS = 20
"""How often a group of rows grows by those that are in its way, until there are none."""
_UNIQUE = ("23505", "23P01")
"""SQLSTATEs of a unique index and of an exclusion constraint."""
_DEADLOCK = "40P01"
"""Two transactions wait for each other: one writes a unique value that the other gives up."""


@dataclass(frozen=True)
class Repaired:
    """What came of a repair."""

    left: Differences
    deleted: int


class Repair:
    """Repairs the target of one run."""

    def __init__(
        self, run: Run[VerifyReport], comparison: Comparison, *, postpones: bool = False
    ) -> None:
        self._run = run
        self._comparison = comparison
        self._refused = 0
        self._found: frozenset[int] = frozenset()
        """The ids that are being repaired, and were counted."""
        self._postpones = postpones
        """Others repair other ids at the same time, in which the cause of a refusal may be."""
        self.postponed: set[int] = set()
        """Ids that are to be repaired when all others have been."""

    def repair(
        self, found: Differences, listed: Listed, counted: frozenset[int] = frozenset()
    ) -> Repaired:
        """Copy missing and differing rows again, remove surplus ones if that is asked for.

        `listed` has the rows among which they were found, and `counted` ids that were counted
        besides. Surplus rows go first: one may have the unique value of a row that is missing.
        """

        def again() -> Differences:
            return self._comparison.listed(found.key_range).differences.among(found.ids)

        run = self._run
        self._found = found.ids | counted
        stale = sorted((*found.missing, *found.differing))
        surplus = found.surplus if run.report.delete_surplus else ()
        if not stale and not surplus:
            return Repaired(found, 0)
        if surplus:
            # the source is looked at once more: what has come to it meanwhile is no surplus
            surplus = again().among(found.surplus).surplus
        if surplus:
            key_range = (min(surplus), max(surplus) + 1)
            with self._postponing(surplus):
                run.call(run.target, "delete_rows", tuple(surplus), key_range=key_range)
        for near in _runs(stale, sorted(listed.source)):
            with self._postponing(near):
                self._copy_again(near)
        left = again()
        return Repaired(left, len(set(surplus) - left.ids))

    def _copy_again(self, stale: Sequence[int]) -> None:
        """Copy the rows of these ids again, with those between them; note those that are refused.

        Saving a row that is there as it should be changes nothing.
        """
        run = self._run
        first, past_last = stale[0], stale[-1] + 1
        try:
            while first < past_last:
                run.pace.keep()
                batch = run.load(first, past_last)
                if batch.rows:
                    run.wait(run.save(batch))
                first = batch.end
        except DatabaseError as error:
            if not error.is_of_a_row:
                raise
            refused: Failed | None = _failed(stale, error)
            if error.sqlstate in _UNIQUE and self._can_exchange:
                refused = self._exchange(stale)
            if refused is None:
                return
            if len(stale) > 1 and self._refused < _MOST_REFUSED:
                middle = len(stale) // 2
                self._copy_again(stale[:middle])
                self._copy_again(stale[middle:])
                return
            self._refused += 1
            if self._postpones and refused.sqlstate in _UNIQUE:
                self.postponed.update(stale)
            else:
                run.report = run.report.refused(refused, len(stale))

    @contextmanager
    def _postponing(self, ids: Sequence[int]) -> Iterator[None]:
        """Postpone these ids if the server has ended the statement for another repair's."""
        try:
            yield
        except DatabaseError as error:
            if not self._postpones or error.sqlstate != _DEADLOCK:
                raise
            self.postponed.update(ids)

    @property
    def _can_exchange(self) -> bool:
        run = self._run
        return "load_these" in run.source.offers and "exchange_rows" in run.target.offers

    def _exchange(self, stale: Sequence[int]) -> Failed | None:
        """Write these rows and those that have unique values of theirs in one transaction.

        Returns why it can't be done; then nothing was written.
        """
        run, report = self._run, self._run.report
        group = set(stale)
        surplus: set[int] = set()
        for _ in range(_MOST_ROUNDS):
            try:
                run.pace.keep()
                batch = run.load_these(group)
                found, had = run.exchange(batch, surplus)
            except DatabaseError as error:
                if not error.is_of_a_row:
                    raise
                return _failed(stale, error)
            if not found:
                if batch.rows:  # they have not left the source meanwhile
                    self._exchanged(group.difference(stale) - surplus, surplus)
                    self._warn_of(group - surplus, had - surplus)
                return None
            outside = [key for key in found if not report.first_id <= key <= (report.max_id or 0)]
            if outside:
                return self._in_the_way(stale, outside, "outside of the ids that are compared")
            only_here = {
                key
                for key in found
                if key in self._comparison.listed((key, key + 1)).differences.surplus
            }
            if only_here and not report.delete_surplus:
                how = function_call("verify_tables", repair=True, delete_surplus=True)
                return self._in_the_way(
                    stale, only_here, f"only in the target, and {how} would delete it"
                )
            surplus |= only_here
            unread = found & group - only_here  # asked for, and not among what was loaded
            if unread:
                return self._in_the_way(
                    stale, unread, "not among the rows of the source that are compared"
                )
            group |= found
        return self._in_the_way(stale, found, "one of too many such rows for one transaction")

    def _exchanged(self, others: set[int], surplus: set[int]) -> None:
        """Count the rows that were written or removed with those that were found to differ."""
        run = self._run
        others, surplus = others - self._found, surplus - self._found
        # each that is repaired counts as found, once more if it was before: else it would stand for
        # one that is left
        report = run.report.found(missing=(), surplus=sorted(surplus), differing=sorted(others))
        run.report = replace(
            report,
            repaired=report.repaired + len(others),
            deleted=report.deleted + len(surplus),
        )

    def _warn_of(self, group: set[int], had: set[int]) -> None:
        """Warn of the rows that were written in one transaction, `group`, since some had to be."""
        of = had or group
        if len(of) == 1:  # a surplus row had the value, and is counted as deleted
            return
        who = f"{self._run.target}: {'' if had else 'some of '}the rows with the ids"
        self._run.warn(
            f"{who} {id_ranges(sorted(of), count=len(of))} had each other's unique values: they"
            " were removed and inserted again in one transaction"
        )

    def _in_the_way(self, stale: Sequence[int], found: Iterable[int], why: str) -> Failed:
        ids = sorted(found)
        return Failed(
            first_id=stale[0],
            last_id=stale[-1],
            side="target",
            reason=f"the row with the id {ids[0]} has its unique value: it is {why}",
            sqlstate=_UNIQUE[0],
        )


def _failed(stale: Sequence[int], error: DatabaseError) -> Failed:
    return Failed.of(error, (stale[0], stale[-1] + 1))


def _runs(stale: Sequence[int], ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield the stale ones of these ids in order, in groups with few others between them."""
    wanted = frozenset(stale)
    at = [position for position, key in enumerate(ids) if key in wanted]
    begin = 0
    for here in range(1, len(at) + 1):
        if here == len(at) or at[here] - at[here - 1] > _NEAR:
            yield [ids[position] for position in at[begin:here]]
            begin = here
