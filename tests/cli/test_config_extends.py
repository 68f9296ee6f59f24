"""A job that extends another."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.asked import asked, refused

BASE = """
defaults = {call_timeout = "10s", max_retries = 7, where = "true"}
[jobs.base]
source = "host=a"
target = "host=b"
columns = ["id"]
batch_size = 500
max_retries = 5
[jobs.orders]
extends = "base"
table = "orders"
exclude = ["secret"]
[jobs.weekly]
extends = "orders"
batch-size = 9
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str) -> None:
    Path("pipecopy.toml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("command", ["copy", "check", "verify"])
def test_the_keys_of_a_job_are_before_those_of_the_one_it_extends(command: str) -> None:
    write(BASE)
    weekly = asked(command, "weekly", "--where", "false")
    assert (weekly.source, weekly.target) == ("host=a", "host=b")
    assert (weekly.limits.batch_size, weekly.limits.max_retries) == (9, 5)
    assert (weekly.limits.call_timeout, weekly.selection.where) == (10.0, "false")
    assert (weekly.selection.table, weekly.selection.columns) == ("orders", None)
    assert weekly.selection.exclude == ("secret",)
    assert asked(command, "base").selection.columns == ("id",)
    assert asked(command, "base", PIPECOPY_BATCH_SIZE="3").limits.batch_size == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jobs.a.extends = 5", "jobs.a.extends must be the name of a job, not 5"),
        ("jobs.a.extends = ['base']", "jobs.a.extends must be the name of a job, not a list"),
        (
            "jobs.a.extends = 'bsae'",
            'jobs.a.extends: there is no job "bsae" (did you mean base?)',
        ),
        (
            "jobs.a.extends = 'a'",
            'jobs.a.extends: a job can\'t extend itself: "a" extends "a"',
        ),
        (
            "jobs.a.extends = 'b'\njobs.b.extends = 'c'\njobs.c.extends = 'b'",
            'jobs.b.extends: a job can\'t extend itself: "b" extends "c" extends "b"',
        ),
        ("jobs.a = {extends = 'base', extend = 5}", "jobs.a.extend is an unknown option"),
        ("defaults.extends = 'base'", "defaults.extends is an unknown option"),
    ],
)
def test_what_is_wrong_is_said_with_the_key(text: str, said: str) -> None:
    write(f"{text}\njobs.base = {{source = 'host=a', target = 'host=b'}}")
    assert refused("copy", "host=a", "host=b") == f"pipecopy.toml: {said}"


def test_the_databases_may_be_those_of_the_job_that_is_extended() -> None:
    write("jobs.a = {extends = 'b'}\njobs.b = {source = 'host=a'}")
    assert refused("copy", "host=a", "host=b").split("; ") == [
        "pipecopy.toml: jobs.a has no target",
        "pipecopy.toml: jobs.b has no target",
    ]
    assert asked("copy", "a", PIPECOPY_TARGET="host=c").source == "host=a"


def test_extends_is_no_option() -> None:
    write(BASE)
    assert "--extends" in refused("copy", "base", "--extends", "orders")
