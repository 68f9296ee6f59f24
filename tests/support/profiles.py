"""The table `profiles`: filled with realistic rows on the server, and compared."""

from __future__ import annotations

from typing import Any, Protocol

TABLE = "CREATE TABLE profiles (id BIGSERIAL PRIMARY KEY, data JSONB)"

# About 400 bytes a row in binary COPY, no two alike.
_ROW = """
    jsonb_build_object(
        'name', 'User ' || i,
        'email', 'user' || i || '@example.org',
        'country', (ARRAY['DE', 'FR', 'PL', 'ES', 'JP', 'BR'])[1 + i % 6],
        'score', (i * 7919 % 100000)::numeric / 100,
        'active', i % 3 > 0,
        'manager', CASE WHEN i % 10 = 0 THEN NULL ELSE i / 10 END,
        'tags', jsonb_build_array('tag' || i % 17, 'tag' || i % 23),
        'address', jsonb_build_object('street', 'Straße ' || i % 500, 'zip', 10000 + i % 89999),
        'bio', md5(i::text) || md5((i + 1)::text) || md5((i + 2)::text) || ' 🙂 "quoted"'
    )
"""


class AnyDatabase(Protocol):
    """What runs statements: a `TemporaryDatabase`, or a server with a fixed database."""

    def execute(self, sql: str, /) -> None: ...

    def query(self, sql: str, /) -> list[tuple[Any, ...]]: ...


def create_profiles(database: AnyDatabase, rows: int = 0, *, step: int = 1) -> None:
    """Create the table with ids `step`, `2 * step`, … and a sequence that knows them."""
    database.execute("; ".join([TABLE, *_inserts(1, rows + 1, step)]))


def add_profiles(database: AnyDatabase, first: int, past_last: int, *, step: int = 1) -> None:
    """Insert the rows number `[first, past_last)`."""
    database.execute("; ".join(_inserts(first, past_last, step)))


def _inserts(first: int, past_last: int, step: int) -> list[str]:
    if past_last <= first:
        return []
    numbers = f"generate_series({first}::bigint, {past_last - 1}::bigint) AS i"
    return [
        f"INSERT INTO profiles SELECT i * {step}::bigint, {_ROW} FROM {numbers}",
        "SELECT setval('profiles_id_seq', max(id)) FROM profiles",
    ]


def checksum(database: AnyDatabase, table: str = "profiles", key: str = "id") -> tuple[int, str]:
    """Return the number of rows and a checksum of all values, in the key's order."""
    # Row by row first: one string of the whole table would not fit into a server's gigabyte.
    ((rows, digest),) = database.query(
        f"SELECT count(*), coalesce(md5(string_agg(md5(t::text), '' ORDER BY t.{key}, t::text)),"
        f" '') FROM {table} AS t"
    )
    return int(rows), str(digest)


def assert_equal_tables(
    source: AnyDatabase, target: AnyDatabase, table: str = "profiles", key: str = "id"
) -> None:
    """See that both tables hold the same rows, and name some that differ."""
    if checksum(source, table, key) == checksum(target, table, key):
        return
    rows = f"SELECT {key}, md5(t::text) FROM {table} AS t"
    here, there = set(source.query(rows)), set(target.query(rows))
    counts = f"{len(here)} rows in the source, {len(there)} in the target"
    missing, extra = sorted(here - there)[:5], sorted(there - here)[:5]
    raise AssertionError(f"{counts}; only in the source {missing}, only in the target {extra}")


def hide_rows(database: AnyDatabase) -> None:
    """Make `profiles` a view whose owner does not see every second row.

    The look at the table does not tell: it is the owner who is looked at, not who asks.
    """
    database.execute(
        "DO $$ BEGIN IF to_regrole('half_blind') IS NULL THEN"
        " CREATE ROLE half_blind; END IF; END $$;"
        " ALTER TABLE profiles RENAME TO rows;"
        " CREATE POLICY few ON rows USING (id % 2 = 0);"
        " ALTER TABLE rows ENABLE ROW LEVEL SECURITY;"
        " GRANT SELECT ON rows TO half_blind;"
        " CREATE VIEW profiles AS SELECT * FROM rows;"
        " ALTER VIEW profiles OWNER TO half_blind"
    )
