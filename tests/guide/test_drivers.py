"""The drivers of the manual copy as they stand there, each with its own library."""

from __future__ import annotations

import importlib.util
import os
import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.databases import TemporaryDatabase
from tests.support.drivers import RecordingPool
from tests.support.manual import PAGES
from tests.support.profiles import assert_equal_tables, create_profiles
from tests.support.scripts import run_script

PAGE = PAGES["drivers"]
POSTGRES = ["psycopg2", "asyncpg", "pg8000", "SQLAlchemy"]
LIBRARIES = [*POSTGRES, "sqlite3", "PyMySQL"]


def block(heading: str) -> str:
    """Return the code under a heading."""
    code: str = PAGE.split(f"\n## {heading}\n")[1].split("```python\n")[1].split("```")[0]
    return code


def copied(
    folder: Path, library: str, sides: tuple[str, str], **instead: str
) -> subprocess.CompletedProcess[str]:
    """Run the page's script; `instead` has what to write for a number in it."""
    if importlib.util.find_spec(library.lower()) is None:
        pytest.skip(f"{library} is not installed")
    text = block(library) + block("Run it")
    new = {"sys.argv[1], sys.argv[2]": "{!r}, {!r}".format(*sides), "=10_000": "=10", **instead}
    for old, value in new.items():
        assert text.count(old) == 1
        text = text.replace(old, value)
    return run_script(folder, text)


LOCKED = {"max_retries=3": "max_retries=0"}


def url(library: str, database: TemporaryDatabase) -> str:
    return database.uri.replace("postgresql:", "postgresql+psycopg:", library == "SQLAlchemy")


def test_the_page_has_a_driver_for_each_of_them() -> None:
    headings = re.findall(r"^## (.*)", PAGE, re.MULTILINE)
    assert headings == [*LIBRARIES, "Run it", "JSON"]


@pytest.mark.parametrize("library", POSTGRES)
def test_a_driver_for_postgresql_copies_and_waits_for_no_lock(
    library: str, source_db: TemporaryDatabase, target_db: TemporaryDatabase, tmp_path: Path
) -> None:
    create_profiles(source_db, 95)
    create_profiles(target_db)
    sides = (url(library, source_db), url(library, target_db))
    for _ in range(2):  # saving the same rows again changes nothing
        ended = copied(tmp_path, library, sides)
        assert (ended.stdout, ended.stderr) == ("95\n", "")
        assert_equal_tables(source_db, target_db)
    with target_db.connect() as holder, holder.transaction():
        holder.execute("LOCK TABLE profiles")
        ended = copied(tmp_path, library, sides, **LOCKED, **{"20s": "100ms"})
    assert "pipecopy.errors.CallTimeoutError" in ended.stderr


def test_the_driver_for_sqlite_copies_and_waits_for_no_lock(
    sqlite_pool: RecordingPool, tmp_path: Path
) -> None:
    sqlite_pool.create(range(1, 96))
    sides = ("source.sqlite", "target.sqlite")
    for _ in range(2):
        ended = copied(tmp_path, "sqlite3", sides)
        assert (ended.stdout, ended.stderr) == ("95\n", "")
        sqlite_pool.assert_equal()
    with closing(sqlite3.connect(tmp_path / sides[1])) as holder, holder:
        holder.execute("UPDATE profiles SET data = ''")
        ended = copied(tmp_path, "sqlite3", sides, **LOCKED, **{"timeout=20)": "timeout=0.1)"})
    assert "pipecopy.errors.CallTimeoutError" in ended.stderr


def test_the_driver_for_mysql_copies_and_waits_for_no_lock(tmp_path: Path) -> None:
    if (server := os.environ.get("MYSQL_URI")) is None:
        pytest.skip("MYSQL_URI names no server, such as mysql://root@localhost:3306")
    pymysql = pytest.importorskip("pymysql")
    parts = urlsplit(server)
    login = {"user": parts.username, "password": parts.password or ""}
    with closing(pymysql.connect(host=parts.hostname, port=parts.port, **login)) as connection:
        cursor = connection.cursor()

        def execute(*statements: str) -> list[tuple[Any, ...]]:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

        names = ("pipecopy_source", "pipecopy_target")
        for name in names:
            execute(f"CREATE DATABASE {name}")
            execute(f"CREATE TABLE {name}.profiles (id BIGINT PRIMARY KEY, data JSON)")
        try:
            many = ", ".join(f"({n}, '{{\"n\": {n}}}')" for n in range(1, 96))
            execute(f"INSERT INTO pipecopy_source.profiles VALUES {many}", "COMMIT")
            sides = (f"{server}/{names[0]}", f"{server}/{names[1]}")
            for _ in range(2):
                ended = copied(tmp_path, "PyMySQL", sides)
                assert (ended.stdout, ended.stderr) == ("95\n", "")
                found = [execute(f"SELECT * FROM {n}.profiles ORDER BY id") for n in names]
                assert (found[0], len(found[1])) == (found[1], 95)
                execute("COMMIT")
            execute("UPDATE pipecopy_target.profiles SET data = '{}'")
            ended = copied(tmp_path, "PyMySQL", sides, **LOCKED, **{"timeout = 20": "timeout = 1"})
            assert "pipecopy.errors.CallTimeoutError" in ended.stderr
            execute("COMMIT")
        finally:
            for name in names:
                execute(f"DROP DATABASE {name}")
