"""Nobody imports what it does not use: psycopg takes longer than to copy a small table."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import run, unstamped
from tests.support.databases import TemporaryDatabase
from tests.support.profiles import create_profiles
from tests.support.scripts import run_script

HANDED_ON = """
import pickle, sys
from pipecopy.postgres import PostgresPool
pool = PostgresPool({"prod": "service=prod"}, columns=["id"], where="true", json="text")
pool = pickle.loads(pickle.dumps(pool))
assert pool.connections["prod"] == "service=prod", repr(pool)
print("psycopg" in sys.modules)
"""
PRELOADED = """
import sys
import pipecopy.postgres.database, pipecopy.workers.worker
print(*{"pipecopy.events", "pipecopy.report"} & sys.modules.keys())
"""
NO_FILE = """
import tempfile
import pipecopy.workers.third_party
print(tempfile.tempdir)  # what Python writes a file to find out
"""
CONNECTED = """
import sys
from pipecopy import Config, copy_table
from pipecopy.postgres import PostgresPool

class Pool(PostgresPool):
    def connect(self, name):
        before = set(sys.modules)
        database = super().connect(name)
        if new := set(sys.modules) - before:
            raise ImportError(f"imported by a worker: {sorted(new)}")
        return database

if __name__ == "__main__":
    limits = dict(max_retries=0, retries_delay=0, call_timeout=10, full_copy_timeout=30)
    print(copy_table(Config(batch_size=10, **limits), Pool(), *SIDES).rows)
"""


def packages_loaded(stderr: str) -> set[str]:
    """Return the packages in what `-X importtime` wrote, which the workers write elsewhere."""
    lines = [line for line in stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def test_a_command_off_a_terminal_loads_neither_psycopg_nor_rich(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_profiles(source_db, 10)
    create_profiles(target_db)
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    for command in ("copy", "verify"):
        result = run(command, source_db.uri, target_db.uri)
        assert result.returncode == 0, result.stderr
        loaded = packages_loaded(result.stderr)
        assert "pebble" in loaded
        assert not loaded & {"psycopg", "psycopg_binary", "rich"}
        assert not re.search(r"\b(operations\.shards|cli\.shards)\b", result.stderr)


def test_the_help_loads_nothing_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    loaded = packages_loaded(run("--help").stderr)
    assert "cyclopts" in loaded
    assert not loaded & {"pebble", "multiprocess", "dill", "psycopg"}


@pytest.mark.parametrize(
    ("script", "said"), [(HANDED_ON, "False\n"), (PRELOADED, "\n"), (NO_FILE, "None\n")]
)
def test_what_is_handed_on_or_preloaded_does_no_more_than_it_needs(script: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == said


def test_a_worker_has_all_that_it_needs_to_connect(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, tmp_path: Path
) -> None:
    create_profiles(source_db, 10)
    create_profiles(target_db)
    ended = run_script(tmp_path, f"SIDES = {source_db.uri, target_db.uri}", CONNECTED)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "10\n", "")


@pytest.mark.parametrize("command", ["copy", "check", "verify"])
def test_a_psycopg_that_does_not_load_is_one_error_line_and_70(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "psycopg.py").write_text('raise ImportError("no pq wrapper available")')
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    result = run(command, "service=a", "service=b", "--quiet")
    assert result.returncode == 70
    # the failure of the target, if that came first, is a warning before it
    *_, line, _ = unstamped(result.stderr)
    assert line.startswith("failed: source service=a: connect failed on attempt 1: ImportError: ")
    assert line.endswith("no pq wrapper available")
