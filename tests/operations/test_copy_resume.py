"""An interrupted first copy goes on where it was, with no file that says where."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipecopy.errors import ConfigError, DatabaseError
from pipecopy.postgres import PostgresPool
from tests.support.databases import TemporaryDatabase
from tests.support.drivers import RecordingDatabase, RecordingPool
from tests.support.profiles import assert_equal_tables, create_profiles
from tests.support.runs import check, copy


class _OldDatabase(RecordingDatabase):
    """It can't be asked for a range."""

    get_max_id_in: Any = None


class NoRanges(RecordingPool):
    """A pool of those."""

    def connect(self, dbname: str) -> RecordingDatabase:
        return _OldDatabase(self, dbname)


class _WrongDatabase(RecordingDatabase):
    """It gives a wrong answer for a range."""

    def __init__(self, pool: WrongRanges, side: str) -> None:
        super().__init__(pool, side)
        self._wrong = pool.wrong

    def get_max_id_in(self, *_: int) -> Any:
        return self._wrong


@dataclass(frozen=True, kw_only=True)
class WrongRanges(RecordingPool):
    """A pool of those."""

    wrong: Any

    def connect(self, dbname: str) -> RecordingDatabase:
        return _WrongDatabase(self, dbname)


_SCRIPT = """
import sys
from pipecopy import Config, copy_table
from pipecopy.events import BatchSaved
from pipecopy.postgres import PostgresPool

def tell(event):
    if isinstance(event, BatchSaved):
        print(event.key_range[0], flush=True)

if __name__ == "__main__":
    limits = Config(
        batch_size=20, max_retries=0, retries_delay=0, call_timeout=20, full_copy_timeout=60,
        read_ahead=1,
    )
    copy_table(limits, PostgresPool(), *sys.argv[1:], resume=True, observer=tell)
"""


@pytest.mark.timeout(100)
def test_a_copy_that_is_killed_ten_times_and_resumed_ends_equal(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, tmp_path: Path
) -> None:
    create_profiles(source_db, 2500)
    create_profiles(target_db)
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    command = [sys.executable, str(script), source_db.uri, target_db.uri]
    moments = random.Random(2026)
    begun_at = []
    for _ in range(10):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            begun_at.append(int(process.stdout.readline()))
            for _ in range(moments.randrange(8)):
                process.stdout.readline()
            process.kill()
        assert process.returncode == -signal.SIGKILL
    last = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert_equal_tables(source_db, target_db)
    # it went on each time, where it would have begun anew
    assert begun_at == sorted(begun_at)
    assert len(last.stdout.splitlines()) < 2500 / 20


def test_it_begins_at_the_targets_own_greatest_id_and_says_so(
    sqlite_pool: RecordingPool,
) -> None:
    sqlite_pool.create(range(1, 51))
    copy(sqlite_pool, to_id=30)
    report = copy(sqlite_pool, resume=True)
    assert sqlite_pool.rows("target") == sqlite_pool.rows("source")
    assert (report.first_id, report.rows, report.next_id) == (30, 21, 51)
    assert report.warnings == (
        "resumed at id 30, the greatest one in the target: the rows below were not looked at",
    )


