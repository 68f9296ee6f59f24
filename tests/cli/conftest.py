"""Fixtures of the command's tests."""

from __future__ import annotations

import pytest

from tests.faults.checks import ROWS, Tables
from tests.support.databases import TemporaryDatabase
from tests.support.profiles import create_profiles


@pytest.fixture
def tables(source_db: TemporaryDatabase, target_db: TemporaryDatabase) -> Tables:
    """Give a source with 50 rows, and an empty target."""
    create_profiles(source_db, ROWS)
    create_profiles(target_db)
    return Tables(source=source_db, target=target_db)
