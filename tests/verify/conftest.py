"""Fixtures for verifications."""

from __future__ import annotations

import pytest

from pipecopy.postgres import PostgresPool
from tests.servers import TemporaryDatabase


@pytest.fixture
def postgres_pool(source_db: TemporaryDatabase, target_db: TemporaryDatabase) -> PostgresPool:
    """Give two fresh PostgreSQL databases under the names `source` and `target`."""
    return PostgresPool({"source": source_db.uri, "target": target_db.uri})
