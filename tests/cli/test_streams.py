"""Standard output and error that are closed, full or read by nobody: the command still ends."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.blocked import blocked_copy
from tests.support.command import (
    COMMAND,
    LONGEST,
    environment,
    full_pipe_end,
    run,
    start_stubbed,
)
from tests.support.databases import TemporaryDatabase
from tests.support.profiles import create_profiles

QUICK = ("--call-timeout", "10s", "--full-copy-timeout", "30s")


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """Give the writing end of a pipe that takes nothing more, and that nobody reads."""
    with full_pipe_end() as write:
        yield write


@pytest.fixture
def databases(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> tuple[TemporaryDatabase, TemporaryDatabase]:
    create_profiles(source_db, 100)
    create_profiles(target_db)
    return source_db, target_db


def test_the_full_copy_timeout_holds_with_full_pipes(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, full_pipe: int
) -> None:
    limits = ("--call-timeout", "30s", "--full-copy-timeout", "2s", "--json")
    began = time.monotonic()
    with blocked_copy(source_db, target_db, *limits, stdout=full_pipe, stderr=full_pipe) as process:
        assert process.wait(LONGEST) == 124
        assert time.monotonic() - began < 2 + 3  # start-up, and what it waits for the pipes


@pytest.mark.parametrize("which", ["stdout", "stderr"])
def test_a_full_pipe_changes_no_exit_code(
    which: str, full_pipe: int, databases: tuple[TemporaryDatabase, TemporaryDatabase]
) -> None:
    source, target = databases
    result = run("copy", source.uri, target.uri, *QUICK, "--json", **{which: full_pipe})
    assert result.returncode == 0
    if which == "stdout":
        assert result.stderr.splitlines()[-1] == (
            "standard output could not be written: nobody reads it"
        )


def test_a_full_disk_is_said(databases: tuple[TemporaryDatabase, TemporaryDatabase]) -> None:
    source, target = databases
    with Path("/dev/full").open("w") as full:
        result = run("copy", source.uri, target.uri, *QUICK, "--json", stdout=full)
    assert result.returncode == 0
    assert result.stderr.splitlines()[-1] == (
        "standard output could not be written: No space left on device"
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full 2>&1"])
def test_closed_streams_change_no_exit_code(
    closed: str, databases: tuple[TemporaryDatabase, TemporaryDatabase]
) -> None:
    source, target = databases
    arguments = [*COMMAND, "copy", source.uri, target.uri, *QUICK, "--json"]
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *arguments]
    done = subprocess.run(
        shell, env=environment(), capture_output=True, text=True, timeout=LONGEST, check=False
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert target.value("SELECT count(*) FROM profiles") == 100


@pytest.mark.parametrize("which", ["stdout", "stderr"])
def test_a_reader_that_went_away_changes_no_exit_code(
    which: str, databases: tuple[TemporaryDatabase, TemporaryDatabase]
) -> None:
    source, target = databases
    read, write = os.pipe()
    os.close(read)
    result = run("copy", source.uri, target.uri, *QUICK, "--json", **{which: write})
    os.close(write)
    assert result.returncode == 0


def test_help_into_a_closed_pipe_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    result = run("--help", stdout=write)
    os.close(write)
    assert (result.returncode, result.stderr) == (0, "")


FAILS = """
def copy_table(*_, observer, **__):
    {before}
    raise FullCopyTimeoutError("too late", report=report("timed out"))
"""


@pytest.fixture
def moment(tmp_path: Path) -> Path:
    """Give the file into which `FAILS` writes when the copy ended."""
    return tmp_path / "moment"


def stub(moment: Path) -> str:
    return FAILS.format(before=f"print(time.monotonic(), file=open({str(moment)!r}, 'w'))")


def wait_for(moment: Path) -> float:
    deadline = time.monotonic() + LONGEST
    while not moment.exists() or not moment.read_text().endswith("\n"):
        assert time.monotonic() < deadline
        time.sleep(0.005)  # a file's being written sends no event
    return float(moment.read_text())


def test_the_command_ends_soon_after_the_copy_where_nobody_reads(
    full_pipe: int, moment: Path
) -> None:
    with (
        full_pipe_end() as other,
        start_stubbed(stub(moment), ["--json"], stdout=full_pipe, stderr=other) as process,
    ):
        assert process.wait(LONGEST) == 124
        took = time.monotonic() - wait_for(moment)
    assert took < 0.5  # 0.26 on a machine that does nothing else


def test_a_slow_reader_gets_all_of_it(moment: Path) -> None:
    read, write = os.pipe()
    before = b"x" * 65_536  # what a pipe holds
    os.write(write, before)
    text = b""
    streams = {"stdout": write, "stderr": subprocess.DEVNULL}
    with start_stubbed(stub(moment), ["--json"], **streams) as process:
        os.close(write)
        wait_for(moment)
        while piece := os.read(read, 8192):
            text += piece
            time.sleep(0.03)  # so slow, and yet it moves
        os.close(read)
    assert process.returncode == 124
    assert json.loads(text[len(before) :])["error"]["class"] == "FullCopyTimeoutError"


def test_the_error_is_told_however_much_waits(moment: Path) -> None:
    read, write = os.pipe()
    os.write(write, b"x" * 65_536)
    many = "[sys.stderr.write(f'{n}\\n') for n in range(2000)]; "
    program = stub(moment).replace("print(", f"{many}print(")
    text = b""
    with start_stubbed(program, ["--quiet"], stderr=write):
        os.close(write)
        wait_for(moment)
        while piece := os.read(read, 65_536):
            text += piece
        os.close(read)
    lines = text.decode().splitlines()
    assert "1999" not in lines  # what nobody read in time was dropped
    assert lines[-1].startswith("error: too late")
