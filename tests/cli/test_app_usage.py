"""What a user gets who asks for help, or gets it wrong: one line, and the right exit code."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cyclopts
import pytest

import pipecopy
from pipecopy.cli.app import build_app
from pipecopy.cli.codes import EXIT_CODES, MEANINGS
from tests.support.asked import asked, told
from tests.support.command import environment, run
from tests.support.manual import PAGES
from tests.support.pages import text_of

TAKES = "copy takes a SOURCE and a TARGET, or names of jobs"
COMMANDS = [name for name in build_app({})[0] if not name.startswith("-")]
NO_DURATION = "is not a valid duration such as 250ms, 30s, 5m, 1h30m or 1d"
NO_COLUMNS = 'is not a valid list of columns such as id,data or id,"a, b"'


def test_the_help_has_the_exit_codes_and_says_nothing_twice() -> None:
    result = run("--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert EXIT_CODES in result.stdout
    lines = list(filter(None, result.stdout.splitlines()))
    assert len({*lines}) == len(lines)
    assert sum("pipecopy.toml" in line for line in lines[-30:]) == 1


def test_the_guide_and_the_help_say_the_same_of_each_exit_code() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \| (.+) \|$", PAGES["exit-codes"], re.MULTILINE)
    assert rows == [(str(m.code), m.what, m.again) for m in MEANINGS]
    shown = " ".join(EXIT_CODES.split())
    assert all(re.search(rf"\b{m.code} {re.escape(m.what[:20])}", shown) for m in MEANINGS)


def test_the_help_shows_the_defaults_as_people_write_them() -> None:
    shown = " ".join(run("copy", "--help").stdout.replace("│", " ").split())
    for default in ("profiles", "id", "10000", "3", "1s", "30s", "6h", "1"):
        assert f"[default: {default}]" in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_is_tidy(command: str) -> None:
    shown = run(command, "--help").stdout
    assert max(map(len, shown.splitlines())) <= 80
    options = re.findall(r"^│ +(?:\*  )?(--[a-z-]+)", shown, re.MULTILINE)
    arguments = build_app({})[0][command].assemble_argument_collection()
    known = [one.name for one in arguments if one.parse and not one.children]
    assert sorted(options) == sorted(name for name in known if name.startswith("--"))
    assert "│ * " not in shown  # nothing has to be given that a job may give
    assert "STR" not in shown


HELPS = """
import sys
from rich.console import Console
from pipecopy.cli.app import build_app

app, _ = build_app({})
for command in sys.argv[1:]:
    app.help_print(command.split(), console=Console(width=80))
