"""Parts of a table in PostgreSQL: as many rows each, counted by the index, or estimated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pipecopy.operations.split import Piece
from pipecopy.postgres import PostgresPool
from tests.support.databases import TemporaryDatabase, empty_database
from tests.support.opened import opened
from tests.support.runs import split
from tests.support.servers import PostgresServer

pytestmark = pytest.mark.server

_GREATEST = 2**63 - 1
_SKEWED = (
    "SELECT i FROM generate_series(1, 4500) AS i"
    " UNION ALL SELECT 4500 + 891 * i FROM generate_series(1, 500) AS i"
)
"""90 % of the rows in 1 % of the ids."""
_KEYED = "CREATE TABLE {name} (id bigint PRIMARY KEY)"
_INDEXED = "CREATE TABLE {name} (id bigint); CREATE INDEX ON {name} (id)"
_TABLES = {
    "skewed": (_KEYED, _SKEWED),
    "not_analyzed": (_KEYED, _SKEWED),
    "shuffled": (_KEYED, f"SELECT id FROM ({_SKEWED}) AS all_of_them (id) ORDER BY random()"),
    "doubled": (_INDEXED, "SELECT i / 3 FROM generate_series(1, 5000) AS i"),
    "one_id": (_INDEXED, "SELECT greatest(i, 2000) FROM generate_series(1, 5000) AS i"),
    "without_index": ("CREATE TABLE {name} (id int)", _SKEWED),
    "descending": (
        "CREATE TABLE {name} (id bigint); CREATE INDEX ON {name} (id DESC NULLS LAST)",
        _SKEWED,
    ),
    "partitioned": (
        (
            "CREATE TABLE {name} (id bigint PRIMARY KEY) PARTITION BY RANGE (id);"
            "CREATE TABLE {name}_a PARTITION OF {name} FOR VALUES FROM (0) TO (2000);"
            "CREATE TABLE {name}_b PARTITION OF {name} FOR VALUES FROM (2000) TO (200000);"
            "CREATE TABLE {name}_c PARTITION OF {name} DEFAULT"
        ),
        _SKEWED,
    ),
    "inherited": (
        (
            "CREATE TABLE {name} (id bigint PRIMARY KEY);"
            "CREATE TABLE {name}_child () INHERITS ({name});"
            "INSERT INTO {name}_child SELECT i FROM generate_series(4501, 4700) AS i"
        ),
        _SKEWED,
    ),
    "seen": (
        (
            "CREATE TABLE {name}_rows (id bigint PRIMARY KEY);"
            "CREATE VIEW {name} AS SELECT * FROM {name}_rows"
        ),
        _SKEWED,
    ),
    "few": (_KEYED, "VALUES (3), (5), (1000)"),
    "ends": (_KEYED, f"VALUES (0), ({_GREATEST})"),
    "far": (
        _KEYED,
        f"SELECT {_GREATEST} - i FROM generate_series(0, 4999) AS i UNION ALL SELECT 1",
    ),
    "none": (_KEYED, "SELECT 1 WHERE false"),
}


@pytest.fixture(scope="module")
def database(pg16: PostgresServer) -> Iterator[TemporaryDatabase]:
    """Give a database with all of the tables, most of them analyzed."""
    with empty_database(pg16) as made:
        made.execute("CREATE TABLE target (id bigint PRIMARY KEY)")
        for name, (create, ids) in _TABLES.items():
            made.execute(f"{create.format(name=name)}; INSERT INTO {name} {ids}")
            if name not in {"not_analyzed", "seen"}:
                made.execute(f"ANALYZE {name}")
        yield made


def _pool(database: TemporaryDatabase, table: str, **how: Any) -> PostgresPool:
    connections = {"source": database.uri, "target": database.uri}
    return PostgresPool(connections, table=table, target_table="target", **how)


def _counts(
    database: TemporaryDatabase, table: str, parts: list[Piece], where: str = "true"
) -> list[int]:
    """Count the rows of each part."""
    count = f"SELECT count(*) FROM {table} WHERE ({where}) AND id BETWEEN"
    return [database.value(f"{count} {part.first} AND {part.last}") for part in parts]


@pytest.mark.parametrize(
    "table",
    [
        "skewed",
        "not_analyzed",
        "shuffled",
        "doubled",
        "without_index",
        "descending",
        "partitioned",
        "inherited",
        "seen",
        "far",
    ],
)
def test_parts_have_as_many_rows(database: TemporaryDatabase, table: str) -> None:
    parts, warnings = split(_pool(database, table), 20)
    counts = _counts(database, table, parts)
    assert len(parts) == 20
    assert sum(counts) == database.value(f"SELECT count(*) FROM {table}")
    assert max(counts) <= 1.1 * sum(counts) / 20
    assert counts == [part.rows for part in parts]
    assert warnings == ()


@pytest.mark.parametrize(
    ("before", "after"),
    [("(1, 5000)", "id % 50 = 0"), ("(1, 200)", "id % 2 = 0")],
    ids=["too high", "too low"],
)
def test_old_statistics_do_no_harm(database: TemporaryDatabase, before: str, after: str) -> None:
    database.execute(
        "DROP TABLE IF EXISTS old; CREATE TABLE old (id bigint PRIMARY KEY);"
        f"INSERT INTO old SELECT generate_series{before}; ANALYZE old; DELETE FROM old;"
        f"INSERT INTO old SELECT id FROM generate_series(1, 10000) AS id WHERE {after}"
    )
    found, _ = split(_pool(database, "old"), 20)
    counts = _counts(database, "old", found)
    assert max(counts) <= 1.1 * sum(counts) / 20


@pytest.mark.parametrize("parts", [2, 20])
def test_an_id_with_many_rows_is_never_cut(database: TemporaryDatabase, parts: int) -> None:
    found, _ = split(_pool(database, "one_id"), parts)
    counts = _counts(database, "one_id", found)
    assert sum(counts) == 5000
    (at,) = (number for number, part in enumerate(found) if part.first <= 2000 <= part.last)
    assert counts[at] < 2000 + 1.1 * 5000 / parts
    assert all(count <= 1.1 * 5000 / parts for count in counts[:at] + counts[at + 1 :])


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("few", [(0, 3, 1), (4, 5, 1), (6, 1000, 1)]),
        ("ends", [(0, 0, 1), (1, _GREATEST, 1)]),
        ("none", [(0, 0, 1)]),  # an id has one row at most
    ],
)
def test_of_few_rows_no_part_is_empty(
    database: TemporaryDatabase, table: str, expected: list[tuple[int, int, int | None]]
) -> None:
    found, _ = split(_pool(database, table), 7)
    assert [(part.first, part.last, part.rows) for part in found] == expected


def test_ids_of_a_range_without_rows(database: TemporaryDatabase) -> None:
    found, _ = split(_pool(database, "few"), 7, first=6, last=900)
    assert found == [Piece(first=6, last=900, rows=0)]


@pytest.mark.parametrize("first", [0, 4200])
@pytest.mark.parametrize("table", ["skewed", "without_index"])
def test_rows_that_meet_a_condition_are_counted(
    database: TemporaryDatabase, table: str, first: int
) -> None:
    where = "id % 10 < 3 AND id > 2000"
    found, _ = split(_pool(database, table, where=where), 9, first=first)
    counts = _counts(database, table, found, where)
    assert len(found) == 9
    assert max(counts) <= 1.1 * sum(counts) / 9
    assert counts == [part.rows for part in found]


_SLOW = {"where": "pg_catalog.pg_sleep(0.001) IS NOT NULL"}


def test_what_the_server_cannot_count_in_time_is_estimated(database: TemporaryDatabase) -> None:
    found, warnings = split(_pool(database, "skewed", **_SLOW), 20, call_timeout=0.8)
    assert len(found) == 20
    assert max(_counts(database, "skewed", found)) <= 1.6 * 250
    assert sum(part.rows or 0 for part in found) == pytest.approx(5000, rel=0.1)
    assert warnings == ()


def test_without_statistics_a_warning_says_that_the_parts_may_not_be_even(
    database: TemporaryDatabase,
) -> None:
    found, (warning,) = split(_pool(database, "not_analyzed", **_SLOW), 20, call_timeout=0.8)
    assert [part.rows for part in found] == [None] * 20
    assert "run VACUUM (ANALYZE) on the source's table" in warning


def test_as_many_batches_are_counted_as_the_time_allows(database: TemporaryDatabase) -> None:
    database.execute(
        "CREATE TABLE long (id bigint PRIMARY KEY);"
        "INSERT INTO long SELECT generate_series(1, 100000)"
    )
    with opened(database, "source", table="long") as source:
        found = source.ends_of_batches(0, 100_001, 1, 100_000, 0.15)
    assert 0 < len(found) < 100_000
    assert found == [(number + 1, 1) for number in range(1, len(found) + 1)]


def test_a_lock_of_another_session_is_not_waited_for_long(database: TemporaryDatabase) -> None:
    with opened(database, "source", table="skewed") as source:
        greatest = source.get_max_id()
        with database.connect() as connection, connection.transaction():
            connection.execute("LOCK TABLE skewed")
            assert source.ends_of_batches(0, greatest + 1, 50, 20, 0.02) == []
            assert source.estimated_rows(0, [greatest + 1], 0.02) is None
        found = source.ends_of_batches(0, greatest + 1, 50, 20, 1)
    assert [rows for _, rows in found] == [50] * 20
