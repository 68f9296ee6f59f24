"""Which program is started for the workers: a Python, and never the user's own program again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.drivers import RecordingPool
from tests.support.scripts import SQLITE, run_script

COPY = """
if __name__ == "__main__":
    print(copy_table(config, Pool(), "source.sqlite", "target.sqlite").rows)
"""
NONE_KNOWN = """
import sys
sys._base_executable = None
sys.exec_prefix = sys.base_exec_prefix = "/no/such/prefix"
"""
NAMED = """
import multiprocessing
multiprocessing.set_executable({python!r})
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Return the path for a program that runs the script, and notes that it was started."""
    return _program(tmp_path / "program", tmp_path)


def _program(path: Path, folder: Path) -> Path:
    path.write_text(
        f'#!/bin/sh\necho started >> "{folder}/starts"\nexec {sys.executable} {folder}/script.py\n'
    )
    path.chmod(0o755)
    return path


def _starts(folder: Path) -> int:
    starts = folder / "starts"
    return len(starts.read_text().splitlines()) if starts.exists() else 0


def _run(folder: Path, *parts: str) -> tuple[str, str]:
    """Return the output of the script, and the last line of its one traceback."""
    ended = run_script(folder, *parts, SQLITE, COPY)
    assert ended.stderr.count("Traceback") == (ended.returncode != 0), ended.stderr
    return ended.stdout, "".join(ended.stderr.splitlines()[-1:])


def test_a_frozen_program_is_told_so_and_never_started_again(
    sqlite_pool: RecordingPool, program: Path, tmp_path: Path
) -> None:
    sqlite_pool.create(range(1, 26))
    frozen = f"import sys\nsys.frozen = True\nsys.executable = {str(program)!r}"
    said, error = _run(tmp_path, frozen)
    assert (said, _starts(tmp_path)) == ("", 0)
    assert error.startswith("pipecopy.errors.ConfigError: a frozen program can't start the workers")


@pytest.mark.parametrize("executable", ["''", "None", "'/no/such/python3'", "{program!r}"])
def test_a_python_is_found_if_sys_executable_is_none(
    sqlite_pool: RecordingPool, program: Path, tmp_path: Path, executable: str
) -> None:
    sqlite_pool.create(range(1, 26))
    setting = f"import sys\nsys.executable = {executable.format(program=str(program))}"
    assert _run(tmp_path, setting) == ("25\n", "")
    assert _starts(tmp_path) == 0


def test_what_is_only_called_python_is_started_once(
    sqlite_pool: RecordingPool, tmp_path: Path
) -> None:
    sqlite_pool.create(range(1, 26))
    program = str(_program(tmp_path / "python-program", tmp_path))
    said, error = _run(tmp_path, f"import sys\nsys.executable = {program!r}")
    assert (said, _starts(tmp_path)) == ("", 1)
    assert error.startswith("pipecopy.errors.ConfigError: the workers of a run need a Python ")
    assert f" {program} is another program" in error


def test_a_host_that_embeds_python(sqlite_pool: RecordingPool, tmp_path: Path) -> None:
    """As in uWSGI or a program in C: the file of the process itself is no interpreter's."""
    sqlite_pool.create(range(1, 26))
    host = tmp_path / "host"
    shutil.copy(os.path.realpath(sys.executable), host)
    environ = {
        **os.environ,
        "PYTHONHOME": f"{sys.base_prefix}:{sys.base_exec_prefix}",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    if subprocess.run([host, "-c", ""], env=environ, check=False).returncode:
        pytest.skip("a copy of this interpreter does not run")
    ends = [
        run_script(tmp_path, part, SQLITE, COPY, python=host, env=environ)
        for part in ("", NONE_KNOWN, NONE_KNOWN + NAMED.format(python=sys.executable))
    ]
    assert [ended.stdout for ended in ends] == ["25\n", "", "25\n"]
    assert ends[1].stderr.splitlines()[-1] == (
        "pipecopy.errors.ConfigError: the workers of a run need a Python interpreter, and none is"
        f" known: sys.executable is '{host}'; name one of version"
        f" {sys.version_info[0]}.{sys.version_info[1]} with multiprocessing.set_executable(path)"
    )
