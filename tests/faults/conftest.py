"""Fixtures of the fault matrix: two small tables for each case."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.checks import ROWS, Tables
from tests.faults.failing_over import ROWS as MANY
from tests.faults.failing_over import Replicated, replicated
from tests.support.databases import TemporaryDatabase, temporary_database
from tests.support.profiles import create_profiles
from tests.support.servers import PostgresServer


@pytest.fixture(scope="session")
def filled(pg16: PostgresServer) -> Iterator[TemporaryDatabase]:
    """Give the template of all sources."""
    with temporary_database(pg16) as database:
        create_profiles(database, ROWS)
        yield database


@pytest.fixture(scope="session")
def empty(pg18: PostgresServer) -> Iterator[TemporaryDatabase]:
    """Give the template of all targets."""
    with temporary_database(pg18) as database:
        create_profiles(database)
        yield database


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
def tables(filled: TemporaryDatabase, empty: TemporaryDatabase) -> Iterator[Tables]:
    """Give a source with 50 rows, and an empty target."""
    with (
        temporary_database(filled.server, template=filled.name) as source,
        temporary_database(empty.server, template=empty.name) as target,
    ):
        yield Tables(source=source, target=target)


@pytest.fixture(scope="session")
def shared_tables(filled: TemporaryDatabase, empty: TemporaryDatabase) -> Iterator[Tables]:
    """Give a source and a target for all the cases that leave their definitions alone."""
    with (
        temporary_database(filled.server, template=filled.name) as source,
        temporary_database(empty.server, template=empty.name) as target,
    ):
        yield Tables(source=source, target=target)


@pytest.fixture
def small_tables(shared_tables: Tables) -> Tables:
    """Give a source with 50 rows, and an empty target, in a tenth of a fresh one's time."""
    shared_tables.target.execute("TRUNCATE profiles RESTART IDENTITY")
    return shared_tables


@pytest.fixture
def source(own_source: PostgresServer) -> Iterator[TemporaryDatabase]:
    with temporary_database(own_source) as database:
        create_profiles(database, MANY)
        yield database


@pytest.fixture
def target(own_target: PostgresServer) -> Iterator[TemporaryDatabase]:
    with temporary_database(own_target) as database:
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
