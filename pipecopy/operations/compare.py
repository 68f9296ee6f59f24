"""The same ids on both sides: compared by checksums, and halved down to the ids that differ.

Both sides are asked at the same time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipecopy.errors import DatabaseError
from pipecopy.report import Failed
from pipecopy.supervisor.call import Call, KeyRange
from pipecopy.supervisor.run import Run

_FEW = 1_000
"""Rows of a range that is listed rather than cut in two. Listing a row takes about as long as two
checksums of it, so that cutting a range further would take longer."""
_MANY = 5_000
"""The same if it differs in many places, or one side has nothing there."""
_LOPSIDED = 3 / 4
"""A half with more of the rows than this is cut in the middle of its ids next. Each cut or the next
one so leaves fewer rows or half of the ids: if a side can't count rows, a cut by rows may do
neither, and would be made more often than Python's stack is deep."""

COMPARING = ("checksum", "row_checksums", "copied_checksums")
"""The calls that compare."""

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


@dataclass(frozen=True)
class Compared:
    """A range of ids as both sides have it."""

    key_range: KeyRange
    source: _Counted
    target: _Counted

    @property
    def equal(self) -> bool:
        """Whether both sides have the same rows there."""
        return self.source == self.target

    @property
    def has_each_id(self) -> bool:
        """Whether each side has as many rows as there are ids."""
        first, past_last = self.key_range
        return self.source.rows == self.target.rows == past_last - first

    @property
    def rows(self) -> int:
        """How many the side with more of them has."""
        return max(self.source.rows, self.target.rows)


@dataclass(frozen=True)
class Unread:
    """A range of ids in which a row made the call fail on a side."""

    key_range: KeyRange
    error: DatabaseError
    """The source's, if both failed."""
    lacking: str | None
    """The other side, if it has no row there."""
    has_each_id = False
    """Nobody knows."""

    def noted(self) -> Failed:
        """Return it as the report lists it."""
        failed = Failed.of(self.error, self.key_range)
        if self.lacking is None or failed.last_id > failed.first_id:
            return failed
        return replace(
            failed, reason=f"{failed.reason}; the {self.lacking} has no row with this id"
        )


@dataclass(frozen=True)
class Suspects:
    """Ids that differed when they were listed; a row that was just being written looks so too."""

    found: Differences
    seen_at: float
    """By the run's clock."""


class Comparison:
    """Compares the two sides; its calls raise what `Run.wait` raises.

    `generated`: the checksums are also of columns that each side computes itself.
    """

    def __init__(self, run: Run[Any], *, generated: bool) -> None:
        self._run = run
        self._generated = generated

    def end(self, first: int, past_last: int, rows: int) -> int:
        """Return where a range ends that has at most `rows` rows on each side.

        If a side can't tell, it is so many ids.
        """
        if not all("end_of_batch" in side.offers for side in self._run.endpoints.both):
            return min(first + rows, past_last)
        while True:
            row_errors: list[DatabaseError] = []
            key_range = (first, past_last)
            calls = self._run.call_both(
                "end_of_batch", *key_range, rows, key_range=key_range, row_errors=row_errors
            )
            if not row_errors:
                return min(int(call.value) for call in calls)
            past_last = (first + past_last + 1) // 2  # before the row that it fails on
            if past_last - first == 1:
                return past_last

    def compare(self, key_range: KeyRange) -> Compared | Unread:
        """Compare a range as a whole."""
        row_errors: list[DatabaseError] = []
        source, target = self._run.call_both(
            "checksum", *key_range, key_range=key_range, row_errors=row_errors
        )
        if not row_errors:
            return Compared(key_range, _counted(source), _counted(target))
        told = [
            call
            for call in (source, target)
            if all(each.side != call.endpoint.side for each in row_errors)
        ]
        lacking = [call.endpoint.side for call in told if not _counted(call).rows]
        error = min(row_errors, key=lambda each: str(each.side))
        return Unread(key_range, error, lacking[0] if lacking else None)

    def cut(self, key_range: KeyRange, rows: int) -> tuple[KeyRange, KeyRange]:
        """Cut a range of so many rows, at most, in the middle of them, else of its ids."""
        first, past_last = key_range
        middle = self.end(first, past_last, rows // 2) if rows > 1 else past_last
        if not first < middle < past_last:  # the rows have gone, or most of them have one id
            return _middle(key_range)
        return (first, middle), (middle, past_last)

    def listed(self, key_range: KeyRange) -> Listed:
        """List the ids of a range."""
        source, target = self._run.call_both("row_checksums", *key_range, key_range=key_range)
        return Listed(_by_id(source), _by_id(target))

    def only_generated(self, found: Differences) -> frozenset[int]:
        """Return the differing ids whose rows are the same but for what each side computes."""
        differing = Differences(differing=found.differing)
        if not self._generated or not differing:
            return frozenset()
        key_range = differing.key_range
        source, target = self._run.call_both("copied_checksums", *key_range, key_range=key_range)
        copied = Listed(_by_id(source), _by_id(target)).differences
        return differing.without(copied.ids).ids

    def suspects(
        self, compared: Compared, *, scattered: bool = False, lopsided: bool = False
    ) -> Iterator[Suspects]:
        """Yield the ids of a differing range, a few at a time, in their order.

        `scattered`: it differs in more than one place. `lopsided`: the cut that made it left it
        most of the rows.
        """
        if compared.rows <= self._most(compared, scattered=scattered) or _is_one(compared):
            found = self.listed(compared.key_range).differences
            if found:
                yield Suspects(found, self._run.clock.now())
            return
        cut = (
            _middle(compared.key_range) if lopsided else self.cut(compared.key_range, compared.rows)
        )
        halves = [self._compared(half) for half in cut]
        differing = [half for half in halves if not half.equal]
        for half in differing:
            yield from self.suspects(
                half,
                scattered=len(differing) > 1,
                lopsided=half.rows > _LOPSIDED * compared.rows,
            )

    def _compared(self, key_range: KeyRange) -> Compared:
        """Compare a part of a range that could be compared as a whole."""
        compared = self.compare(key_range)
        if isinstance(compared, Unread):
            raise compared.error
        return compared

    def _most(self, compared: Compared, *, scattered: bool) -> int:
        one_side = not compared.source.rows or not compared.target.rows
        return _MANY if scattered or one_side else _FEW


def _middle(key_range: KeyRange) -> tuple[KeyRange, KeyRange]:
    first, past_last = key_range
    middle = (first + past_last) // 2
    return (first, middle), (middle, past_last)


def _is_one(compared: Compared) -> bool:
    first, past_last = compared.key_range
    return past_last - first == 1


def _counted(call: Call) -> _Counted:
    match call.value:
        case [int(rows), int(checksum)]:
            return _Counted(rows, checksum)
    raise call.wrong_value("(rows, checksum)")


def _by_id(call: Call) -> dict[int, tuple[int, int]]:
    found: dict[int, tuple[int, int]] = {}
    first, past_last = call.key_range or (0, 0)
    for row in call.value if isinstance(call.value, list) else (None,):
        match row:
            case [int(key), int(rows), int(checksum)] if first <= key < past_last:
                found[key] = (rows, checksum)
            case _:
                raise call.wrong_value("a list of (id, rows, checksum) with ids of that range")
    return found
