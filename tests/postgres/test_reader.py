"""Where a batch of so many rows ends."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pipecopy.postgres import PostgresPool
from tests.support.copies import copy
from tests.support.databases import TemporaryDatabase
from tests.support.opened import opened
from tests.support.profiles import create_profiles

pytestmark = pytest.mark.server


def test_a_batch_holds_so_many_rows_across_any_gaps(source_db: TemporaryDatabase) -> None:
    source_db.execute("CREATE TABLE profiles (id bigint PRIMARY KEY)")
    source_db.execute("INSERT INTO profiles VALUES (0), (1), (10), (1000000000000)")
    with opened(source_db, "source") as database:
        max_id = database.get_max_id()
        ends = [0]
        while ends[-1] <= max_id:
            ends.append(database.end_of_batch(ends[-1], max_id + 1, 3))
        counts = [len(database.load_rows(first, end)) for first, end in pairwise(ends)]
    assert ends == [0, 11, 1000000000001]
    assert counts == [3, 1]


def test_the_last_id_there_is(source_db: TemporaryDatabase) -> None:
    source_db.execute("CREATE TABLE profiles (id bigint PRIMARY KEY)")
    source_db.execute("INSERT INTO profiles VALUES (9223372036854775807)")
    with opened(source_db, "source") as database:
        assert database.end_of_batch(0, 2**63, 1) == 2**63
        assert database.end_of_batch(0, 2**63, 2) == 2**63


def test_a_gap_in_a_table_without_an_index_costs_one_batch(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    source_db.execute("CREATE TABLE profiles (id bigint, data text)")
    source_db.execute("INSERT INTO profiles VALUES (0, 'a'), (1, 'b'), (1000000000000, 'c')")
    target_db.execute("CREATE TABLE profiles (id bigint PRIMARY KEY, data text)")
    pool = PostgresPool({"source": source_db.uri, "target": target_db.uri})
    report = copy(pool, batch_size=10)
    assert (report.rows, report.next_id) == (3, 1_000_000_000_001)
    assert report.calls < 20


def test_the_greatest_id_of_a_range(source_db: TemporaryDatabase) -> None:
    create_profiles(source_db, 100, step=3)
    source_db.execute(
        "CREATE FUNCTION max(bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';"
        f" ALTER DATABASE {source_db.name} SET search_path TO public, pg_catalog"
    )
    ranges = [(0, 301), (0, 300), (7, 9), (7, 10), (301, 400), (0, 2**63), (2**63, 2**64)]
    with opened(source_db, "target") as database:
        found = [database.get_max_id_in(*ends) for ends in ranges]
    assert found == [300, 297, 0, 9, 0, 300, 0]
