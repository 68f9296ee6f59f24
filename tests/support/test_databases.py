"""A database is used again if nothing is left in it that a new one has not."""

from __future__ import annotations

import pytest

from tests.support.databases import empty_database
from tests.support.servers import PostgresServer

FORGOTTEN = [
    "CREATE TABLE t (n int); CREATE SCHEMA s; CREATE TYPE s.mood AS ENUM ('sad')",
    "CREATE PUBLICATION p FOR ALL TABLES",
    "DROP SCHEMA public; CREATE SCHEMA s",
]
KEPT = [
    "SELECT lo_from_bytea(0, 'x')",
    "REVOKE EXECUTE ON FUNCTION pg_sleep FROM PUBLIC",
    "REVOKE SELECT ON pg_locks FROM PUBLIC",
    "CREATE CAST (point AS int) WITH INOUT",
]


@pytest.mark.parametrize("version", [16, 18])
@pytest.mark.parametrize("sql", [*FORGOTTEN, *KEPT])
def test_what_is_left(sql: str, version: int, pg16: PostgresServer, pg18: PostgresServer) -> None:
    server = pg16 if version == 16 else pg18
    with empty_database(server) as first:
        first.execute(sql)
        first.execute(f"ALTER DATABASE {first.name} SET search_path = nowhere")
    with empty_database(server) as second:
        assert (second.name == first.name) == (sql in FORGOTTEN)
        assert second.value("SHOW search_path") == '"$user", public'
        assert not second.query("SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace")
