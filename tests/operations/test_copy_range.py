"""From one id to another, instead of all of them."""

from __future__ import annotations

from typing import Any

import pytest

from pipecopy.errors import ConfigError
from pipecopy.postgres import PostgresPool
from tests.support.databases import TemporaryDatabase
from tests.support.drivers import RecordingPool
from tests.support.profiles import create_profiles
from tests.support.runs import copy


@pytest.mark.parametrize(
    ("from_id", "to_id", "copied"),
    [
        (0, None, range(1, 51)),
        (17, None, range(17, 51)),
        (0, 17, range(1, 18)),
        (17, 30, range(17, 31)),
        (17, 17, range(17, 18)),
        (17, 1000, range(17, 51)),
        (51, None, range(0)),
        (51, 60, range(0)),
    ],
)
def test_only_the_ids_of_the_range_are_copied(
    sqlite_pool: RecordingPool, from_id: int, to_id: int | None, copied: range
) -> None:
    sqlite_pool.create(range(1, 51))
    report = copy(sqlite_pool, from_id=from_id, to_id=to_id)
    assert [row[0] for row in sqlite_pool.rows("target")] == list(copied)
    max_id = min(50, 1000 if to_id is None else to_id)
    assert (report.outcome, report.rows) == ("complete", len(copied))
    assert (report.first_id, report.max_id) == (from_id, max_id)
    assert report.next_id == max(from_id, max_id + 1)


def test_rows_outside_of_the_range_stay_as_they_are(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 100)
    create_profiles(target_db, 100)
    target_db.execute("UPDATE profiles SET data = NULL")
    copy(postgres_pool, from_id=31, to_id=60)
    written = target_db.query("SELECT id FROM profiles WHERE data IS NOT NULL ORDER BY id")
    assert [row[0] for row in written] == list(range(31, 61))


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ({"from_id": -1}, "from_id must be an int of at least 0, not -1"),
        ({"to_id": -5}, "to_id must be an int of at least 0, not -5"),
        ({"from_id": True}, "from_id must be an int of at least 0, not True"),
        ({"from_id": "7"}, "from_id must be an int of at least 0, not '7'"),
        ({"from_id": 1.5, "to_id": -1}, "not 1.5; to_id must be"),
        ({"from_id": 9, "to_id": 8}, "`from_id`, 9, is above `to_id`, 8"),
    ],
)
def test_a_range_that_is_none_is_refused(
    sqlite_pool: RecordingPool, ends: dict[str, Any], message: str
) -> None:
    sqlite_pool.create(range(5))
    with pytest.raises(ConfigError, match=message):
        copy(sqlite_pool, **ends)
    assert sqlite_pool.recorder.attempts() == []
