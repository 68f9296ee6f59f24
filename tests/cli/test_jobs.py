"""`pipecopy jobs`: what is in the file, and what a run would make of it here."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_imports import packages_loaded
from tests.cli.test_result import seen
from tests.support.asked import answered
from tests.support.command import LONGEST, run, start
from tests.support.terminal import open_terminal, read_all, without_colours

FILE = """
[databases]
prod = "service=prod"
stats = "postgresql://me:${STATS_PASSWORD}@stats.internal/dwh"
[defaults]
call_timeout = "10s"
[jobs.nightly]
source = "prod"
target = "host=stats"
table = "public.profiles"
columns = ["id", "data"]
batch_size = "10k"
repair = true
[jobs.weekly]
extends = "nightly"
target = "stats"
target-table = "history"
full_copy_timeout = "1d"
[jobs.local]
extends = "nightly"
source = "postgresql://me:s3cret@prod.internal/app"
where = "password = 's3cret'"
"""

LOCAL = "postgresql://me:***@prod.internal/app"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of the test's own, on a host that has one service."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "services").write_text("[prod]\nhost=prod\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    return tmp_path


def write(text: str) -> None:
    Path("pipecopy.toml").write_text(text, encoding="utf-8")
    Path("pipecopy.toml").chmod(0o600)


def listed(*arguments: str) -> dict[str, Any]:
    return seen(answered("jobs", "--json", *arguments), "jobs")


def test_all_jobs_are_listed_and_what_is_wrong_with_them_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(FILE)
    shown = run("jobs")
    assert (shown.returncode, shown.stderr) == (2, "")
    assert [re.split("  +", line.strip()) for line in shown.stdout.splitlines()] == [
        ["pipecopy.toml"],
        ["job", "source", "target", "table", "extends"],
        ["ok", "nightly", "prod", "host=stats", "public.profiles", "-"],
        ["problem", "weekly", "prod", "stats", "public.profiles -> history", "nightly"],
        ["ok", "local", LOCAL, "host=stats", "public.profiles", "nightly"],
        ["problem pipecopy.toml: databases.stats: the variable STATS_PASSWORD is not set"],
        ["Can't run here: weekly."],
    ]
    whole = listed()
    jobs = {job["name"]: job for job in whole["jobs"]}
    assert (whole["outcome"], whole["exit_code"], whole["error"]) == ("complete", 2, None)
    assert (whole["file"], whole["problems"]) == ("pipecopy.toml", [])
    assert [bool(job["problems"]) for job in jobs.values()] == [False, True, False]
    assert (jobs["weekly"]["extends"], jobs["weekly"]["target_table"]) == ("nightly", "history")
    monkeypatch.setenv("STATS_PASSWORD", "s3cret")
    assert answered("jobs").stdout.splitlines()[-1] == "Every job can run."
    assert listed()["exit_code"] == 0


def test_a_job_is_shown_with_its_options_and_where_each_comes_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(FILE)
    monkeypatch.setenv("STATS_PASSWORD", "s3cret")
    monkeypatch.setenv("PIPECOPY_MAX_RETRIES", "5")
    shown = answered("jobs", "weekly")
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = [re.split("  +", line) for line in shown.stdout.splitlines()[2:-1]]
    assert {
        ("source", "prod", "[jobs.nightly]"),
        ("target", "stats", "[jobs.weekly]"),
        ("columns", "id, data", "[jobs.nightly]"),
        ("batch_size", "10k", "[jobs.nightly]"),
        ("max_retries", "5", "PIPECOPY_MAX_RETRIES"),
        ("call_timeout", "10s", "[defaults]"),
        ("full_copy_timeout", "1d", "[jobs.weekly]"),
        ("max_batch_bytes", "64MiB", "built in"),
        ("repair", "true", "[jobs.nightly]"),
    } <= {*map(tuple, lines)}
    (job,) = listed("weekly")["jobs"]
    assert job["options"]["full_copy_timeout"] == {"value": 86_400.0, "from": "[jobs.weekly]"}
    assert job["options"]["columns"] == {"value": ["id", "data"], "from": "[jobs.nightly]"}
    assert job["options"]["key"] == {"value": "id", "from": None}


@pytest.mark.parametrize("arguments", [["local"], ["local", "--json"], []])
def test_no_password_is_shown(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    write(FILE)
    monkeypatch.setenv("STATS_PASSWORD", "s3cret")
    shown = answered("jobs", *arguments)
    assert "local" in shown.stdout
    assert "s3cret" not in shown.stdout + shown.stderr


def test_what_stops_every_job_is_said_as_such() -> None:
    write(f"{FILE}\n[jobs.bad]\nextends = 'wekly'\nbatch_size = 0\n[nonsense]")
    lines = answered("jobs", "nightly").stdout.splitlines()
    assert lines[-1] == "No job of this file can run until it is fixed."
    whole = listed()
    said = [one.removeprefix("pipecopy.toml: ") for one in whole["problems"]]
    assert said == [
        "[nonsense] is not one of the sections [databases], [defaults], [engine], [jobs]",
        "jobs.bad.batch_size must be at least 1, not 0",
        'jobs.bad.extends: there is no job "wekly" (did you mean weekly?)',
    ]
    of_bad = [f"pipecopy.toml: {one}" for one in said[1:]]
    assert [job["problems"] for job in whole["jobs"] if job["name"] == "bad"] == [of_bad]
    assert f"problem {of_bad[0]}" in lines


def test_a_conflict_of_options_and_a_database_that_is_not_known_here() -> None:
    write(
        """
        defaults = {resume = true, source = "service=nowhere", target = "host=b"}
        jobs.part = {where = "true", source = "host=a"}
        jobs.whole = {delete_surplus = true}
        """
    )
    part, whole = listed()["jobs"]
    assert part["problems"][0].startswith("--resume does not go with --where")
    assert whole["problems"] == [
        'pipecopy.toml: defaults.source: libpq\'s pg_service.conf has no service "nowhere"'
    ]


@pytest.mark.parametrize("text", [None, "[databases]\na = 'host=a'"])
def test_without_jobs_it_says_where_it_looked(text: str | None) -> None:
    if text is not None:
        write(text)
    shown = answered("jobs")
    assert (shown.returncode, shown.stderr) == (0, "")
    if text is None:
        assert shown.stdout.startswith(
            "no jobs: there is no pipecopy.toml in the working directory"
        )
    else:
        assert shown.stdout == "pipecopy.toml\nIt has no jobs.\n"
    named = answered("jobs", "nightly")
    assert (named.returncode, named.stdout) == (2, "")
    assert 'no job "nightly"' in named.stderr


def test_a_file_that_is_named_and_one_that_is_not_valid() -> None:
    write("[nonsense")
    Path("other.toml").write_text(FILE)
    assert len(listed("--config", "other.toml")["jobs"]) == 3
    assert run("jobs").stderr.startswith("error: pipecopy.toml is not valid TOML")


def test_it_is_drawn_for_a_terminal() -> None:
    write(FILE)
    screen, terminal = open_terminal(70)
    with start(["jobs"], by=("env", "TERM=xterm", "LC_ALL=C.UTF-8"), stdout=terminal) as process:
        os.close(terminal)
        raw = read_all(screen)
        assert process.wait(LONGEST) == 2
    shown = without_colours(raw)
    assert raw != shown
    assert "✓  nightly" in shown
    assert max(len(line) for line in shown.splitlines() if "databases" not in line) <= 70


def test_it_can_be_stopped(folder: Path) -> None:
    write("[jobs.one]\nsource = 'host=a'\ntarget = 'service=b'\n")
    services = folder / "services"
    services.unlink()
    os.mkfifo(services)
    process = start(["jobs"])
    with services.open("wb"):  # it waits for the services now
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=LONGEST)
    assert (process.returncode, out) == (143, "")


def test_json_needs_no_rich_and_nothing_needs_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    write(FILE.replace("service=prod", "host=prod"))
    monkeypatch.setenv("STATS_PASSWORD", "s3cret")
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    shown = run("jobs", "--json")
    assert json.loads(shown.stdout)["jobs"]
    assert not packages_loaded(shown.stderr) & {"psycopg", "rich", "pebble"}