def test_an_empty_target_is_copied_from_the_beginning(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create(range(50))
    report = copy(sqlite_pool, resume=True)
    assert sqlite_pool.rows("target") == sqlite_pool.rows("source")
    assert (report.first_id, report.warnings) == (0, ())


@pytest.mark.parametrize(("from_id", "begins"), [(10, 30), (40, 40)])
def test_with_from_id_it_begins_at_the_greater_one(
    sqlite_pool: RecordingPool, from_id: int, begins: int
) -> None:
    sqlite_pool.create(range(1, 51))
    copy(sqlite_pool, to_id=30)
    report = copy(sqlite_pool, resume=True, from_id=from_id)
    loads = sqlite_pool.recorder.attempts(side="source", call="load_rows")
    assert loads[-1].args[1] == 51
    assert report.first_id == begins
    assert any(load.args[0] == begins for load in loads[3:])


@pytest.mark.parametrize(
    ("first_copy", "rest", "begins"),
    [
        ((300, 599), (0, 299), 0),
        ((300, 599), (100, 299), 100),
        ((300, 599), (500, None), 599),
        ((300, 599), (0, 450), 450),
        ((0, 99), (0, 299), 99),
        ((0, 99), (200, 299), 200),
        ((0, 99), (700, None), 700),  # above all ids: nothing to copy
    ],
)
def test_a_range_begins_at_the_greatest_id_of_the_range(
    sqlite_pool: RecordingPool,
    first_copy: tuple[int, int],
    rest: tuple[int, int | None],
    begins: int,
) -> None:
    sqlite_pool.create(range(1, 601))
    copy(sqlite_pool, from_id=first_copy[0], to_id=first_copy[1], batch_size=100)
    from_id, to_id = rest
    checked = check(sqlite_pool, resume=True, from_id=from_id, to_id=to_id)
    report = copy(sqlite_pool, resume=True, from_id=from_id, to_id=to_id, batch_size=100)
    last = 600 if to_id is None else to_id
    asked = {*range(max(begins, 1), last + 1)}
    before = {*range(max(first_copy[0], 1), first_copy[1] + 1)}
    assert {row[0] for row in sqlite_pool.rows("target")} == asked | before
    assert (report.first_id, report.max_id) == (begins, last)
    said = [f"resumed at id {begins}, the greatest one of the range in the target: the rows below"]
    assert [warning.partition(" were not")[0] for warning in report.warnings] == said * (
        begins > from_id
    )
    assert checked.plan is not None
    assert (checked.plan.first_id, checked.plan.max_id) == (begins, last)
    assert checked.plan.resume_id == (begins if begins > from_id else None)


def test_a_range_of_a_table_in_postgresql(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 600)
    create_profiles(target_db)
    copy(postgres_pool, from_id=300, to_id=599, batch_size=100)
    checked = check(postgres_pool, resume=True, to_id=299, batch_size=100)
    assert checked.plan is not None
    assert (checked.plan.first_id, checked.plan.rows) == (0, 299)
    assert copy(postgres_pool, resume=True, to_id=299, batch_size=100).rows == 299
    assert copy(postgres_pool, resume=True, from_id=200, batch_size=100).rows == 2
    assert_equal_tables(source_db, target_db)


def test_a_driver_that_can_not_ask_for_a_range_is_refused_by_name(tmp_path: Path) -> None:
    pool = NoRanges(tmp_path)
    pool.create(range(1, 51))
    for from_id, to_id in ((0, 30), (10, None), (10, 30)):
        for run in (copy, check):
            with pytest.raises(ConfigError, match="the Database of target target has no get_max"):
                run(pool, resume=True, from_id=from_id, to_id=to_id)
    assert pool.rows("target") == []
    copy(pool, to_id=30)
    assert check(pool, resume=True).can_start
    assert copy(pool, resume=True).first_id == 30


@pytest.mark.parametrize("wrong", [9, 31, -1, True, None, 12.0])
def test_an_answer_outside_of_the_range_is_an_error(tmp_path: Path, wrong: Any) -> None:
    pool = WrongRanges(tmp_path, wrong=wrong)
    pool.create(range(1, 51))
    with pytest.raises(DatabaseError, match=r"target target: get_max_id_in.* returned"):
        copy(pool, resume=True, from_id=10, to_id=30)


def test_a_target_that_is_ahead_of_the_source_is_left_alone(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create(range(1, 51))
    copy(sqlite_pool)
    db = sqlite_pool.file("source")
    db.execute("DELETE FROM profiles WHERE id > 40")
    db.close()
    report = copy(sqlite_pool, resume=True)
    assert (report.outcome, report.rows, report.first_id) == ("complete", 0, 50)
    assert len(sqlite_pool.rows("target")) == 50
    (warning,) = report.warnings
    assert "nothing was copied: the target's greatest id, 50, is above 40" in warning


def test_it_is_refused_with_where() -> None:
    with pytest.raises(ConfigError, match="`resume` does not go with `where`"):
        copy(PostgresPool(where="id > 7"), resume=True)
