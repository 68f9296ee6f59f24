"""`pipecopy copy --shards`, `plan` and `runs` between two servers."""

from __future__ import annotations

import json
import shlex
import signal

from tests.support.command import LONGEST, run, start
from tests.support.databases import TemporaryDatabase
from tests.support.profiles import assert_equal_tables, create_profiles

QUICK = ("--call-timeout", "10s", "--full-copy-timeout", "30s", "--batch-size", "20")
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
    again = f"pipecopy copy {' '.join((*sides, *QUICK))} --jobs 2 --json --run {report['run_id']}"
    assert last.startswith(
        f"to go on: fix what the error names, and run `{again}`: it is safe; run {report['run_id']}"
    )
    target_db.execute("ALTER TABLE profiles DROP CONSTRAINT below_70")
    done = run(*shlex.split(again)[1:])
    assert done.returncode == 0, done.stderr
    assert_equal_tables(source_db, target_db)
    assert target_db.value(LEDGER) is None


def test_a_signal_after_the_first_shard_still_stops_the_run(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 100)
    create_profiles(target_db)
    sides = (source_db.uri, target_db.uri)
    with target_db.connect() as holder:
        holder.execute("INSERT INTO profiles (id) VALUES (70)")  # a shard waits for this one
        with start(["copy", *sides, *QUICK, "--shards", "5", "--jobs", "2", "-v"]) as process:
            assert process.stderr is not None
            lines = iter(process.stderr.readline, "")
            assert any(": done: " in line for line in lines)  # the end of a shard
            process.send_signal(signal.SIGINT)
            assert any("SIGINT: finishing " in line for line in lines)
            holder.rollback()
            *_, last, _ = lines
            assert process.wait(LONGEST) == 130
    assert "stopped by SIGINT" in last
