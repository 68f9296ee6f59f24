"""What a user gets who asks for help, or gets it wrong: one line, and the right exit code."""

from __future__ import annotations

import json

import pytest

from tests.cli.command import run

HELP_CODES = """\
Exit codes:
    0  done
    2  wrong usage or configuration
    3  the source failed
    4  the target failed
    5  the two tables do not fit together
   70  internal error
   75  a call timed out on all its attempts, or another copy holds
       the target: run it again
  124  the full-copy timeout was reached
  129, 130, 143  stopped by SIGHUP, SIGINT, SIGTERM
"""
NO_DURATION = "is no duration such as 250ms, 30s, 5m or 1h30m"


@pytest.mark.parametrize("arguments", [["--help"], ["copy", "--help"], ["demo", "-h"]])
def test_the_help_has_the_exit_codes(arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.returncode, result.stderr) == (0, "")
    assert HELP_CODES in result.stdout


def test_the_help_shows_the_defaults_as_people_write_them() -> None:
    shown = " ".join(run("copy", "--help").stdout.replace("│", " ").split())
    for default in ("profiles", "id", "10000", "3", "1s", "30s", "6h", "1"):
        assert f"[default: {default}]" in shown


def test_the_version() -> None:
    assert run("--version").stdout == "0.1.0\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("copy", 'Command "copy" parameter SOURCE requires an argument.'),
        ("copy a b c", "unexpected argument: c"),
        ("copy a b --nope", "Unknown option: --nope."),
        ("copy a b --batch-size 0", "--batch-size must be at least 1, not 0"),
        (
            "copy a b --batch-size x",
            'Invalid value for --batch-size: unable to convert "x" into int.',
        ),
        ("copy a b --read-ahead 2", "--read-ahead must be 0 to 1, not 2"),
        (
            "copy a b --call-timeout nan",
            f'Invalid value for --call-timeout: "nan" {NO_DURATION}',
        ),
        (
            "copy a b --call-timeout 0 --max-retries=-1",
            "--max-retries must be at least 0, not -1; --call-timeout must be more than 0, not 0.0",
        ),
        ("bogus", 'Unknown command "bogus". Available commands: copy, demo.'),
        ("demo --rows 0", "--rows must be 1 to 10000000, not 0"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: str, line: str) -> None:
    result = run(*arguments.split())
    assert (result.stderr, result.stdout) == (f"error: {line}\n", "")
    assert result.returncode == 2


def test_no_command_shows_the_help() -> None:
    result = run()
    assert result.returncode == 2
    assert "Usage: pipecopy COMMAND" in result.stderr
    assert result.stderr.endswith("error: no command was given\n")


def test_wrong_usage_shows_no_password() -> None:
    uri = "postgresql://me:s3cret@host/db"
    result = run("copy", uri, uri, uri)
    assert result.returncode == 2
    assert "s3cret" not in result.stderr


@pytest.mark.parametrize("wrong", [["--batch-size", "0"], ["--call-timeout", "nan"]])
def test_with_json_wrong_usage_is_an_object_too(wrong: list[str]) -> None:
    result = run("copy", "a", "b", "--json", *wrong)
    error = json.loads(result.stdout)["error"]
    assert (error["class"], error["exit_code"], result.returncode) == ("ConfigError", 2, 2)
    assert wrong[0] in error["message"]
