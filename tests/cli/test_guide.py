"""`pipecopy guide`, as whoever is paged reads it: on a terminal, in a pipe, on a bare host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_imports import packages_loaded
from tests.support.command import COMMAND, LONGEST, environment, run, start
from tests.support.manual import PAGES, ROOT
from tests.support.terminal import open_terminal, read_all, without_colours


def test_each_topic_has_a_line() -> None:
    result = run("guide")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    titles = [text.partition("\n")[0].removeprefix("# ") for text in PAGES.values()]
    listed = lines[1 : 1 + len(PAGES)]
    assert [line.split()[0] for line in listed] == [*PAGES]
    assert [line.split(maxsplit=1)[1] for line in listed] == titles
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "Show one of them: pipecopy guide exit-codes"


def test_a_topic_on_a_terminal_is_laid_out() -> None:
    screen, terminal = open_terminal(80)
    with start(["guide", "exit-codes"], by=("env", "TERM=xterm"), stdout=terminal) as process:
        os.close(terminal)
        shown = without_colours(read_all(screen))
        assert process.wait(LONGEST) == 0
    assert PAGES["exit-codes"].partition("\n")[0].removeprefix("# ") in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert not [line for line in shown.splitlines() if line.startswith(("#", "|", "```"))]


def test_a_reader_who_has_seen_enough_is_no_error() -> None:
    words = " ".join([*COMMAND, "guide", "exit-codes"])
    ended = subprocess.run(
        ["/bin/bash", "-c", f"{words} | head -1; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert (ended.returncode, ended.stderr, ended.stdout.count("\n")) == (0, "", 1)


def test_a_wrong_topic_is_wrong_usage() -> None:
    result = run("guide", "exit-code")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        'error: the guide has no topic "exit-code" (did you mean exit-codes?); its topics:'
        f" {', '.join(PAGES)}\nto go on: fix that; `pipecopy guide --help` explains each option\n"
    )


def test_a_topic_in_a_pipe_is_its_markdown_and_needs_no_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    Path("pipecopy.toml").write_text("this is not TOML", encoding="utf-8")
    result = run("guide", "exit-codes")
    assert (result.returncode, result.stdout) == (0, PAGES["exit-codes"])
    loaded = packages_loaded(result.stderr)
    assert not loaded & {"pebble", "multiprocess", "dill", "psycopg", "rich"}


def test_it_is_read_from_an_archive_too(tmp_path: Path) -> None:
    archive = tmp_path / "pipecopy.zip"
    subprocess.run([sys.executable, "-c", _ARCHIVE, str(archive), str(ROOT)], check=True)
    shown = subprocess.run(
        [sys.executable, "-m", "pipecopy", "guide", "exit-codes"],
        env={**environment(), "PYTHONPATH": str(archive)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == PAGES["exit-codes"]


_ARCHIVE = """
import sys, zipfile
from pathlib import Path
root = Path(sys.argv[2])
with zipfile.ZipFile(sys.argv[1], "w") as archive:
    for path in (root / "pipecopy").rglob("*"):
        if path.suffix in (".py", ".md"):
            archive.write(path, path.relative_to(root))
"""
