"""Fixtures of the fault matrix: two small tables for each case."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.replicated import ROWS as MANY
from tests.faults.replicated import Replicated, replicated
from tests.support import strikes
from tests.support.checks import Tables
from tests.support.databases import TemporaryDatabase, empty_database, temporary_database
from tests.support.frozen import FrozenFolder
from tests.support.profiles import create_profiles
from tests.support.servers import PostgresServer


@pytest.fixture(scope="session")
def alt_tables(pg16: PostgresServer, pg18: PostgresServer) -> Iterator[Tables]:
    """Give two databases in which `alt` is made anew for each test."""
    with temporary_database(pg16) as source, temporary_database(pg18) as target:
        yield Tables(source=source, target=target)


@pytest.fixture(scope="session")
def own_source() -> Iterator[PostgresServer]:
    """Give a PROD that may be stopped."""
    with PostgresServer(16) as server:
        yield server


@pytest.fixture(scope="session")
def own_target() -> Iterator[PostgresServer]:
    """Give a STATS that may be stopped."""
    with PostgresServer(18) as server:
        yield server


@pytest.fixture
def source(own_source: PostgresServer) -> Iterator[TemporaryDatabase]:
    with empty_database(own_source) as database:
        create_profiles(database, MANY)
        yield database


@pytest.fixture
def target(own_target: PostgresServer) -> Iterator[TemporaryDatabase]:
    with empty_database(own_target) as database:
        create_profiles(database)
        yield database


@pytest.fixture
def own_tables(source: TemporaryDatabase, target: TemporaryDatabase) -> Tables:
    """Give two tables on servers that may be stopped."""
    return Tables(source=source, target=target)


@pytest.fixture
def followed(own_tables: Tables) -> Iterator[Replicated]:
    """Give a target with an asynchronous standby."""
    with replicated(own_tables, "target", target_session_attrs="read-write") as there:
        yield there


@pytest.fixture
def frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FrozenFolder]:
    """Give a folder in which writing is an uninterruptible sleep."""
    folder = FrozenFolder(tmp_path)
    try:
        folder.freeze()
        monkeypatch.setenv(strikes.FROZEN, str(folder.path))
        yield folder
    finally:
        folder.remove()
