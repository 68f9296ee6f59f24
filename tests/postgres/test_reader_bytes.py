"""A batch ends before it would have more than `max_batch_bytes`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipecopy.postgres import CopyRows
from pipecopy.postgres.database import PostgresDatabase
from tests.support.databases import TemporaryDatabase
from tests.support.opened import opened

pytestmark = pytest.mark.server

MOST = 100_000


def batches(database: PostgresDatabase, rows: int = 1000) -> Iterator[CopyRows]:
    """Load the whole table as a copy does."""
    past_last = database.get_max_id() + 1
    first = 0
    while first < past_last:
        batch = database.load_batch(first, past_last, rows)
        assert batch.key_range[0] == first
        yield batch
        first = batch.key_range[1]


@pytest.mark.parametrize("step", [1, 1000])
@pytest.mark.parametrize("kind", ["text", "regclass[]"], ids=["binary", "as text"])
def test_a_batch_that_would_be_too_big_is_split(
    source_db: TemporaryDatabase, step: int, kind: str
) -> None:
    # a column of foreign OIDs makes all go in COPY's text format
    source_db.execute(f"CREATE TABLE profiles (b text, id bigint PRIMARY KEY, a {kind})")
    source_db.execute(
        f"INSERT INTO profiles SELECT repeat('x', 9000), {step} * i FROM generate_series(1, 50) i"
    )
    with opened(source_db, "source", max_batch_bytes=MOST) as database:
        found = list(batches(database))
    assert [row[1] for batch in found for row in batch] == [step * i for i in range(1, 51)]
    assert all(len(batch.raw) <= MOST for batch in found)
    assert len(found) <= 8  # 11 rows would fit, and a batch is aimed to be nine tenths full
    assert found[-1].key_range[1] == 50 * step + 1


def test_a_row_that_is_too_big_goes_alone(source_db: TemporaryDatabase) -> None:
    source_db.execute("CREATE TABLE profiles (id bigint PRIMARY KEY, data text)")
    sizes = {1: 10, 2: 10, 3: 5 * MOST, 4: 2 * MOST, 5: 10, 6: 3 * MOST}
    for key, size in sizes.items():
        source_db.execute(f"INSERT INTO profiles VALUES ({key}, repeat('x', {size}))")
    with opened(source_db, "source", max_batch_bytes=MOST) as database:
        found = [[row[0] for row in batch] for batch in batches(database)]
    assert [key for keys in found for key in keys] == list(sizes)
    assert all([key] in found for key in (3, 4, 6))


def test_rows_with_the_same_key_stay_together(source_db: TemporaryDatabase) -> None:
    """A target without a unique index replaces all rows of a batch's keys."""
    source_db.execute("CREATE TABLE profiles (id bigint, data text)")
    source_db.execute("CREATE INDEX ON profiles (id)")
    source_db.execute(
        "INSERT INTO profiles SELECT i / 4, repeat('x', 9000) FROM generate_series(0, 99) i"
    )
    with opened(source_db, "source", max_batch_bytes=MOST) as database:
        found = [[row[0] for row in batch] for batch in batches(database)]
    assert [key for keys in found for key in keys] == [i // 4 for i in range(100)]
    ends = [keys[-1] for keys in found]
    assert len(set(ends)) == len(ends)
    assert len(found) > 8


def test_more_rows_with_one_key_than_fit_are_one_batch(source_db: TemporaryDatabase) -> None:
    source_db.execute("CREATE TABLE profiles (id bigint, data text)")
    source_db.execute(
        "INSERT INTO profiles SELECT i / 30, repeat('x', 9000) FROM generate_series(0, 89) i"
    )
    with opened(source_db, "source", max_batch_bytes=MOST) as database:
        found = [[row[0] for row in batch] for batch in batches(database)]
    assert found == [30 * [0], 30 * [1], 30 * [2]]


def test_the_session_goes_on_after_a_batch_was_cut(source_db: TemporaryDatabase) -> None:
    source_db.execute("CREATE TABLE profiles (id bigint PRIMARY KEY, data text)")
    source_db.execute(
        "INSERT INTO profiles SELECT i, repeat('x', 9000) FROM generate_series(1, 5000) i"
    )
    with opened(source_db, "source", max_batch_bytes=MOST) as database:
        batch = database.load_batch(0, 5001, 5000)
        (before,) = source_db.server.sessions("pipecopy/")
        again = database.load_rows(batch.key_range[1], 5001)  # as a repair does
        (after,) = source_db.server.sessions("pipecopy/")
    assert after["pid"] == before["pid"]
    assert [row[0] for row in (*batch, *again)] == list(range(1, again.key_range[1]))
