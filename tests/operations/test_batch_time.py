"""`Config.batch_time`: copies whose batches are adapted to what a save takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest

from pipecopy import CopyReport, check_copy
from pipecopy.errors import CallTimeoutError
from pipecopy.events import BatchSaved, Event
from pipecopy.postgres import PostgresPool
from tests.support.databases import TemporaryDatabase
from tests.support.drivers import RecordingDatabase, RecordingPool
from tests.support.profiles import assert_equal_tables, create_profiles
from tests.support.proxy import Proxy
from tests.support.runs import CONFIG, copy
from tests.support.strikes import Strike

LONG = 5.0
"""Seconds that no save of a file takes: each batch is twice the one before."""
TIMED_OUT = Strike(side="target", call="save_rows", fault="TimeoutError", times=1)

both = pytest.mark.parametrize("read_ahead", [0, 1])


def loads(pool: RecordingPool) -> list[list[int]]:
    return [attempt.args for attempt in pool.recorder.attempts(call="load_rows")]


def tiled(*sizes: int, end: int) -> list[list[int]]:
    """Return the ranges of batches of these sizes, one after the other."""
    ends = [0]
    for size in sizes:
        ends.append(min(ends[-1] + size, end))
    assert ends[-1] == end
    return [list(pair) for pair in pairwise(ends)]


# -- a driver that knows ranges of ids alone


@pytest.mark.parametrize(
    ("read_ahead", "sizes"),
    [
        (0, (10, 20, 40, 80, 160, 320, 640)),
        (1, (10, 10, 20, 40, 80, 160, 320, 640)),  # the second one was loaded before
    ],
)
def test_a_batch_grows_once_the_save_before_it_has_ended(
    sqlite_pool: RecordingPool, read_ahead: int, sizes: tuple[int, ...]
) -> None:
    sqlite_pool.create(range(1000))
    report = copy(sqlite_pool, read_ahead=read_ahead, batch_time=LONG)
    assert loads(sqlite_pool) == tiled(*sizes, end=1000)
    assert sqlite_pool.rows("target") == sqlite_pool.rows("source")
    assert (report.rows, report.batches, report.next_id) == (1000, len(sizes), 1000)
    assert report.batch_size == 10 * 2 ** len(sizes)
    assert report.warnings == ()


def test_without_it_nothing_is_adapted(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create(range(50))
    report = copy(sqlite_pool)
    assert loads(sqlite_pool) == tiled(*5 * [10], end=50)
    assert report.batch_size is None


@pytest.mark.parametrize(
    ("read_ahead", "sizes"), [(0, (10, 5, 10, 20, 40, 80)), (1, (10, 10, 5, 10, 20, 40, 80))]
)
def test_a_save_that_timed_out_keeps_its_range_and_halves_the_next_batch(
    sqlite_pool: RecordingPool, read_ahead: int, sizes: tuple[int, ...]
) -> None:
    sqlite_pool.create(range(100))
    pool = sqlite_pool.faulty(TIMED_OUT)
    report = copy(pool, read_ahead=read_ahead, batch_time=LONG, max_retries=1)
    assert loads(pool) == tiled(*sizes, end=100)
    first, again = [a.args for a in pool.recorder.attempts(call="save_rows")][:2]
    assert first == again == list(range(10))
    assert sqlite_pool.rows("target") == sqlite_pool.rows("source")
    assert (report.retries, report.next_id) == (1, 100)


def test_a_load_that_hung_once_changes_no_size(sqlite_pool: RecordingPool) -> None:
    """What its killed attempt took, and the delay before the next one, count for nothing."""
    sqlite_pool.create(range(310))
    hung = Strike(side="source", call="load_rows", fault="deadlock", skip=3, times=1)
    pool = sqlite_pool.faulty(hung)
    report = copy(pool, call_timeout=1, batch_time=0.5, max_retries=1)
    first, *others = tiled(10, 20, 40, 80, 160, end=310)
    assert loads(pool) == [first, *others[:3], *others[2:]]
    assert (report.retries, report.batch_size) == (1, 320)


def test_an_error_reports_what_was_saved_and_the_size_until_then(
    sqlite_pool: RecordingPool,
) -> None:
    sqlite_pool.create(range(100))
    with pytest.raises(CallTimeoutError) as caught:
        copy(sqlite_pool.faulty(replace(TIMED_OUT, skip=2)), batch_time=LONG)
    report = caught.value.report
    assert isinstance(report, CopyReport)
    assert (report.next_id, report.batch_size) == (30, 40)
    copy(sqlite_pool, batch_time=LONG, resume=True)
    assert sqlite_pool.rows("target") == sqlite_pool.rows("source")


@pytest.mark.parametrize(("read_ahead", "ids"), [(0, 135), (1, 260)])
def test_saves_that_take_too_long_get_fewer_rows_down_to_a_hundredth(
    sqlite_pool: RecordingPool, read_ahead: int, ids: int
) -> None:
    sqlite_pool.create(range(ids))
    slow = Strike(side="target", call="save_rows", fault="0.1 s late")
    pool = sqlite_pool.faulty(slow)
    report = copy(pool, read_ahead=read_ahead, batch_size=100, batch_time=0.02)
    sizes = [end - first for first, end in loads(pool)]
    assert sizes == sorted(sizes, reverse=True)
    assert report.batch_size == sizes[-1] == 1
    (warning,) = report.warnings
    assert warning.startswith("saving a batch of the smallest size, 1, took 1")
    assert "`batch_time` (20 ms); set a longer `batch_time`, or a smaller `batch_size`" in warning
    assert sqlite_pool.rows("target") == sqlite_pool.rows("source")


@both
def test_a_driver_that_can_split_no_batch_gets_none_that_is_too_big(
    sqlite_pool: RecordingPool, read_ahead: int
) -> None:
    sqlite_pool.create(range(2000))
    events: list[Event] = []
    report = copy(
        sqlite_pool,
        observer=events.append,
        read_ahead=read_ahead,
        batch_time=LONG,
        max_batch_bytes=5000,
    )
    sizes = [event.bytes for event in events if isinstance(event, BatchSaved)]
    assert 3500 < max(sizes) <= 5000
    assert report.warnings == ()


# -- a driver that says where a batch ends


@dataclass(frozen=True)
class _EndsPool(RecordingPool):
    def connect(self, dbname: str) -> _EndsDatabase:
        return _EndsDatabase(self, dbname)


class _EndsDatabase(RecordingDatabase):
    def end_of_batch(self, min_id: int, max_id: int, rows: int) -> int:
        ids: Sequence[Sequence[int]] = self._load(min_id, max_id)
        return ids[rows - 1][0] + 1 if len(ids) >= rows else max_id


def test_the_end_of_a_batch_is_asked_for_by_the_rows_it_should_have(
    sqlite_pool: RecordingPool,
) -> None:
    sqlite_pool.create(range(0, 3000, 100))
    copy(_EndsPool(sqlite_pool.folder), batch_size=2, batch_time=LONG)
    saved = [attempt.args for attempt in sqlite_pool.recorder.attempts(call="save_rows")]
    assert [len(ids) for ids in saved] == [2, 4, 8, 16]
    assert [key for ids in saved for key in ids] == list(range(0, 3000, 100))


# -- PostgreSQL, behind a slow link


@pytest.mark.server
@both
def test_over_a_slow_link_batches_grow_and_the_copy_takes_less_time(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, read_ahead: int
) -> None:
    create_profiles(source_db, 20_000, step=7)
    create_profiles(target_db)
    events: list[Event] = []
    with (
        Proxy(source_db.server) as near,
        Proxy(target_db.server) as far,
        near.latency(0.02),
        far.latency(0.02),
    ):
        pool = PostgresPool({"source": near.uri(source_db.name), "target": far.uri(target_db.name)})
        report = copy(
            pool,
            observer=events.append,
            batch_size=200,
            batch_time=2,
            max_batch_bytes=500_000,
            read_ahead=read_ahead,
        )
    assert_equal_tables(source_db, target_db)
    saved = [event for event in events if isinstance(event, BatchSaved)]
    assert [one.key_range[1] for one in saved[:-1]] == [one.key_range[0] for one in saved[1:]]
    assert all(one.bytes <= 500_000 for one in saved)
    rows = [one.rows for one in saved]
    assert all(after <= 2 * before for before, after in pairwise(rows))
    assert report.batch_size is not None
    assert max(rows) <= report.batch_size * 1.05  # what fits is told by the rows of the last one
    assert report.batches < 50, "100 without"
    assert report.warnings == ()


@pytest.mark.server
def test_a_check_does_not_say_how_many_batches_there_will_be(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    for database in (source_db, target_db):
        create_profiles(database, 100)
    for batch_time, batches in ((None, 10), (2.0, None)):
        limits = replace(CONFIG, batch_time=batch_time)
        plan = check_copy(limits, postgres_pool, "source", "target").plan
        assert plan is not None
        assert plan.batches == batches
