"""Comparison: asks both sides for the checksums of the same ids, at the same time."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pipecopy.errors import DatabaseError
from pipecopy.supervisor.call import Call, KeyRange
from pipecopy.supervisor.seat import Seat
from pipecopy.supervisor.story import Stage
from pipecopy.workers import Task

RowChecksums = Mapping[int, tuple[int, int]]
"""How many rows have the id, and their checksum; by id."""


@dataclass(frozen=True)
class Differences:
    """Ids whose rows are not the same on both sides, each kind in order."""

    missing: tuple[int, ...] = ()
    """In the source alone."""
    surplus: tuple[int, ...] = ()
    """In the target alone."""
    differing: tuple[int, ...] = ()
    """In both, with other values or another number of rows."""

    def __len__(self) -> int:
        return len(self.missing) + len(self.surplus) + len(self.differing)

    @property
    def ids(self) -> frozenset[int]:
        """All of them."""
        return frozenset((*self.missing, *self.surplus, *self.differing))

    @property
    def key_range(self) -> KeyRange:
        """The least range that holds them all; there has to be one."""
        return min(self.ids), max(self.ids) + 1

    def among(self, ids: Collection[int]) -> Differences:
        """Return those with these ids."""
        return Differences(
            missing=tuple(key for key in self.missing if key in ids),
            surplus=tuple(key for key in self.surplus if key in ids),
            differing=tuple(key for key in self.differing if key in ids),
        )

    def without(self, ids: Collection[int]) -> Differences:
        """Return those with other ids."""
        return self.among(self.ids.difference(ids))


@dataclass(frozen=True)
class Listed:
    """The ids of a range as both sides have them."""

    source: RowChecksums
    target: RowChecksums

    @property
    def differences(self) -> Differences:
        """What is not the same on both sides."""
        source, target = self.source, self.target
        both = source.keys() & target.keys()
        return Differences(
            missing=tuple(sorted(source.keys() - target.keys())),
            surplus=tuple(sorted(target.keys() - source.keys())),
            differing=tuple(sorted(key for key in both if source[key] != target[key])),
        )


@dataclass(frozen=True)
class _Counted:
    """What `checksum` returned on one side."""

    rows: int
    checksum: int
    next_end: int | None
    """What `end_of_batch` would say of the ids that follow, where it is known."""


@dataclass(frozen=True)
class Compared:
    """A range of ids as both sides have it."""

    key_range: KeyRange
    source: _Counted
    target: _Counted

    @property
    def equal(self) -> bool:
        """Whether both sides have the same rows there."""
        source, target = self.source, self.target
        return (source.rows, source.checksum) == (target.rows, target.checksum)

    @property
    def rows(self) -> int:
        """How many the side with more of them has."""
        return max(self.source.rows, self.target.rows)

    @property
    def next_end(self) -> int | None:
        """Where the next range ends for both sides, where both know."""
        ends = (self.source.next_end, self.target.next_end)
        return None if None in ends else min(end for end in ends if end is not None)


class Comparison:
    """Compares the two sides; its calls raise what `Calls.wait` raises.

    `generated`: the checksums are also of columns that each side computes itself.
    """

    def __init__(self, stage: Stage, *, generated: bool) -> None:
        self._stage = stage
        self._generated = generated

    def end(self, first: int, past_last: int, rows: int) -> int:
        """Return where a range ends that has at most `rows` rows on each side.

        Where a side can't tell, it is so many ids.
        """
        if not all("end_of_batch" in seat.offers for seat in self._seats):
            return min(first + rows, past_last)
        task = Task("end_of_batch", (first, past_last, rows))
        return min(int(call.value) for call in self._calls(task, (first, past_last)))

    def compare(self, key_range: KeyRange) -> Compared:
        """Compare a range as a whole."""
        source, target = self._calls(Task("checksum", key_range), key_range)
        return Compared(key_range, _counted(source), _counted(target))

    def listed(self, key_range: KeyRange) -> Listed:
        """List the ids of a range."""
        source, target = self._calls(Task("row_checksums", key_range), key_range)
        return Listed(_by_id(source), _by_id(target))

    def only_generated(self, found: Differences) -> frozenset[int]:
        """Return the differing ids whose rows are the same but for what each side computes."""
        differing = Differences(differing=found.differing)
        if not self._generated or not differing:
            return frozenset()
        task = Task("copied_checksums", differing.key_range)
        source, target = self._calls(task, differing.key_range)
        copied = Listed(_by_id(source), _by_id(target)).differences
        return differing.without(copied.ids).ids

    @property
    def _seats(self) -> tuple[Seat, Seat]:
        return self._stage.source, self._stage.target

    def _calls(self, task: Task, key_range: KeyRange) -> tuple[Call, Call]:
        """Make a call on both sides; return the two when both are done."""
        calls = self._stage.calls
        source, target = (calls.begin(seat, task, key_range=key_range) for seat in self._seats)
        calls.wait(source)
        calls.wait(target)
        return source, target


def _counted(call: Call) -> _Counted:
    match call.value:
        case [int(rows), int(checksum)]:
            return _Counted(rows, checksum, None)
        case [int(rows), int(checksum), int() | None as next_end] if _is_end(call, next_end):
            return _Counted(rows, checksum, next_end)
    raise _wrong(call, "(rows, checksum)")


def _is_end(call: Call, next_end: int | None) -> bool:
    return next_end is None or call.key_range is None or next_end > call.key_range[1]


def _by_id(call: Call) -> dict[int, tuple[int, int]]:
    found: dict[int, tuple[int, int]] = {}
    first, past_last = call.key_range or (0, 0)
    for row in call.value if isinstance(call.value, list) else (None,):
        match row:
            case [int(key), int(rows), int(checksum)] if first <= key < past_last:
                found[key] = (rows, checksum)
            case _:
                raise _wrong(call, "a list of (id, rows, checksum) with ids of that range")
    return found


def _wrong(call: Call, expected: str) -> DatabaseError:
    first, past_last = call.key_range or (0, 0)
    return DatabaseError(
        f"{call.seat}: {call.task.call} of ids [{first}, {past_last}) did not return {expected}",
        side=call.seat.side,
        dbname=call.seat.dbname,
        call=call.task.call,
        key_range=call.key_range,
        attempts=1,
    )
