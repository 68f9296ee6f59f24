"""What is copied: many small rows, fewer large ones, a few huge ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.support.databases import TemporaryDatabase
from tests.support.profiles import add_profiles

FULL_ROWS = 1_000_000
"""Rows of the small data set in a full run; all else is scaled with it."""
QUICK_ROWS = 50_000


@dataclass(frozen=True)
class DataSet:
    """Rows of one size."""

    name: str
    title: str
    rows: int
    fill: Callable[[TemporaryDatabase, int], None]
    """Inserts that many rows, with ids from 1 on."""
    most_rounds: int = 10**6
    """Of rows that take long: a round of them takes minutes."""


def data_sets(small_rows: int) -> list[DataSet]:
    """Return the three data sets; the larger rows get fewer with `small_rows`."""
    medium = max(100, small_rows * 20_000 // FULL_ROWS)
    huge = max(1, small_rows * 10 // FULL_ROWS)
    return [
        DataSet("small", "rows of 400 bytes", small_rows, fill_small),
        DataSet("medium", "rows of 50 KB", medium, _fill_medium, most_rounds=1),
        DataSet("huge", "rows of 20 MB", huge, _fill_huge, most_rounds=1),
    ]


def fill_small(database: TemporaryDatabase, rows: int) -> None:
    """Insert rows of about 400 bytes."""
    add_profiles(database, 1, rows + 1)


def grow_small(database: TemporaryDatabase, rows: int) -> None:
    """Add copies of the rows that are there, under new ids, until there are that many."""
    while (have := int(database.value("SELECT max(id) FROM profiles"))) < rows:
        database.execute(
            f"INSERT INTO profiles SELECT id + {have}, data FROM profiles WHERE id <= {rows - have}"
        )


# Hexadecimal digits of MD5 sums: the servers find nothing in them to compress, so a row takes as
# much of the disk as of the line.


def _fill_medium(database: TemporaryDatabase, rows: int) -> None:
    # pieces of one long value, since a sum for every 32 bytes would take longer than all copies
    database.execute(
        "CREATE TABLE noise (bytes bytea STORAGE EXTERNAL);"
        "INSERT INTO noise SELECT decode(string_agg(md5(i::text), ''), 'hex')"
        "  FROM generate_series(1, 125000) AS i;"
        "INSERT INTO profiles SELECT i, jsonb_build_object("
        "  'name', 'User ' || i,"
        "  'text', encode(substr(bytes, (i * 7919 % 1970000)::int + 1, 25000), 'hex'))"
        f" FROM noise, generate_series(1, {rows}::bigint) AS i;"
        "DROP TABLE noise"
    )


def _fill_huge(database: TemporaryDatabase, rows: int) -> None:
    for i in range(1, rows + 1):
        database.execute(
            f"INSERT INTO profiles SELECT {i}, jsonb_build_object("
            f"  'name', 'User {i}', 'text', string_agg(md5('{i} ' || j), ''))"
            " FROM generate_series(1, 625000) AS j"
        )
