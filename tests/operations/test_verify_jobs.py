"""Several pairs of processes find, and repair, what one pair would have, in the same order."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pipecopy import Row, VerifyReport
from pipecopy.errors import ConfigError, DatabaseError, FullCopyTimeoutError, StoppedError
from pipecopy.events import (
    DifferencesFound,
    Event,
    RangeVerified,
    Resumed,
    RunEnded,
    RunStarted,
    ShardEnded,
    ShardsKnown,
    ShardStarted,
)
from pipecopy.postgres import PostgresPool
from tests.operations.sqlite import DeletingDatabase, DeletingPool
from tests.support.checks import check_nothing_left
from tests.support.databases import Both, TemporaryDatabase
from tests.support.profiles import assert_equal_tables, create_profiles
from tests.support.runs import found, verify
from tests.support.strikes import FAULTS, is_first

OWN = ("run_id", "jobs", "ranges", "calls", "seconds", "started", "ended")
"""What is not the same if several pairs of processes find the same."""


def same(report: VerifyReport) -> VerifyReport:
    """Return it without what depends on how many pairs of processes there were."""
    empty = VerifyReport(run_id="", source="", target="")
    return replace(report, **{name: getattr(empty, name) for name in OWN})


def borders(events: Sequence[Event]) -> list[int]:
    """Return the first id of each range but the first one."""
    (known,) = (event for event in events if isinstance(event, ShardsKnown))
    ends = [(shard.first, shard.last + 1) for shard in known.shards]
    assert [first for first, _ in ends[1:]] == [past_last for _, past_last in ends[:-1]]
    return [first for first, _ in ends[1:]]


def test_what_differs_at_the_borders_of_ranges_is_found_and_repaired(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    for database in (source_db, target_db):
        create_profiles(database, 900, step=2)
    target_db.execute(
        "ALTER TABLE profiles DROP CONSTRAINT profiles_pkey, ALTER id DROP NOT NULL,"
        " ADD UNIQUE (id)"
    )
    events: list[Event] = []
    assert verify(postgres_pool, batch_size=100, jobs=3, observer=events.append).equal
    one, two = (2 * (border // 2) for border in borders(events))  # as is each id
    target_db.execute(
        f"DELETE FROM profiles WHERE id IN (2, {one}, {one + 2}, {two}, {two + 2}, 1800);"
        f"UPDATE profiles SET data = NULL WHERE id IN (4, {one - 2}, {one + 4}, {two - 2}, 1798);"
        f"INSERT INTO profiles SELECT unnest(ARRAY[0, {one - 1}, {one + 1}, {two + 1}, 1801, 9000,"
        " -1, NULL])"
    )
    events.clear()
    report = verify(postgres_pool, batch_size=100, jobs=3, observer=events.append)
    assert same(report) == same(verify(postgres_pool, batch_size=100))
    assert report.missing_ids == (2, one, one + 2, two, two + 2, 1800)
    assert report.surplus_ids == (0, one - 1, one + 1, two + 1, 1801, 9000)
    assert (report.differing, report.surplus, report.without_id) == (5, 8, 2)
    _check_events(events, report)
    repaired = verify(postgres_pool, batch_size=100, jobs=3, repair=True, delete_surplus=True)
    assert (repaired.repaired, repaired.deleted, repaired.left) == (11, 6, 2)
    target_db.execute("DELETE FROM profiles WHERE id < 0 OR id IS NULL")
    assert_equal_tables(source_db, target_db)
    check_nothing_left()


def _check_events(events: Sequence[Event], report: VerifyReport) -> None:
    """See that those of a range say which one, and each kind is sent for all of them."""
    of_ranges = [event for event in events if isinstance(event, RangeVerified | DifferencesFound)]
    assert {event.shard for event in of_ranges} == {0, 1, 2}
    assert all(event.host for event in of_ranges)
    verified = [event for event in events if isinstance(event, RangeVerified)]
    assert (len(verified), sum(each.rows for each in verified)) == (report.ranges, report.rows)
    started = {event.shard for event in events if isinstance(event, ShardStarted)}
    ended = [event for event in events if isinstance(event, ShardEnded)]
    assert started == {0, 1, 2}
    assert sorted((each.shard, each.outcome) for each in ended) == [
        (number, "done") for number in range(3)
    ]
    assert sum(each.rows for each in ended) == report.rows
    assert [type(event) for event in (events[0], events[-1])] == [RunStarted, RunEnded]
    assert sum(isinstance(event, RunStarted | RunEnded) for event in events) == 2


EMAILS = "CREATE TABLE profiles (id int PRIMARY KEY, email text)"


@pytest.mark.server
def test_unique_values_of_rows_in_other_ranges(both: Both) -> None:
    """Swapped, in a ring, in the way as a surplus row, and in the way for good."""
    rows = "SELECT i, 'e' || i FROM generate_series(1, 300) AS i"
    for database in (both.source, both.target):
        database.execute(f"{EMAILS}; INSERT INTO profiles {rows}")
    both.target.execute(
        "CREATE TABLE old AS TABLE profiles; DELETE FROM profiles WHERE id IN (5, 290, 160);"
        "UPDATE profiles SET email = 'was ' || id WHERE id IN (1, 299, 10, 150, 280, 100, 101, 7);"
        "UPDATE profiles SET email = 'e' || (300 - id) WHERE id IN (1, 299);"  # two ranges
        "UPDATE profiles SET email = 'e' || CASE id WHEN 10 THEN 150 WHEN 150 THEN 280 ELSE 10 END"
        " WHERE id IN (10, 150, 280);"
        "UPDATE profiles SET email = 'e' || (201 - id) WHERE id IN (100, 101);"  # in one range
        "INSERT INTO profiles VALUES (400, 'e5'), (401, 'e160');"
        "ALTER TABLE profiles ADD UNIQUE (email)"
    )
    dump = "SELECT array_agg(p ORDER BY id)::text FROM profiles p"
    differing = (1, 7, 10, 100, 101, 150, 280, 299)
    reports = []
    for jobs in (3, 1):
        with both.target.connect() as saved:
            before = saved.execute("TABLE profiles").fetchall()
        report = verify(both.pool(), batch_size=100, repair=True, jobs=jobs)
        assert tuple(sorted(report.differing_ids)) == differing
        reasons = [(each.first_id, each.reason) for each in report.not_repaired_ids]
        reports.append((report.missing, report.surplus, report.repaired, report.left, reasons))
        if jobs == 3:
            assert report.differing_ids == differing
            assert [key for key, _ in reasons] == [5, 160]
            with both.target.connect() as again:
                again.execute("TRUNCATE profiles")
                again.cursor().executemany("INSERT INTO profiles VALUES (%s, %s)", before)
    assert reports[0] == reports[1]
    last = verify(both.pool(), batch_size=100, repair=True, delete_surplus=True, jobs=3)
    assert (last.repaired, last.deleted, last.equal) == (2, 2, True)
    assert both.target.value(dump) == both.source.value(dump)


# -- a driver of a user's own


class ValueIsBadError(Exception):
    sqlstate = "22000"


class DeadlockError(Exception):
    sqlstate = "40P01"


@dataclass(frozen=True)
class AwkwardPool(DeletingPool):
    """Opens databases that do what the source's values say when they make a checksum of them."""

    def connect(self, dbname: str) -> Awkward:
        return Awkward(self, dbname)


