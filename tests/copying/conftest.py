"""Fixtures for copies."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipecopy.postgres import PostgresPool
from tests.drivers import RecordingPool
from tests.servers import TemporaryDatabase


@pytest.fixture
def sqlite_pool(tmp_path: Path) -> RecordingPool:
    """Give two files of SQLite, yet without tables."""
    return RecordingPool(tmp_path)


@pytest.fixture
def postgres_pool(source_db: TemporaryDatabase, target_db: TemporaryDatabase) -> PostgresPool:
    """Give two fresh PostgreSQL databases under the names `source` and `target`."""
    return PostgresPool({"source": source_db.uri, "target": target_db.uri})
