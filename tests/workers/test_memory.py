"""What a copy takes at its peak is what the guide says, however big the rows are."""

from __future__ import annotations

import subprocess
import sys
import time

from tests.support.databases import TemporaryDatabase
from tests.support.memory import family, memory_of
from tests.support.profiles import assert_equal_tables

MB = 1_000_000
FIXED = 100 * MB
"""The guide's figure for the processes themselves."""


def bound(batch: int, row: int) -> int:
    """Return the guide's formula, with `--read-ahead 1`."""
    return FIXED + 3 * max(batch, row) + 4 * row


def peak_of_a_copy(source: TemporaryDatabase, target: TemporaryDatabase, *options: str) -> int:
    """Copy by the command; return the most memory that was seen, in bytes."""
    command = [sys.executable, "-m", "pipecopy", "copy", source.uri, target.uri, *options]
    peak = 0
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, sum(memory_of(family(process.pid)).values()))
            time.sleep(0.01)  # memory sends no events
    assert process.returncode == 0
    assert_equal_tables(source, target)
    return peak


def test_many_rows_of_a_megabyte(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    """Without a bound, all 60 rows would be one batch, and take 180 MB."""
    for database in (source_db, target_db):
        database.execute("CREATE TABLE profiles (id bigint PRIMARY KEY, data text)")
    source_db.execute(
        f"INSERT INTO profiles SELECT i, repeat('x', {MB}) FROM generate_series(1, 60) i"
    )
    peak = peak_of_a_copy(source_db, target_db, "--max-batch-bytes", "8MB")
    assert peak <= bound(8 * MB, MB)


def test_a_few_rows_of_twenty(source_db: TemporaryDatabase, target_db: TemporaryDatabase) -> None:
    """Each is more than the bound, and goes alone."""
    for database in (source_db, target_db):
        database.execute("CREATE TABLE profiles (id bigint PRIMARY KEY, data text)")
    source_db.execute(
        f"INSERT INTO profiles SELECT i, repeat('x', {20 * MB}) FROM generate_series(1, 6) i"
    )
    peak = peak_of_a_copy(source_db, target_db, "--max-batch-bytes", "1MB")
    assert peak <= bound(MB, 20 * MB)