class Awkward(DeletingDatabase):
    def checksum(self, min_id: int, max_id: int) -> tuple[int, int]:
        values = {row[1] for row in self._load(min_id, max_id)} if self._side == "source" else ()
        if "bad" in values:
            raise ValueIsBadError("the value is bad")
        if "fails" in values:
            while not (self._pool.folder / "hangs").exists():
                time.sleep(0.005)  # a file sends no event
            raise OSError("the disk is gone")
        if "hangs" in values:
            (self._pool.folder / "hangs").touch()
            FAULTS["deadlock"](self)
        return super().checksum(min_id, max_id)

    def save_rows(self, rows: Sequence[Row]) -> None:
        if any(row[1] == "deadlock" for row in rows) and is_first(self._pool.folder / "deadlocked"):
            raise DeadlockError("deadlock detected")
        super().save_rows(rows)


def awkward(folder: Path, values: dict[int, str]) -> AwkwardPool:
    """Return a pool of equal tables with ids 1 to 200, and these values in the source."""
    pool = AwkwardPool(folder)
    pool.create(range(1, 201))
    with pool.file("source") as db:
        for key, value in values.items():
            db.execute("UPDATE profiles SET data = ? WHERE id = ?", (value, key))
    db.close()
    with pool.file("target") as db:
        db.execute("ATTACH ? AS other", [str(folder / "source.sqlite")])
        db.execute("INSERT INTO profiles SELECT * FROM other.profiles")
        db.execute("UPDATE profiles SET data = 'stale' WHERE id IN (3, 130)")
        db.execute("DELETE FROM profiles WHERE id = 40")
        db.execute("INSERT INTO profiles VALUES (250, 'surplus')")
    db.close()
    return pool


