"""Several tables in one command: by name, by pattern, and by jobs of pipecopy.toml."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.support.asked import answered, refused
from tests.support.command import run
from tests.support.databases import Both

QUICK = ("--call-timeout", "10s", "--full-copy-timeout", "50s")
TABLES = ("--tables", "public.*", "--exclude-table", "log_*")
FILE = """
[databases]
prod = "{source}"
stats = "{target}"
other = "host=/nowhere"
[defaults]
source = "prod"
target = "stats"
[jobs.orders]
table = "orders"
where = "id > 5"
batch_size = 7
[jobs.rest]
table = ["users", "log_a"]
create = true
[jobs.far]
target = "other"
[jobs.prod]
tables = "public.*"
[jobs.stats]
"""


def fill(both: Both) -> None:
    both.source.execute(
        "".join(
            f"CREATE TABLE {name} ({key} bigserial PRIMARY KEY, data text);"
            f" INSERT INTO {name} (data) SELECT 'x' FROM generate_series(1, {rows});"
            for name, key, rows in (("orders", "id", 40), ("users", "no", 10), ("log_a", "id", 3))
        )
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def file(folder: Path) -> None:
    (folder / "pipecopy.toml").write_text(FILE.format(source="host=a", target="host=b"))


def test_all_tables_of_a_pattern_are_checked_copied_gone_on_with_and_verified(both: Both) -> None:
    fill(both)
    sides = (both.source.uri, both.target.uri)
    missing = run("check", *sides, *QUICK, *TABLES)
    lines = missing.stdout.splitlines()
    assert lines[3:6] == [
        "  problem public.orders  about 40, 0.0 MB, in 1 batch",
        (
            "  problem table       target: table public.orders does not exist or is not visible to"
            " this role"
        ),
        "                      -> check the name, or use `--create`",
    ]
    assert (lines[-1], missing.returncode) == ("A copy can't start: 2 problems.", 5)
    both.target.execute(
        "CREATE TABLE orders (id bigint PRIMARY KEY, data text CONSTRAINT no CHECK (data <> 'x'))"
    )
    failed = run("copy", *sides, *QUICK, *TABLES, "--create", "--jobs", "2")
    assert failed.returncode == 4
    *_, orders, users, _, _, go_on = failed.stderr.splitlines()
    assert orders.endswith("public.orders: 0 rows, 0 of 1 shard")
    assert "public.users: " in users
    command = go_on.split("`")[1]
    assert " ".join(TABLES).replace("public.*", "'public.*'").replace("log_*", "'log_*'") in command
    both.target.execute("ALTER TABLE orders DROP CONSTRAINT no")
    both.source.execute("CREATE TABLE came_since (id int PRIMARY KEY)")
    done = run(*shlex.split(command)[1:], "--json")
    report = json.loads(done.stdout)
    assert [(each["table"], each["rows"], each["done"]) for each in report["tables"]] == [
        ("public.orders", 40, 1),
        ("public.users", 10, 1),
    ]
    both.source.execute("DROP TABLE came_since")
    both.target.execute("UPDATE users SET data = 'y' WHERE no = 3; DELETE FROM orders WHERE id = 9")
    differ = run("verify", *sides, *QUICK, *TABLES, "--json")
    report = json.loads(differ.stdout)
    assert (differ.returncode, report["equal"], report["rows"]) == (5, False, 50)
    assert [(each["missing_ids"], each["differing_ids"]) for each in report["tables"]] == [
        ([9], []),
        ([], [3]),
    ]
    assert report["cut_lists"] == ["missing_ids", "differing_ids"]
    repaired = run("verify", *sides, *QUICK, *TABLES, "--repair")
    assert repaired.returncode == 0, repaired.stderr
    assert repaired.stderr.endswith(" complete: 2 tables: each is equal on both sides\n")


def test_jobs_are_copied_in_one_run_each_with_its_own_options(both: Both, folder: Path) -> None:
    text = FILE.format(source=both.source.uri, target=both.target.uri)
    (folder / "pipecopy.toml").write_text(text)
    fill(both)
    both.target.execute("CREATE TABLE orders (id bigint PRIMARY KEY, data text)")
    copied = run("copy", "orders", "rest", *QUICK, "--jobs", "2", "--json")
    assert copied.returncode == 0, copied.stderr
    report = json.loads(copied.stdout)
    assert [(each["table"], each["rows"]) for each in report["tables"]] == [
        ("orders", 35),
        ("public.users", 10),
        ("public.log_a", 3),
    ]
    assert report["batches"] == 7
    planned = run("plan", "orders", "rest", "--shards", "4")
    assert planned.stdout.splitlines()[-4].endswith(
        f"pipecopy copy orders rest --run {planned.stdout.split()[1].strip(':')}"
    )
    run_id = planned.stdout.split()[1].strip(":")
    dropped = run("runs", "orders", "rest", "--drop", run_id)
    assert dropped.stdout.startswith(f"dropped: run {run_id} of public.")


JOBS = 'pipecopy.toml has no job "nowhere"; its jobs: orders, rest, far, prod, stats'


@pytest.mark.usefixtures("file")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "copy orders far",
            (
                "the jobs orders and far differ in their target, stats and other: one command"
                " copies from one source into one target; run each by itself"
            ),
        ),
        (
            "copy prod stats",
            (
                "prod and stats are names of jobs as well as of databases: give the databases as"
                " connection strings, such as service=prod, or the jobs other names"
            ),
        ),
        ("copy orders rest nowhere", f"{JOBS}; copy takes a SOURCE and a TARGET, or names of jobs"),
        ("copy orders orders", "the job orders is named twice"),
        ("copy orders rest --table x", "--table does not go with several jobs: each has its own"),
        (
            "copy orders stats --resume",
            (
                "job orders: --resume does not go with --where: rows it left out before would stay"
                " missing"
            ),
        ),
        (
            "copy rest --to-id 5",
            (
                "--to-id does not go with several tables: give each a job in pipecopy.toml, and the"
                " names of the jobs to one command"
            ),
        ),
        (
            "verify service=a service=b --table a --table b --where true --exclude x",
            (
                "--exclude and --where do not go with several tables: give each a job in"
                " pipecopy.toml, and the names of the jobs to one command"
            ),
        ),
        (
            "check orders --exclude-table log_*",
            "--exclude-table needs --tables: what it leaves out is left out of that",
        ),
    ],
)
def test_what_does_not_go_together_is_said(arguments: str, message: str) -> None:
    assert refused(*shlex.split(arguments)) == message


@pytest.mark.usefixtures("file")
def test_the_jobs_are_listed_with_their_tables() -> None:
    listed = [line.split()[1:5] for line in answered("jobs").stdout.splitlines()[2:7]]
    assert [line[3] for line in listed] == ["orders", "users,", "profiles", "public.*", "profiles"]
    one = json.loads(answered("jobs", "prod", "--json").stdout)["jobs"][0]
    assert (one["table"], one["options"]["tables"]["value"]) == (None, ["public.*"])
