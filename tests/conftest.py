# ruff: noqa: E402 - what is imported after the call below has asserts that say what they compared
"""The fixtures: servers for the session, fresh databases for each test, nothing left behind."""

from __future__ import annotations

import gc
import os
import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite(
    *(f"tests.support.{path.stem}" for path in (Path(__file__).parent / "support").glob("*.py"))
)

from pipecopy.postgres import PostgresPool
from tests.support.checks import ROWS, Tables
from tests.support.databases import Both, TemporaryDatabase, empty_database
from tests.support.drivers import RecordingPool
from tests.support.home import home, why_missing
from tests.support.leftovers import MARK, nothing_left_behind
from tests.support.profiles import create_profiles
from tests.support.servers import PostgresServer
from tests.support.shared_server import give_back_fork_server, keep_fork_server
from tests.support.wall_clock import alone, steady


@pytest.fixture(scope="session", autouse=True)
def _cheap_collections() -> None:
    """Keep what pytest has collected out of the collections after each test: 5 ms, 40 with it."""
    gc.collect()
    gc.freeze()


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
def _nobody_elses_settings() -> Iterator[None]:
    """Keep away what the environment, the working directory and the home folder say to a copy."""
    (empty := home() / "empty").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if re.match(r"PG(?!\d+_BIN$)|PIPECOPY_", name):
                patch.delenv(name)
        # with it each command would compile all that it imports
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        for name in ("PGPASSFILE", "PGSERVICEFILE"):
            patch.setenv(name, str(empty / "none"))
        for name in ("XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"):  # where pipecopy.toml may be
            patch.setenv(name, str(empty / "none"))
        patch.setenv(MARK, str(os.getpid()))
        # what is started finds the tests wherever it runs
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
        patch.chdir(empty)  # there may be a pipecopy.toml where pytest was started
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what may take longer than any other test: at the end all would wait for it.

    So would a test that steps the clock: those come last.
    """
    items.sort(key=lambda item: (not _may_take_long(item), _steps_the_clock(item)))


def _may_take_long(item: pytest.Item) -> bool:
    own = item.get_closest_marker("timeout")
    return own is not None and own.args[0] > float(item.config.getini("timeout"))


def _steps_the_clock(item: pytest.Item) -> bool:
    module = item.getparent(pytest.Module)
    return bool(getattr(module and module.obj, "STEPS_THE_CLOCK", False))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Run the tests of a module with STEPS_THE_CLOCK alone: the clock is the whole machine's.

    Here, and not in a fixture, since the wait for the others must not count for a test's timeout.
    """
    with alone() if _steps_the_clock(item) else steady():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Iterator[None]:
    """Have all tests leave the same environment to what they start."""
    del os.environ["PYTEST_CURRENT_TEST"]
    return (yield)


@pytest.fixture(autouse=True)
def _nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    if getattr(request.module, "OWN_FORK_SERVERS", False):
        give_back_fork_server()
    else:
        del os.environ["PYTEST_CURRENT_TEST"]  # a call's has none either
        keep_fork_server()
    with nothing_left_behind():
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
    """Give an empty database on PROD."""
    with empty_database(pg16) as database:
        yield database


@pytest.fixture
def target_db(pg18: PostgresServer) -> Iterator[TemporaryDatabase]:
    """Give an empty database on STATS."""
    with empty_database(pg18) as database:
        yield database


@pytest.fixture
def postgres_pool(source_db: TemporaryDatabase, target_db: TemporaryDatabase) -> PostgresPool:
    """Give two fresh PostgreSQL databases under the names `source` and `target`."""
    return PostgresPool({"source": source_db.uri, "target": target_db.uri})


@pytest.fixture
def both(source_db: TemporaryDatabase, target_db: TemporaryDatabase) -> Both:
    """Give PostgreSQL 16 as the source, and 18 as the target."""
    return Both(source_db, target_db)


@pytest.fixture
def other_way(pg16: PostgresServer, pg18: PostgresServer) -> Iterator[Both]:
    """Give PostgreSQL 18 as the source, and 16 as the target."""
    with empty_database(pg18) as source, empty_database(pg16) as target:
        yield Both(source, target)


@pytest.fixture
def tables(source_db: TemporaryDatabase, target_db: TemporaryDatabase) -> Tables:
    """Give a source with 50 rows, and an empty target."""
    create_profiles(source_db, ROWS)
    create_profiles(target_db)
    return Tables(source=source_db, target=target_db)


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
