"""An interrupted first copy goes on where it was, with no file that says where."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipecopy.errors import ConfigError
from pipecopy.postgres import PostgresPool
from tests.copying.quick import copy
from tests.drivers import RecordingPool
from tests.profiles import assert_equal_tables, create_profiles
from tests.servers import TemporaryDatabase

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
    with pytest.raises(ConfigError, match="resume does not go with where"):
        copy(PostgresPool(where="id > 7"), resume=True)
