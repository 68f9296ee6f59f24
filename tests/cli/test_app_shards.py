"""`pipecopy copy --shards`, `plan` and `runs` between two servers."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import time

import pytest

from tests.support.asked import told
from tests.support.command import LONGEST, run, start, unstamped
from tests.support.databases import TemporaryDatabase
from tests.support.profiles import assert_equal_tables, create_profiles

QUICK = ("--call-timeout", "10s", "--full-copy-timeout", "30s", "--batch-size", "20")
HOST = os.uname().nodename
LEDGER = "SELECT to_regclass('pipecopy_shards')"


def test_a_copy_in_shards_that_fails_is_gone_on_with_by_its_last_line(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 100)
    create_profiles(target_db)
    target_db.execute("ALTER TABLE profiles ADD CONSTRAINT below_70 CHECK (id < 70)")
    sides = (source_db.uri, target_db.uri)
    failed = run("copy", *sides, *QUICK, "--shards", "5", "--from-id=1", "--jobs", "2", "--json")
    report = json.loads(failed.stdout)
    assert failed.returncode == report["exit_code"] == 4
    assert (report["shards"], report["tables"][0]["shards"]) == (5, 5)
    last = failed.stderr.splitlines()[-1]
    given = " ".join((*sides, "--jobs", "2", *QUICK, "--json"))
    again = f"pipecopy copy {given} --run {report['run_id']}"
    drop = f"pipecopy runs {' '.join(sides)} --drop {report['run_id']}"
    assert last.startswith(
        f"to go on: fix what the error names, and run `{again}`: it is safe; to leave out a row or"
        f" a column, drop the run first, `{drop}`, and begin a new one; run {report['run_id']}"
    )
    target_db.execute("ALTER TABLE profiles DROP CONSTRAINT below_70")
    done = run(*shlex.split(again)[1:])
    assert done.returncode == 0, done.stderr
    assert_equal_tables(source_db, target_db)
    assert target_db.value(LEDGER) is None


@pytest.mark.parametrize("signals", [1, 2])
def test_a_signal_after_the_first_shard_still_stops_the_run(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, signals: int
) -> None:
    create_profiles(source_db, 100)
    create_profiles(target_db)
    sides = (source_db.uri, target_db.uri)
    with target_db.connect() as holder:
        # a shard waits for each, and those after them for these two
        holder.execute("BEGIN; INSERT INTO profiles (id) VALUES (30), (70)")
        with start(["copy", *sides, *QUICK, "--shards", "5", "--jobs", "2", "-v"]) as process:
            assert process.stderr is not None
            lines = iter(process.stderr.readline, "")
            assert any(": done: " in line for line in lines)  # the end of a shard
            if signals == 1:
                under_way = run("runs", *sides).stdout.splitlines()[1:3]
                assert (under_way[0].split()[2], under_way[1]) == ("running", f"  on {HOST}")
            process.send_signal(signal.SIGINT)
            assert any("SIGINT: finishing " in line for line in lines)
            if signals == 1:
                holder.rollback()
            else:
                time.sleep(0.6)  # what comes sooner is the same request
                process.send_signal(signal.SIGINT)
            *_, last, go_on = lines
            assert process.wait(LONGEST) == 130
    assert "stopped by SIGINT" in last
    assert re.match(r"to go on: run `pipecopy copy .* --run \w{12}`: it is safe; ", go_on)


def test_shards_are_planned_copied_one_by_one_and_gone_on_with(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 100)
    create_profiles(target_db)
    sides = (source_db.uri, target_db.uri)
    of_plan = ("--ledger", "public.shards", "--batch-size", "20")
    planned = run("plan", *sides, *of_plan, "--shards", "4", "--from-id", "2")
    assert (planned.returncode, planned.stderr) == (0, "")
    head, _, *table = planned.stdout.splitlines()
    run_id = head.split()[1].strip(":")
    assert head == f"run {run_id}: 4 shards of public.profiles, about 99 rows"
    assert [line.split() for line in table[:2]] == [
        ["shard", "table", "first", "last", "about", "rows"],
        ["0", "public.profiles", "2", "26", "25"],
    ]
    given = f"{' '.join((*sides, *of_plan))}"
    goes_on = f"pipecopy copy {given} --run {run_id}"
    runs = f"pipecopy runs {' '.join(sides)} --ledger public.shards"
    assert [line.partition(":  ")[2].strip() for line in table[-4:]] == [
        goes_on,
        f"{goes_on} --shard N",
        runs,
        f"{runs} --drop {run_id}",
    ]
    one = [*shlex.split(goes_on)[1:], "--shard", "2"]
    for copies, said in (
        (run, "complete: shard 2: 24 rows: "),
        (told, "complete: shard 2 was done already: 24 rows"),
    ):
        copied = copies(*one)
        assert copied.returncode == 0, copied.stderr
        assert unstamped(copied.stderr)[-1].startswith(said)
    lines = [json.loads(line) for line in told(*one, "--log-format", "json").stderr.splitlines()]
    assert "run_ended" in {line["event"] for line in lines}
    assert {(line["shard"], line["host"]) for line in lines} == {(2, HOST)}
    missing = told(*one[:-1], "9").stderr.splitlines()
    assert missing[-1] == f"to go on: fix that; `{runs}` lists the runs that there are"
    listed = json.loads(told(*shlex.split(runs)[1:], "--json").stdout)["runs"]
    assert [
        {name: one[name] for name in ("run", "tables", "state", "shards", "done", "rows")}
        for one in listed
    ] == [
        {
            "run": run_id,
            "tables": ["public.profiles"],
            "state": "waiting",
            "shards": 4,
            "done": 1,
            "rows": 24,
        }
    ]
    for rests, code in (("0 s", 75), ("1 day", 4)):  # nobody will go on with it, it seems
        target_db.execute(f"UPDATE shards SET updated = now() - interval '{rests}'")
        wait = ["--wait"] if code == 4 else []  # for what does not end
        other = told("copy", *sides, *of_plan, *wait, "--shards", "2")
        assert other.returncode == code
        again = shlex.join(["pipecopy", "copy", *sides, *of_plan, *wait, "--run", run_id])
        both = f"`{again}` goes on with that run, `{runs} --drop {run_id}` drops it; "
        assert both in other.stderr.splitlines()[-1]
    done = run(*shlex.split(goes_on)[1:], "--jobs", "2", "--json")
    report = json.loads(done.stdout)
    assert (report["shards"], report["done"], report["rows"]) == (4, 4, 99)
    assert told(*shlex.split(runs)[1:]).stdout.startswith("no runs: ")


def test_a_check_ends_as_the_copy_in_shards_would_also_when_a_run_was_dropped(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 10)
    target_db.execute("CREATE TABLE profiles (id bigint NOT NULL, data jsonb)")
    target_db.execute(
        "DO $$BEGIN IF to_regrole('no_ledger') IS NULL THEN CREATE ROLE no_ledger LOGIN; END IF;"
        " EXECUTE format('GRANT TEMP ON DATABASE %I TO no_ledger', current_database()); END$$;"
        " GRANT ALL ON profiles TO no_ledger; REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    )
    sides = (source_db.uri, target_db.uri.replace("postgres@", "no_ledger@"))
    check, copy = (told(command, *sides, "--shards", "2") for command in ("check", "copy"))
    assert check.returncode == copy.returncode == 5
    (ledger,) = re.findall(r"-> (CREATE TABLE public.pipecopy_shards .*;)", check.stdout)
    assert ledger in copy.stderr
    (index,) = re.findall(r"-> (CREATE UNIQUE INDEX CONCURRENTLY .*;)", check.stdout)
    target_db.execute(ledger)  # what a DBA is given to run
    target_db.execute(index)
    run_id = json.loads(told("plan", *sides, "--shards", "2", "--json").stdout)["run_id"]
    check, copy = (told(command, *sides, "--shards", "2") for command in ("check", "copy"))
    assert check.returncode == copy.returncode == 75
    dropped = told("runs", *sides, "--drop", run_id)
    assert dropped.stdout == (
        f"dropped: run {run_id} of public.profiles, with 0 of 2 shards done; 0 rows stay in the"
        " target\n"
    )
    assert told("check", *sides, "--shards", "2").returncode == 0
    again = told("runs", *sides, "--drop", run_id)
    assert again.returncode == 2
    assert f"has no run {run_id}" in again.stderr
    go_on = f"to go on: fix that; `pipecopy runs {' '.join(sides)}` lists the runs that there are\n"
    assert again.stderr.endswith(go_on)