def test_neighbours_in_two_ranges_that_can_not_be_compared_are_named_as_one(
    tmp_path: Path,
) -> None:
    pool = awkward(tmp_path, dict.fromkeys(range(120, 130), "bad"))
    report = verify(pool, jobs=2)
    assert [(each.first_id, each.last_id) for each in report.not_comparable_ids] == [(120, 129)]
    assert same(report) == same(verify(pool))
    assert (report.not_comparable, report.rows) == (10, 190)


def test_what_a_deadlock_has_kept_from_being_repaired_is_repaired_at_the_end(
    tmp_path: Path,
) -> None:
    """As only several that repair at the same time bring about."""
    pool = awkward(tmp_path, {130: "deadlock"})
    report = verify(pool, jobs=2, repair=True, delete_surplus=True)
    assert found(report) == ((40,), (250,), (3, 130))
    assert (report.repaired, report.deleted, report.equal) == (3, 1, True)
    assert (tmp_path / "deadlocked").exists()
    pool.assert_equal()


def test_the_error_of_one_range_ends_all(tmp_path: Path) -> None:
    pool = awkward(tmp_path, {20: "hangs", 140: "fails"})
    began = time.monotonic()
    with pytest.raises(DatabaseError, match="the disk is gone") as raised:
        verify(pool, jobs=2, batch_size=20)
    assert time.monotonic() - began < 5
    error, report = raised.value, raised.value.report
    assert error.key_range is not None
    assert error.key_range[0] <= 140 < error.key_range[1]
    assert isinstance(report, VerifyReport)
    assert (report.outcome, report.jobs, report.max_id) == ("failed", 2, 250)
    assert 0 < report.next_id <= 20
    assert found(report) == ((), (), (3, 130))  # which is in the range above
    check_nothing_left()


def test_the_whole_limit_is_kept_and_told_of_the_whole(tmp_path: Path) -> None:
    pool = awkward(tmp_path, {20: "hangs"})
    began = time.monotonic()
    with pytest.raises(FullCopyTimeoutError) as raised:
        verify(pool, jobs=2, batch_size=20, full_copy_timeout=3)
    assert time.monotonic() - began < 3.25
    message, report = str(raised.value), raised.value.report
    assert message.startswith("the whole verification reached its limit of 3 s")
    ids = f"every id from 0 to {report.next_id - 1} (of 250) was compared, and others above:"
    assert ids in message
    assert 0 < report.next_id <= 20
    check_nothing_left()


def test_a_stop_finishes_the_ranges_in_flight(tmp_path: Path) -> None:
    pool = awkward(tmp_path, {})
    stop, seen = threading.Event(), set()

    def observe(event: Event) -> None:
        if isinstance(event, RangeVerified):
            seen.add(event.shard)
            if seen == {0, 1}:
                stop.set()

    with pytest.raises(StoppedError, match="the verification was stopped; every id from 0 to"):
        verify(pool, jobs=2, batch_size=1, observer=observe, stop=stop)
    check_nothing_left()


def test_the_rate_is_that_of_all_together(tmp_path: Path) -> None:
    pool = awkward(tmp_path, {})
    events: list[Event] = []
    report = verify(pool, jobs=4, batch_size=10, max_rate_rows=150, observer=events.append)
    began = next(event.at for event in events if isinstance(event, ShardsKnown))
    ended = max(event.at for event in events if isinstance(event, RangeVerified))
    assert report.rows == 200
    assert ended - began > 1  # all but the last batch of each is paid for
    paused = sum(event.seconds for event in events if isinstance(event, Resumed))
    assert report.paused == pytest.approx(paused / 4, abs=0.01)


def test_what_is_no_number_of_jobs_is_refused(tmp_path: Path) -> None:
    wrong: tuple[Any, ...] = (0, True, 1.5)
    for jobs in wrong:
        with pytest.raises(ConfigError, match="jobs must be an int of at least 1"):
            verify(DeletingPool(tmp_path), jobs=jobs)
