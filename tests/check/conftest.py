"""Fixtures for checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipecopy.postgres import PostgresPool
from tests.drivers import RecordingPool
from tests.servers import PostgresServer, TemporaryDatabase, temporary_database


@dataclass(frozen=True)
class Both:
    """A fresh database on each side."""

    source: TemporaryDatabase
    target: TemporaryDatabase

    def __getitem__(self, side: str) -> TemporaryDatabase:
        return {"source": self.source, "target": self.target}[side]

    def pool(self, *, users: dict[str, str] | None = None, **how: Any) -> PostgresPool:
        """Return a pool with the two under the names `source` and `target`."""
        users = users or {}
        return PostgresPool(
            {
                side: self[side].server.uri(self[side].name, user=users.get(side, "postgres"))
                for side in ("source", "target")
            },
            **how,
        )


@pytest.fixture
def both(source_db: TemporaryDatabase, target_db: TemporaryDatabase) -> Both:
    """Give PostgreSQL 16 as the source, and 18 as the target."""
    return Both(source_db, target_db)


@pytest.fixture
def other_way(pg16: PostgresServer, pg18: PostgresServer) -> Iterator[Both]:
    """Give PostgreSQL 18 as the source, and 16 as the target."""
    with temporary_database(pg18) as source, temporary_database(pg16) as target:
        yield Both(source, target)


@pytest.fixture
def role(both: Both) -> Iterator[str]:
    """Give a role on both servers that may log in, and has no rights."""
    name = "checked"
    for database in (both.source, both.target):
        database.execute(f"CREATE ROLE {name} LOGIN")
    yield name
    for database in (both.source, both.target):
        with database.connect(options="-c default_transaction_read_only=off") as connection:
            connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.fixture
def sqlite_pool(tmp_path: Path) -> RecordingPool:
    """Give two files of SQLite, yet without tables."""
    return RecordingPool(tmp_path)
