"""A driver can be a class or a closure in a script's `__main__`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from pipecopy import Row
from pipecopy.contracts import Session
from pipecopy.errors import DatabaseError
from pipecopy.postgres import PostgresPool
from pipecopy.postgres.database import PostgresDatabase
from tests.support.databases import TemporaryDatabase
from tests.support.drivers import RecordingPool
from tests.support.profiles import create_profiles
from tests.support.runs import copy
from tests.support.scripts import SQLITE, run_script

COPY = 'print(copy_table(config, Pool(), "source.sqlite", "target.sqlite").rows)'


def test_a_class_in_a_script_copies(sqlite_pool: RecordingPool, tmp_path: Path) -> None:
    sqlite_pool.create(range(1, 26))
    ended = run_script(tmp_path, SQLITE, f'if __name__ == "__main__":\n    {COPY}')
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "25\n", "")
    assert sqlite_pool.rows("target") == sqlite_pool.rows("source")


def test_a_closure_in_a_script_copies(sqlite_pool: RecordingPool, tmp_path: Path) -> None:
    sqlite_pool.create(range(1, 26))
    ended = run_script(
        tmp_path,
        SQLITE,
        """
        def make_pool(folder):
            class Closure:
                def connect(self, name):
                    return Database(f"{folder}/{name}.sqlite")
            return Closure()

        if __name__ == "__main__":
            print(copy_table(config, make_pool("."), "source", "target").rows)
        """,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "25\n", "")
    assert sqlite_pool.rows("target") == sqlite_pool.rows("source")


def test_a_script_without_the_guard_is_told_so_once(
    sqlite_pool: RecordingPool, tmp_path: Path
) -> None:
    sqlite_pool.create(range(1, 26))
    ended = run_script(tmp_path, SQLITE, COPY)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.count("Traceback") == 1
    last_line = ended.stderr.splitlines()[-1]
    assert last_line.startswith("pipecopy.errors.ConfigError: ")
    assert 'if __name__ == "__main__"' in last_line
    assert sqlite_pool.rows("target") == []


def test_a_script_without_the_guard_costs_no_kill(
    sqlite_pool: RecordingPool, tmp_path: Path
) -> None:
    sqlite_pool.create(range(1, 26))
    counts = """
    try:
        copy_table(config, Pool(), "source.sqlite", "target.sqlite")
    except ValueError as error:
        print(error.report.calls, error.report.kills)
    """
    assert run_script(tmp_path, SQLITE, counts).stdout == "0 0\n"


class FromPsycopg2:
    """A source that decodes JSON, as psycopg2 does unasked, and pipecopy's own as the target."""

    def __init__(self, source: str, target: PostgresPool) -> None:
        self._source = source
        self._target = target

    def for_session(self, session: Session) -> FromPsycopg2:
        return FromPsycopg2(self._source, self._target.for_session(session))

    def connect(self, dbname: str) -> DecodingDatabase | PostgresDatabase:
        if dbname == "source":
            return DecodingDatabase(self._source)
        return self._target.connect(dbname)


class DecodingDatabase:
    def __init__(self, uri: str) -> None:
        self._db = psycopg2.connect(uri)

    def get_max_id(self) -> int:
        return int(self._rows("SELECT coalesce(max(id), 0) FROM profiles")[0][0])

    def load_rows(self, min_id: int, max_id: int) -> Sequence[Row]:
        sql = "SELECT id, data FROM profiles WHERE id >= %s AND id < %s ORDER BY id"
        return self._rows(sql, min_id, max_id)

    def save_rows(self, rows: Sequence[Row]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._db.close()

    def _rows(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        with self._db, self._db.cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchall()


def test_decoded_json_is_copied_once_the_target_is_told(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 30)
    create_profiles(target_db)
    strings = ("'\"123\"'", "'\"null\"'", "'\"{}\"'", "'\"FIRST\"'")
    source_db.execute(
        "INSERT INTO profiles VALUES" + ", ".join(f"({n}, {s})" for n, s in enumerate(strings, 31))
    )
    uris = {"target": target_db.uri}
    with pytest.raises(DatabaseError) as caught:
        copy(FromPsycopg2(source_db.uri, PostgresPool(uris)), batch_size=10)
    error = caught.value
    assert (error.side, error.call, error.sqlstate) == ("target", "save_rows", "22023")
    assert 'column "data" (jsonb)' in str(error)
    assert 'PostgresPool(json="decoded")' in str(error)
    assert "123" not in str(error)
    assert error.report is not None
    assert error.report.next_id == 30
    told = PostgresPool(uris, json="decoded")
    assert copy(FromPsycopg2(source_db.uri, told), batch_size=10).rows == 34
    rows = "SELECT * FROM profiles ORDER BY id"
    assert target_db.query(rows) == source_db.query(rows)
