"""`pipecopy check`, as a user runs it."""

from __future__ import annotations

import inspect
import json
import os
import re
import signal
import socket
import time
from collections.abc import Sequence

import pytest

from pipecopy.cli.app import check, copy
from tests.support.command import LONGEST, full_pipe_end, run, start, unstamped
from tests.support.databases import Both
from tests.support.gates import table_gate
from tests.support.profiles import create_profiles
from tests.support.servers import PASSWORD_USER
from tests.support.terminal import open_terminal, read_all, without_colours

NOWHERE = "host=127.0.0.1 port=1 user=postgres dbname=postgres"
QUICK = ("--call-timeout", "10s", "--full-copy-timeout", "30s", "--max-retries", "0")


@pytest.fixture
def ready(both: Both) -> tuple[str, str]:
    """Give the two databases, with a table on each."""
    create_profiles(both.source, 1000)
    create_profiles(both.target)
    return both.source.uri, both.target.uri


def test_the_checklist_is_standard_output(ready: tuple[str, str]) -> None:
    result = run("check", *ready, *QUICK)
    lines = result.stdout.splitlines()
    assert (result.returncode, result.stderr) == (0, "")
    assert lines[-1] == "A copy can start."
    assert sum(line.startswith("  ok      server") for line in lines) == 2
    assert "  ok      rights        SELECT, INSERT, UPDATE; TEMP on the database" in lines
    assert "  ok      data  jsonb   jsonb" in lines
    assert any(re.fullmatch(r"  rows +about 1,000, 0\.\d MB, in 1 batch", line) for line in lines)
    assert max(map(len, lines)) <= 100


def test_json_is_all_of_standard_output(ready: tuple[str, str]) -> None:
    result = run("check", *ready, *QUICK, "--json")
    report = json.loads(result.stdout)
    assert (result.returncode, result.stderr, report["can_start"]) == (0, "", True)
    assert (report["plan"]["rows"], report["plan"]["method"]) == (1000, "direct")
    assert {"side", "what", "mark", "message", "remedy", "cause"} == set(report["items"][0])


def test_what_copy_takes_check_takes() -> None:
    """But for what goes on with a run, which was looked at when that was planned."""
    of_copy, of_check = (
        {
            name: (each.default, each.kind)
            for name, each in inspect.signature(command).parameters.items()
        }
        for command in (copy, check)
    )
    assert of_copy.keys() - of_check.keys() == {"go_on", "typed"}
    assert of_copy | of_check == of_copy


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--resume", "--where", "id > 1"), 2, "--resume does not go with --where"),
        (("--target-table", "nothing"), 5, "or use `--create`"),
    ],
)
def test_the_exit_code_is_the_copy_s(
    ready: tuple[str, str], arguments: Sequence[str], code: int, said: str
) -> None:
    checked, copied = (run(command, *ready, *QUICK, *arguments) for command in ("check", "copy"))
    assert checked.returncode == copied.returncode == code
    assert said in checked.stdout + checked.stderr
    assert "Traceback" not in checked.stderr


def test_two_sides_that_fail_are_both_shown_without_the_password(both: Both) -> None:
    wrong = both.target.server.uri(user=PASSWORD_USER, password="wr0ng-one")  # noqa: S106 - it is wrong
    result = run("check", NOWHERE, wrong, *QUICK)
    assert result.returncode == 3
    source, target = result.stdout.split("\nTarget")
    assert "Connection refused" in source
    assert "fix its host and port" in source
    assert "password authentication failed" in target
    assert "~/.pgpass" in target
    assert result.stdout.endswith("A copy can't start: 2 problems.\n")
    assert "wr0ng-one" not in result.stdout + result.stderr
    assert "raised" not in result.stderr  # the checklist has it


def test_the_whole_limit_is_124_and_what_was_found_is_shown(both: Both) -> None:
    create_profiles(both.target)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        source = f"host=127.0.0.1 port={deaf.getsockname()[1]} user=postgres dbname=postgres"
        result = run("check", source, both.target.uri, "--full-copy-timeout", "1s")
    assert result.returncode == 124
    assert unstamped(result.stderr)[-2].startswith("failed: the whole check reached its limit")
    assert "  ok      connect" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("It is not known whether a copy can start")


def test_a_signal_stops_it(both: Both) -> None:
    create_profiles(both.source, 10)
    with table_gate(both.source) as gate, start(["check", both.source.uri, NOWHERE]) as process:
        gate.arrival()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 143
    assert unstamped(err)[-2] == "stopped by SIGTERM; nothing more was checked"
    assert "Connection refused" in out


def test_a_full_pipe_keeps_nobody_waiting(ready: tuple[str, str]) -> None:
    with full_pipe_end() as full:
        began = time.monotonic()
        result = run("check", *ready, *QUICK, stdout=full)
    assert result.returncode == 0
    assert result.stderr == "standard output could not be written: nobody reads it\n"
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("locale", "width", "marks"), [("C.UTF-8", 80, "✓✗→"), ("C", 120, ("ok", "problem", "->"))]
)
def test_a_terminal_gets_what_it_can_show(
    both: Both, locale: str, width: int, marks: Sequence[str]
) -> None:
    create_profiles(both.source, 10)
    both.target.execute("CREATE TABLE profiles (id bigint, data jsonb, more text)")
    screen, terminal = open_terminal(width)
    uris = both.source.uri, both.target.uri
    with start(
        ["check", *uris, *QUICK], by=("env", f"LC_ALL={locale}"), stdout=terminal
    ) as process:
        os.close(terminal)
        shown = read_all(screen)
        assert process.wait(LONGEST) == 5
    assert "\x1b[1;31m" in shown  # a problem is red
    lines = without_colours(shown).splitlines()
    for mark in marks:
        assert any(mark in line for line in lines), mark
    assert lines[-1] == "A copy can't start: 1 problem."
    texts = [line for line in lines if not line.endswith(";")]  # SQL is not cut in pieces
    assert max(map(len, texts)) <= min(width, 100)
