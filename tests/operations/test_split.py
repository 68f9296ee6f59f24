"""The ids of a table in ranges of about as many rows each, as far as the driver tells of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pytest

from pipecopy.errors import DatabaseError
from pipecopy.events import CallEnded, Event
from pipecopy.operations.split import Piece
from tests.support.drivers import RecordingDatabase, RecordingPool
from tests.support.runs import split
from tests.support.strikes import FAULTS

_IDS = [*range(900), *range(900, 90_000, 891)]
"""90 % of the 1,000 rows in 1 % of the ids."""


@dataclass(frozen=True)
class CountingPool(RecordingPool):
    """Opens databases that count batches, and estimate."""

    most: int = 1_000_000
    """So many batches are counted in all, then it takes too long."""
    fault: str = ""
    """Strikes instead of that."""
    estimates: bool = True
    result: Callable[[], object] | None = None
    """Makes what `ends_of_batches` returns, in the place of what it should."""

    def connect(self, dbname: str) -> CountingDatabase:
        return CountingDatabase(self, dbname)


class CountingDatabase(RecordingDatabase):
    """One side's file."""

    def __init__(self, pool: CountingPool, side: str) -> None:
        super().__init__(pool, side)
        self._counting = pool
        self._left = pool.most

    def ends_of_batches(
        self, min_id: int, max_id: int, rows: int, most: int, seconds: float
    ) -> object:
        assert 0 < seconds <= 2.5, "a quarter of a call's limit"
        if self._counting.result is not None:
            return self._counting.result()
        if not self._left and self._counting.fault:
            FAULTS[self._counting.fault](self)
        ids = iter([row[0] for row in self._load(min_id, max_id)])
        found: list[tuple[int, int]] = []
        while len(found) < min(most, self._left) and (not found or found[-1][0] < max_id):
            batch = list(islice(ids, rows))
            end = batch[-1] + 1 if len(batch) == rows else max_id
            found.append((end, len(batch)))
        self._left -= len(found)
        return found

    def estimated_rows(self, min_id: int, ends: Sequence[int], seconds: float) -> list[int] | None:
        if not self._counting.estimates:
            return None
        assert 0 < seconds <= 2.5, "a quarter of a call's limit"
        answered = ends[: (len(ends) + 1) // 2]  # the others would take longer than that
        return [len(self._load(min_id, end)) for end in answered]


def _counts(parts: list[Piece], ids: Sequence[int] = _IDS) -> list[int]:
    return [sum(part.first <= each <= part.last for each in ids) for part in parts]


def _pool(pool: RecordingPool, **how: Any) -> CountingPool:
    pool.create(_IDS)
    return CountingPool(pool.folder, **how)


def test_a_driver_that_tells_nothing_of_its_rows_has_its_ids_split_evenly(
    sqlite_pool: RecordingPool,
) -> None:
    sqlite_pool.create([1, 2, 1000])
    parts, warnings = split(sqlite_pool, 4)
    assert [(part.first, part.last, part.rows) for part in parts] == [
        (0, 249, None),
        (250, 499, None),
        (500, 749, None),
        (750, 1000, None),
    ]
    assert warnings == ()


@pytest.mark.parametrize("estimates", [True, False], ids=["estimated", "not known"])
def test_parts_have_as_many_rows(sqlite_pool: RecordingPool, *, estimates: bool) -> None:
    parts, warnings = split(_pool(sqlite_pool, estimates=estimates), 7)
    counts = _counts(parts)
    assert len(parts) == 7
    assert counts == [part.rows for part in parts]
    assert max(counts) <= 1.1 * 1000 / 7
    assert warnings == ()


@pytest.mark.parametrize("most", [0, 40, 75], ids=["nothing", "a half", "most"])
def test_what_takes_too_long_to_count_is_estimated(sqlite_pool: RecordingPool, most: int) -> None:
    parts, warnings = split(_pool(sqlite_pool, most=most), 5)
    counts = _counts(parts)
    assert len(parts) == 5
    assert max(counts) <= 1.1 * 1000 / 5
    assert counts == [part.rows for part in parts]
    assert warnings == ()


def test_rows_that_are_far_from_the_first_one_are_found_by_estimates(
    sqlite_pool: RecordingPool,
) -> None:
    ids = [*range(420), *range(2**62, 2**62 + 580)]
    sqlite_pool.create(ids)
    parts, _ = split(CountingPool(sqlite_pool.folder, most=0), 2)
    assert max(_counts(parts, ids)) <= 1.02 * 500


def test_a_call_that_hangs_is_killed_and_not_made_again(sqlite_pool: RecordingPool) -> None:
    ended: list[CallEnded] = []

    def observe(event: Event) -> None:
        if isinstance(event, CallEnded) and event.where.call == "ends_of_batches":
            ended.append(event)

    pool = _pool(sqlite_pool, most=0, fault="deadlock")
    parts, warnings = split(pool, 5, call_timeout=0.5, max_retries=3, observer=observe)
    assert max(_counts(parts)) <= 1.1 * 1000 / 5
    assert [event.outcome for event in ended] == ["timed out"]
    assert warnings == ()


def test_if_nothing_is_known_of_the_rest_it_is_split_by_ids(sqlite_pool: RecordingPool) -> None:
    parts, (warning,) = split(_pool(sqlite_pool, most=8, estimates=False), 3)
    assert [(part.first, part.rows) for part in parts] == [
        (0, None),
        (29_703, None),
        (59_406, None),
    ]
    assert warning == (
        "source source: the rows could be neither counted in time nor estimated: the ranges have"
        " about as many ids each, not rows, and some may take much longer than others; run VACUUM"
        " (ANALYZE) on the source's table before the next run"
    )


@pytest.mark.parametrize(
    ("ids", "parts", "expected"),
    [
        ([], 5, [(0, 0)]),
        ([7], 5, [(0, 7)]),
        ([1, 5, 9], 10, [(0, 1), (2, 5), (6, 9)]),
        ([0, 1, 2, 3], 2, [(0, 1), (2, 3)]),
        ([1, 5, 9], 1, [(0, 9)]),
    ],
    ids=["no rows", "one row", "more parts than rows", "dense", "one part"],
)
def test_of_few_rows_no_part_is_empty(
    sqlite_pool: RecordingPool, ids: list[int], parts: int, expected: list[tuple[int, int]]
) -> None:
    sqlite_pool.create(ids)
    found, _ = split(CountingPool(sqlite_pool.folder), parts)
    assert [(part.first, part.last) for part in found] == expected


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda: 7, "'int' object is not iterable"),
        (lambda: [7], "ends_of_batches returned 7, not (end, rows)"),
        (lambda: [(10, 10), (10, 0)], "ends_of_batches returned 10, not an id in (10, 89110]"),
        (lambda: [(2**63, 10)], f"ends_of_batches returned {2**63}, not an id in (0, 89110]"),
        (lambda: [(10, -1)], "ends_of_batches returned -1 rows up to 10"),
        (lambda: [(10, "10")], "ends_of_batches returned str, not an int"),
        (
            lambda: [(end + 1, 1) for end in range(1000)],
            "ends_of_batches returned 1000 batches, more than 64",
        ),
    ],
)
def test_wrong_answers_are_errors(
    sqlite_pool: RecordingPool, result: Callable[[], object], message: str
) -> None:
    with pytest.raises(DatabaseError) as raised:
        split(_pool(sqlite_pool, result=result), 2)
    assert message in str(raised.value)
    assert raised.value.call == "ends_of_batches"