"""


def test_the_help_is_whole_without_docstrings() -> None:
    normal, stripped = (
        subprocess.run(
            [sys.executable, *how, "-c", HELPS, "", *COMMANDS],
            capture_output=True,
            text=True,
            check=True,
            env=environment(),
        ).stdout
        for how in ((), ("-OO",))
    )
    assert stripped == normal
    assert normal.count("Usage: pipecopy") > len(COMMANDS)
    assert not re.findall(r"^│ +--[a-z-]+ *│$", stripped, re.MULTILINE)


def test_the_example_in_the_help_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = run("--help").stdout.splitlines()
    example = [line for line in lines if line.startswith("    ") and not line[4:5].isspace()]
    text = "\n".join(line for line in example if not line[4].isdigit())
    Path("pipecopy.toml").write_text(text, encoding="utf-8")
    command = asked("copy", "nightly")
    assert command.connections == {"prod": "service=prod", "stats": "service=stats"}
    assert command.selection.table == "public.profiles"


def test_the_version() -> None:
    assert run("--version").stdout == "0.1.0\n"


def test_an_archive_has_no_version_and_writes_a_page_too(tmp_path: Path) -> None:
    for path in Path(cyclopts.__file__).parents[1].iterdir():
        if not path.name.startswith(("pipecopy", "__editable__")):
            (tmp_path / path.name).symlink_to(path)
    root = Path(pipecopy.__file__).parents[1]
    archive = shutil.make_archive(str(tmp_path / "archive"), "zip", root, "pipecopy")
    pythonpath = f"{archive}:{tmp_path}"
    how: dict[str, Any] = {"env": {"PYTHONPATH": pythonpath}, "cwd": tmp_path, "text": True}
    command = [sys.executable, "-S", "-m", "pipecopy"]
    shown = subprocess.run([*command, "--version"], capture_output=True, check=False, **how)
    assert (shown.returncode, shown.stdout) == (0, "unknown: pipecopy is not installed\n")
    nowhere = ("host=127.0.0.1 port=1", "host=127.0.0.1 port=1")
    checked = [*command, "check", *nowhere, "--report", "a.html"]
    assert subprocess.run(checked, capture_output=True, check=False, **how).returncode == 3
    assert " pipecopy that is not installed, run " in text_of(tmp_path / "a.html")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("copy", f"SOURCE and TARGET not given: {TAKES}"),
        ("copy nightly --config no.toml", "there is no file no.toml, which --config names"),
        ("copy a b --config=", "--config is empty"),
        (
            "copy host=a host=b --table a\udcff",  # a byte that is no UTF-8
            "--table is not encoded in UTF-8, or not as the locale says (LC_ALL, LANG)",
        ),
        (
            "copy \udcff host=b",
            "SOURCE is not encoded in UTF-8, or not as the locale says (LC_ALL, LANG)",
        ),
        (
            "copy postgresql://a?pgbouncer=true host=b",
            (
                'SOURCE: libpq does not know the parameter "pgbouncer": remove it; a pooler in'
                " session mode is allowed with `--session-pooler`"
            ),
        ),
        ("copy a b c", "unexpected argument: c"),
        ("copy a b --nope", "--nope is an unknown option"),
        ("copy a b --tabel=x", "--tabel is an unknown option (did you mean --table?)"),
        ("copy a b --call-timeout", "--call-timeout needs a value"),
        ("copy a b --max-load 1 --max-load 2", "--max-load is given twice"),
        ("copy a b --json=maybe", '--json: "maybe" is neither true nor false'),
        (
            "copy service=no service=none",
            "; ".join(
                f'{side}: libpq\'s pg_service.conf has no service "{name}"'
                for side, name in (("SOURCE", "no"), ("TARGET", "none"))
            ),
        ),
        ("copy a b --batch-size 0", "--batch-size must be at least 1, not 0"),
        ("copy a b --batch-size x", '--batch-size: "x" is not a whole number such as 500 or 10k'),
        ("copy a b --read-ahead 2", "--read-ahead must be 0 to 1, not 2"),
        (
            "copy a b --call-timeout nan",
            f'--call-timeout: "nan" {NO_DURATION}',
        ),
        (
            "copy a b --call-timeout 0 --max-retries=-1",
            "--max-retries must be at least 0, not -1; --call-timeout must be more than 0, not 0",
        ),
        (
            "copy a b --max-rate 5000/m --max-lag 0 --max-load=-1",
            (
                '--max-rate: "5000/m" is not a valid rate such as 20MB or 5000rows; --max-lag must'
                " be more than 0, not 0; --max-load must be at least 0, not -1"
            ),
        ),
        (
            "copy a b --batch-size 0 --nope",
            "--batch-size must be at least 1, not 0; --nope is an unknown option",
        ),
        (
            "copy a b c --batch-size 0",
            "--batch-size must be at least 1, not 0; unexpected argument: c",
        ),
        (
            "copy --batch-size 0 --from-id 9 --to-id 8",
            (
                f"--batch-size must be at least 1, not 0; SOURCE and TARGET not given: {TAKES};"
                " --from-id 9 is above --to-id 8"
            ),
        ),
        (
            "verify a b --delete-surplus --repair=maybe",
            '--repair: "maybe" is neither true nor false',
        ),
        (
            "verify a b --delete-surplus --batch-size 0",
            "--batch-size must be at least 1, not 0; --delete-surplus needs --repair",
        ),
        ("copy a b --from-id 1.5", '--from-id: "1.5" is not a whole number such as 500 or 10k'),
        ("copy a b --to-id=-1", "--to-id must be at least 0, not -1"),
        ("copy host=a host=b --from-id 9 --to-id 8", "--from-id 9 is above --to-id 8"),
        (
            "copy host=a host=b --batch-time 20s",
            (
                "--batch-time 20s is more than half of --call-timeout 30s: a save that takes longer"
                " than planned would be killed"
            ),
        ),
        ("copy a b --columns id,", f"--columns: 'id,' {NO_COLUMNS}"),
        ("copy a b --table= --columns id --where=", "--table is empty; --where is empty"),
        (
            "copy host=a host=b --resume --where -x>3",
            "--resume does not go with --where: rows it left out before would stay missing",
        ),
        (
            "verify host=a host=b --columns id,data --exclude data",
            "--exclude does not go with --columns, which names all that is copied",
        ),
        (
            "copy host=a host=b --report ./x.json --metrics-file x.json --pause-file x",
            "--metrics-file and --report name the same file",
        ),
        ("bogus", f'"bogus" is not a command; the commands: {", ".join(COMMANDS)}'),
        (
            "copi",
            f'"copi" is not a command (did you mean copy?); the commands: {", ".join(COMMANDS)}',
        ),
        ("--quiet", f"no command was given before --quiet; the commands: {', '.join(COMMANDS)}"),
        ("demo --rows 0", "--rows must be 1 to 10000000, not 0"),
    ],
)
def test_wrong_usage_is_an_error_with_how_to_go_on_and_exit_code_2(
    arguments: str, line: str
) -> None:
    result = told(*arguments.split())
    command = arguments.partition(" ")[0]
    go_on = f"`pipecopy {command} --help` explains each option"
    if command not in COMMANDS:
        go_on = "`pipecopy --help` lists the commands"
    assert result.stderr == f"error: {line}\nto go on: fix that; {go_on}\n"
    assert (result.returncode, result.stdout) == (2, "")


def test_no_command_shows_the_help() -> None:
    result = run()
    assert result.returncode == 2
    assert "Usage: pipecopy COMMAND" in result.stderr
    assert result.stderr.endswith(
        "error: no command was given\nto go on: fix that; `pipecopy --help` lists the commands\n"
    )


def test_wrong_usage_shows_no_password() -> None:
    uri = "postgresql://me:s3cret@host/db"
    result = run("copy", uri, uri, uri)
    assert result.returncode == 2
    assert "s3cret" not in result.stderr


@pytest.mark.parametrize("wrong", [["--batch-size", "0"], ["--call-timeout", "nan"]])
def test_with_json_wrong_usage_is_an_object_too(wrong: list[str]) -> None:
    result = run("copy", "a", "b", "--json", *wrong)
    whole = json.loads(result.stdout)
    error = whole["error"]
    assert (error["class"], whole["exit_code"], result.returncode) == ("ConfigError", 2, 2)
    assert wrong[0] in error["message"]
