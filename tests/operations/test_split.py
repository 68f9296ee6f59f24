"""The ids of a table in parts of about as many rows each."""

from __future__ import annotations

from tests.support.drivers import RecordingPool
from tests.support.runs import split


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
