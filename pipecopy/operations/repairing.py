"""Repair: copies missing and differing rows again, removes surplus ones, and looks again."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from pipecopy.operations.compare import Comparison, Differences, Listed
from pipecopy.supervisor.call import KeyRange
from pipecopy.supervisor.story import Stage
from pipecopy.supervisor.transfer import Transfer
from pipecopy.workers import Task

_NEAR = 250
"""Rows apart at which two stale ones are copied as one range: so many more take less time to load
and save than another load and save."""


class Repair:
    """Puts ids right that were found to differ; its calls raise what `Calls.wait` raises."""

    def __init__(self, stage: Stage, comparison: Comparison, *, delete_surplus: bool) -> None:
        self._stage = stage
        self._comparison = comparison
        self._delete_surplus = delete_surplus
        self._transfer = Transfer(stage.run, stage.calls, stage.crew)

    def put_right(self, found: Differences, listed: Listed) -> tuple[Differences, int]:
        """Return what differs when it is looked at again, and how many ids were removed.

        `listed` has the rows among which they were found. Surplus rows go first: one may have the
        unique value of a row that is missing. One that is found later, in another list, can't: the
        save then fails, with the server's own error.
        """
        stale = frozenset((*found.missing, *found.differing))
        surplus = found.surplus if self._delete_surplus else ()
        if not stale and not surplus:
            return found, 0
        if surplus:
            # the source is looked at once more: what has come to it meanwhile is no surplus
            surplus = self._again(found).among(found.surplus).surplus
        if surplus:
            self._delete(surplus)
        for key_range in _runs(stale, sorted(listed.source)):
            self._copy(key_range)
        left = self._again(found)
        return left, len(set(surplus) - left.ids)

    def _copy(self, key_range: KeyRange) -> None:
        """Copy the range again; saving a row that is there as it should be changes nothing."""
        first, past_last = key_range
        while first < past_last:
            loaded = self._transfer.load(self._stage.source, (first, past_last))
            if loaded.batch.rows:
                self._stage.calls.wait(self._transfer.save(self._stage.target, loaded))
            first = loaded.key_range[1]

    def _delete(self, ids: Collection[int]) -> None:
        call = self._stage.calls.begin(
            self._stage.target,
            Task("delete_rows", (tuple(ids),)),
            key_range=(min(ids), max(ids) + 1),
        )
        self._stage.calls.wait(call)

    def _again(self, found: Differences) -> Differences:
        return self._comparison.listed(found.key_range).differences.among(found.ids)


def _runs(stale: Collection[int], ids: Sequence[int]) -> Iterator[KeyRange]:
    """Yield ranges that hold the stale ones of these ids, in order, and few others."""
    at = [position for position, key in enumerate(ids) if key in stale]
    begin = 0
    for here in range(1, len(at) + 1):
        if here == len(at) or at[here] - at[here - 1] > _NEAR:
            yield ids[at[begin]], ids[at[here - 1]] + 1
            begin = here
