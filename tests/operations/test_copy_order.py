"""Which calls a copy makes, in which order, on which ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest

from pipecopy import Row
from pipecopy.contracts import SavedRows
from pipecopy.errors import CallTimeoutError, DatabaseError
from pipecopy.events import BatchSaved, CallStarted, Event
from tests.support.drivers import RecordingDatabase, RecordingPool
from tests.support.runs import copy
from tests.support.strikes import Strike

BIGGEST = 2**63 - 1

# ids in the source, batch size, ranges that are loaded, ids of each batch that is saved
CASES = {
    "no rows": ([], 10, [[0, 1]], []),
    "one row": ([1], 10, [[0, 2]], [[1]]),
    "id 0 alone": ([0], 10, [[0, 1]], [[0]]),
    "holes": ([3, 25, 26], 10, [[0, 10], [10, 20], [20, 27]], [[3], [25, 26]]),
    "last id ends a batch": ([0, 9], 10, [[0, 10]], [[0, 9]]),
    "last id begins a batch": ([0, 10], 10, [[0, 10], [10, 11]], [[0], [10]]),
    "batches of one": ([1, 2], 1, [[0, 1], [1, 2], [2, 3]], [[1], [2]]),
    "larger than the table": ([1, 2, 3], 10**6, [[0, 4]], [[1, 2, 3]]),
    "the biggest id": (
        [5, 2**62, BIGGEST],
        2**62,
        [[0, 2**62], [2**62, 2**63]],
        [[5], [2**62, BIGGEST]],
    ),
}


@pytest.mark.parametrize("read_ahead", [0, 1])
@pytest.mark.parametrize("case", CASES)
def test_calls_and_ranges(sqlite_pool: RecordingPool, case: str, read_ahead: int) -> None:
    ids, batch_size, ranges, batches = CASES[case]
    sqlite_pool.create(ids)
    report = copy(sqlite_pool, batch_size=batch_size, read_ahead=read_ahead)

    source = [(a.call, a.args) for a in sqlite_pool.recorder.attempts(side="source")]
    target = [(a.call, a.args) for a in sqlite_pool.recorder.attempts(side="target")]
    loads = [("load_rows", ids) for ids in ranges]
    saves = [("save_rows", ids) for ids in batches]
    assert source == [("connect", []), ("get_max_id", []), *loads, ("close", [])]
    assert target == [("connect", []), *saves, ("close", [])]

    assert sqlite_pool.rows("target") == sqlite_pool.rows("source")
    assert (report.outcome, report.rows, report.batches) == ("complete", len(ids), len(batches))
    assert (report.max_id, report.next_id) == (max(ids, default=0), max(ids, default=0) + 1)
    assert (report.calls, report.timeouts, report.kills, report.retries) == (
        len(source) + len(target),
        0,
        0,
        0,
    )
    assert report.warnings == ()


def test_lockstep_loads_no_batch_before_the_last_one_is_saved(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create(range(50))
    slow_saves = Strike(side="target", call="save_rows", fault="0.1 s late")
    copy(replace(sqlite_pool, strikes=(slow_saves,)), read_ahead=0)
    attempts = sqlite_pool.recorder.attempts()
    batches = [a for a in attempts if a.call in {"load_rows", "save_rows"}]
    assert [a.call for a in batches] == ["load_rows", "save_rows"] * 5
    for one, next_one in pairwise(batches):
        assert one.end is not None
        assert one.end <= next_one.start


def test_read_ahead_loads_one_batch_while_one_is_saved(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create(range(50))
    slow_saves = Strike(side="target", call="save_rows", fault="0.1 s late")
    copy(replace(sqlite_pool, strikes=(slow_saves,)), read_ahead=1)
    loads = sqlite_pool.recorder.attempts(call="load_rows")
    saves = sqlite_pool.recorder.attempts(call="save_rows")
    for save, load_after in zip(saves, loads[1:], strict=False):
        assert save.end is not None
        assert load_after.start < save.end, "the next batch was not loaded meanwhile"
    for save, load_after_next in zip(saves, loads[2:], strict=False):
        assert save.end is not None
        assert save.end <= load_after_next.start, "it read ahead by more than one batch"
    for one, next_one in (*pairwise(loads), *pairwise(saves)):
        assert one.end is not None
        assert one.end <= next_one.start


def test_reader_and_writer_are_one_process_each(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create(range(50))
    copy(sqlite_pool)
    readers = {a.pid for a in sqlite_pool.recorder.attempts(side="source")}
    writers = {a.pid for a in sqlite_pool.recorder.attempts(side="target")}
    assert len(readers) == len(writers) == 1
    assert readers != writers


def test_rows_that_come_after_the_start_are_left_out(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create([1, 2, 3])
    growing = Strike(side="source", call="get_max_id", fault="a row is added", after=True)
    report = copy(replace(sqlite_pool, strikes=(growing,)))
    assert len(sqlite_pool.rows("source")) == 4
    assert [row[0] for row in sqlite_pool.rows("target")] == [1, 2, 3]
    assert (report.max_id, report.rows) == (3, 3)


# -- drivers that know where the next rows are


@dataclass(frozen=True)
class _GapsPool(RecordingPool):
    """Opens databases that find the next rows across any gaps."""

    key_range: bool = True

    def connect(self, dbname: str) -> _GapsDatabase:
        return _GapsDatabase(self, dbname)


class _Batch(list[Row]):
    key_range: tuple[int, int]


class _GapsDatabase(RecordingDatabase):
    _pool: _GapsPool

    def load_batch(self, min_id: int, max_id: int, rows: int) -> Sequence[Row]:
        return self.record(
            "load_rows", [min_id, max_id, rows], lambda: self._load_batch(min_id, max_id, rows)
        )

    def _load_batch(self, min_id: int, max_id: int, rows: int) -> Sequence[Row]:
        found = self._load(min_id, max_id)
        if not self._pool.key_range:
            return found
        batch = _Batch(found[:rows])
        batch.key_range = (min_id, batch[-1][0] + 1 if len(found) > rows else max_id)
        return batch


def test_the_driver_says_where_a_batch_ends(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create([3, 4, 50, 51, 10**12])
    events: list[Event] = []
    pool = _GapsPool(sqlite_pool.folder)
    report = copy(pool, batch_size=2, observer=events.append)
    assert sqlite_pool.rows("target") == sqlite_pool.rows("source")
    past_last = 10**12 + 1
    loads = [a.args for a in pool.recorder.attempts(call="load_rows")]
    assert loads == [[0, past_last, 2], [5, past_last, 2], [52, past_last, 2]]
    saved = [event.key_range for event in events if isinstance(event, BatchSaved)]
    assert saved == [(0, 5), (5, 52), (52, past_last)]
    started = [event.where for event in events if isinstance(event, CallStarted)]
    assert [(w.key_range, w.rows) for w in started if w.call == "load_rows"] == [
        ((0, past_last), 2),
        ((5, past_last), 2),
        ((52, past_last), 2),
    ]
    assert (report.batches, report.next_id) == (3, past_last)


def test_an_error_says_how_many_rows_of_which_ids_were_asked_for(
    sqlite_pool: RecordingPool,
) -> None:
    sqlite_pool.create(range(1, 100))
    strike = Strike(side="source", call="load_rows", fault="TimeoutError", skip=1)
    with pytest.raises(CallTimeoutError, match=r"load_rows of up to 10 rows of ids \[11, 100\)"):
        copy(_GapsPool(sqlite_pool.folder, (strike,)))


def test_a_batch_that_does_not_say_where_it_ends_is_an_error(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create(range(1, 100))
    with pytest.raises(DatabaseError, match="without the attribute key_range"):
        copy(_GapsPool(sqlite_pool.folder, key_range=False))


@dataclass(frozen=True)
class _TellingPool(RecordingPool):
    """Its databases say of each save what `told` is."""

    told: object = None

    def connect(self, dbname: str) -> _TellingDatabase:
        return _TellingDatabase(self, dbname)


class _TellingDatabase(RecordingDatabase):
    _pool: _TellingPool

    def save_rows(self, rows: Sequence[Row]) -> Any:
        super().save_rows(rows)
        return self._pool.told


@pytest.mark.parametrize(
    ("told", "counts"),
    [
        (SavedRows(inserted=1, updated=1, unchanged=0), (1, 1, 0)),
        (SavedRows(inserted=-1, updated=3, unchanged=0), (None, None, None)),
        (2, (None, None, None)),
        (None, (None, None, None)),
    ],
)
def test_a_driver_may_say_what_became_of_the_rows(
    sqlite_pool: RecordingPool, told: object, counts: tuple[int | None, ...]
) -> None:
    sqlite_pool.create([3, 4, 23, 24])  # a batch of two, one without rows, a batch of two
    events: list[Event] = []
    pool = _TellingPool(sqlite_pool.folder, told=told)
    report = copy(pool, batch_size=10, observer=events.append)
    assert [(e.inserted, e.updated, e.unchanged) for e in events if isinstance(e, BatchSaved)] == [
        counts,
        (0, 0, 0),
        counts,
    ]
    total = tuple(None if count is None else 2 * count for count in counts)
    assert (report.inserted, report.updated, report.unchanged) == total
