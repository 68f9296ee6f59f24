"""Parts of a table in PostgreSQL: as many rows each, counted by the index, or estimated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pipecopy.operations.split import Piece
from pipecopy.postgres import PostgresPool
from tests.support.databases import TemporaryDatabase, empty_database
from tests.support.runs import split
from tests.support.servers import PostgresServer

pytestmark = pytest.mark.server

_GREATEST = 2**63 - 1
_SKEWED = (
    "SELECT i FROM generate_series(1, 18000) AS i"
    " UNION ALL SELECT 18000 + 891 * i FROM generate_series(1, 2000) AS i"
)
"""90 % of the rows in 1 % of the ids."""
_KEYED = "CREATE TABLE {name} (id bigint PRIMARY KEY)"
_INDEXED = "CREATE TABLE {name} (id bigint); CREATE INDEX ON {name} (id)"
_TABLES = {
    "skewed": (_KEYED, _SKEWED),
    "not_analyzed": (_KEYED, _SKEWED),
    "shuffled": (_KEYED, f"SELECT id FROM ({_SKEWED}) AS all_of_them (id) ORDER BY random()"),
    "doubled": (_INDEXED, "SELECT i / 7 FROM generate_series(1, 20000) AS i"),
    "one_id": (_INDEXED, "SELECT greatest(i, 5000) FROM generate_series(1, 20000) AS i"),
    "without_index": ("CREATE TABLE {name} (id int)", _SKEWED),
    "descending": (
        "CREATE TABLE {name} (id bigint); CREATE INDEX ON {name} (id DESC NULLS LAST)",
        _SKEWED,
    ),
    "partitioned": (
        (
            "CREATE TABLE {name} (id bigint PRIMARY KEY) PARTITION BY RANGE (id);"
            "CREATE TABLE {name}_a PARTITION OF {name} FOR VALUES FROM (0) TO (9000);"
            "CREATE TABLE {name}_b PARTITION OF {name} FOR VALUES FROM (9000) TO (9000000);"
            "CREATE TABLE {name}_c PARTITION OF {name} DEFAULT"
        ),
        _SKEWED,
    ),
    "inherited": (
        (
            "CREATE TABLE {name} (id bigint PRIMARY KEY);"
            "CREATE TABLE {name}_child () INHERITS ({name});"
            "INSERT INTO {name}_child SELECT i FROM generate_series(18001, 19000) AS i"
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
        f"SELECT {_GREATEST} - i FROM generate_series(0, 9999) AS i UNION ALL SELECT 1",
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
    return [
        database.value(
            f"SELECT count(*) FROM {table} WHERE id BETWEEN %s AND %s AND ({where})",
            (part.first, part.last),
        )
        for part in parts
    ]


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
