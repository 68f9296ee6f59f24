"""How a sharded run is asked for: its options, and the section [engine] of pipecopy.toml."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.asked import answered, asked, refused

RUN = "0123456789ab"
FILE = """
[defaults]
source = "host=a"
target = "host=b"
jobs = 3

[engine]
dask = "tls://scheduler:8786"
jobs = 9
shard-retries = 1
ledger = "ops.shards"

[jobs.plain]
[jobs.nightly]
shards = 200
from_id = 7
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of the test's own, with this file."""
    monkeypatch.chdir(tmp_path)
    Path("pipecopy.toml").write_text(FILE, encoding="utf-8")


def sharded(*words: str, **environ: str) -> dict[str, Any]:
    """Return what a copy is asked for, but for the options that are as if nobody had set them."""
    command = asked("copy", *words, **environ)
    groups = (command.shards, command.engine, command.go_on, command.ledger)
    given = {name: value for group in groups for name, value in vars(group).items()}
    return {name: value for name, value in given.items() if value not in {None, "ops.shards"}}


ENGINE = {"dask": "tls://scheduler:8786", "shard_retries": 1}


@pytest.mark.parametrize(
    ("words", "given"),
    [
        # a copy without shards does not heed it
        ("plain", {"jobs": 3, "shard_retries": 3}),
        ("nightly", {"shards": 200, "jobs": 3, **ENGINE}),
        (
            "nightly --jobs 5 --dask tcp://b:1",
            {**ENGINE, "shards": 200, "jobs": 5, "dask": "tcp://b:1"},
        ),
        ("plain --shards 4", {"shards": 4, "jobs": 3, **ENGINE}),
        # what the plan has settled, and who drives all shards, is not for these
        (f"nightly --run {RUN}", {"run": RUN, "jobs": 3, **ENGINE}),
        (f"nightly --run {RUN} --shard 4", {"run": RUN, "shard": 4, "shard_retries": 3}),
    ],
)
def test_what_of_the_file_is_for_which_copy(words: str, given: dict[str, Any]) -> None:
    assert sharded(*words.split()) == given


def test_each_is_a_variable_too() -> None:
    given = sharded("plain", PIPECOPY_RUN=RUN, PIPECOPY_SHARD="12")
    assert given == {"run": RUN, "shard": 12, "shard_retries": 3}


def test_shards_of_the_engine_are_for_every_copy() -> None:
    Path("pipecopy.toml").write_text("[engine]\nshards = 8\njobs = 2", encoding="utf-8")
    assert sharded("host=a", "host=b") == {
        "shards": 8,
        "jobs": 2,
        "shard_retries": 3,
        "ledger": "pipecopy_shards",
    }


def test_the_jobs_page_shows_where_each_is_set() -> None:
    shown = json.loads(answered("jobs", "nightly", "--json").stdout)["jobs"][0]["options"]
    assert shown["dask"] == {"value": ENGINE["dask"], "from": "[engine]"}
    assert shown["jobs"] == {"value": 3, "from": "[defaults]"}
    assert shown["shards"] == {"value": 200, "from": "[jobs.nightly]"}


def test_the_jobs_page_has_no_default_that_a_copy_has_not() -> None:
    Path("pipecopy.toml").write_text(
        "[jobs.a]\nsource = 'host=a'\ntarget = 'host=b'\n[engine]\njobs = 2", encoding="utf-8"
    )
    shown = json.loads(answered("jobs", "a", "--json").stdout)["jobs"][0]["options"]
    assert "jobs" not in shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[engine]\njobs = 0", "pipecopy.toml: engine.jobs must be at least 1, not 0"),
        (
            "[engine]\njob = 3",
            "pipecopy.toml: engine.job is an unknown option (did you mean jobs?)",
        ),
        ("[engine]\ntable = 'x'", "pipecopy.toml: engine.table belongs in [defaults] or in a job"),
        (
            "[defaults]\nresume = true\nshards = 3",
            (
                "pipecopy.toml: defaults: --resume does not go with --shards: --run goes on with a"
                " sharded run"
            ),
        ),
    ],
)
def test_what_is_wrong_in_the_file(text: str, said: str) -> None:
    Path("pipecopy.toml").write_text(text, encoding="utf-8")
    assert refused("verify", "host=a", "host=b") == said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--run 12", '--run must be the id of a run, 12 hex digits, not "12"'),
        ("--run null --shard 7", '--run must be the id of a run, 12 hex digits, not "null"'),
        ("--run= --jobs 3", '--run must be the id of a run, 12 hex digits, not ""'),
        ("--shards 0 --dask x:1", "--shards must be at least 1, not 0"),
        ("--shards 3 --dask x:1 --jobs 0", "--jobs must be at least 1, not 0"),
        ("--shard 3", "--shard 3 needs --run: the id that `pipecopy plan` has printed"),
        (
            "--jobs 3 --dask x:1",
            "--jobs, --dask: a copy has shards with --shards, --run or several tables alone",
        ),
        (
            f"--run {RUN} --shards 4 --to-id 4",
            "--shards and --to-id do not go with --run: the run goes on as it was planned",
        ),
        (
            "--shards 3 --resume",
            "--resume does not go with --shards: --run goes on with a sharded run",
        ),
        ("--shards 3 --dask x:1", "--dask needs --jobs: how many shards are copied at once"),
        (
            f"--run {RUN} --shard 3 --jobs 4",
            "--jobs does not go with --shard, which copies one shard in this process",
        ),
    ],
)
def test_what_does_not_go_together(words: str, said: str) -> None:
    Path("pipecopy.toml").unlink()
    assert refused("copy", "host=a", "host=b", *words.split()) == said
