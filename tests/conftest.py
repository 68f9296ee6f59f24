# ruff: noqa: E402 - what is imported after the call below has asserts that say what they compared
"""The fixtures: servers for the session, fresh databases for each test, nothing left behind."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite(
    *(f"tests.{path.stem}" for path in Path(__file__).parent.iterdir() if path.stem != "conftest")
)

from tests.home import home
from tests.leftovers import nothing_left_behind
from tests.servers import PostgresServer, TemporaryDatabase, temporary_database
from tests.wall_clock import alone, steady
from tests.wheel import why_missing


@pytest.fixture(scope="session", autouse=True)
def own_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give this process a folder for temporary files, so that each new one in it is its own."""
    tmp_path_factory.getbasetemp()  # pytest's own folder stays where it belongs
    folder = home() / "tmp"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _signals_end_what_is_started() -> Iterator[None]:
    """Undo what nohup, or a script's `&`, has the tests' own processes inherit.

    A handler, unlike SIG_IGN, is not inherited by a program that is started.
    """
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGHUP, signal.SIGINT)}
    for signum, handler in before.items():
        if handler is signal.SIG_IGN:
            signal.signal(signum, lambda *_: None)
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.fixture(autouse=True)
def _clock_is_steady(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run the tests of a module with STEPS_THE_CLOCK alone: the clock is the whole machine's."""
    steps = getattr(request.module, "STEPS_THE_CLOCK", False)
    with alone() if steps else steady():
        yield


@pytest.fixture(autouse=True)
def _nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    with nothing_left_behind(request.node.nodeid):
        yield


@pytest.fixture(scope="session")
def pg16() -> Iterator[PostgresServer]:
    """PROD: the oldest version that the wheel has."""
    with PostgresServer(16) as server:
        yield server


@pytest.fixture(scope="session")
def pg18() -> Iterator[PostgresServer]:
    """STATS: the newest."""
    with PostgresServer(18) as server:
        yield server


@pytest.fixture(scope="module")
def pg14() -> Iterator[PostgresServer]:
    """Start the oldest version that is supported; few machines have it."""
    if why := why_missing(14):
        pytest.skip(why)
    with PostgresServer(14) as server:
        yield server


@pytest.fixture
def source_db(pg16: PostgresServer) -> Iterator[TemporaryDatabase]:
    """Give a fresh database on PROD."""
    with temporary_database(pg16) as database:
        yield database


@pytest.fixture
def target_db(pg18: PostgresServer) -> Iterator[TemporaryDatabase]:
    """Give a fresh database on STATS."""
    with temporary_database(pg18) as database:
        yield database
