"""`pipecopy verify`, as a user runs it."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from tests.support.command import LONGEST, run, start, unstamped
from tests.support.databases import TemporaryDatabase
from tests.support.gates import load_gate
from tests.support.pages import text_of
from tests.support.profiles import assert_equal_tables, create_profiles

GO_ON = "to go on: fix that; `pipecopy verify --help` explains each option"
QUICK = ("--call-timeout", "10s", "--full-copy-timeout", "30s", "--batch-size", "300")
REPAIR = "run again with --repair, which copies {} again (missing or differing) and deletes nothing"
SURPLUS = (
    "1 row only in the target may be history that is kept there on purpose, deleted on the source,"
    " or of another source: --repair --delete-surplus deletes what is only in the target"
)
DAMAGE = """
    DELETE FROM profiles WHERE id BETWEEN 5 AND 9 OR id = 12;
    UPDATE profiles SET data = NULL WHERE id = 700;
    INSERT INTO profiles VALUES (1001, '{}')
"""


def _damaged(source: TemporaryDatabase, target: TemporaryDatabase) -> None:
    create_profiles(source, 1000)
    create_profiles(target, 1000)
    target.execute(DAMAGE)


def test_equal_tables_are_0(source_db: TemporaryDatabase, target_db: TemporaryDatabase) -> None:
    create_profiles(source_db, 1000)
    create_profiles(target_db, 1000)
    result = run("verify", source_db.uri, target_db.uri, *QUICK)
    assert (result.returncode, result.stdout) == (0, "")
    lines = unstamped(result.stderr)
    assert lines[-1] == "complete: the tables are equal"
    assert lines[-2].startswith("1,000 rows compared in ")


def test_tables_that_differ_are_5_and_0_once_they_are_repaired(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, tmp_path: Path
) -> None:
    _damaged(source_db, target_db)
    arguments = ("verify", source_db.uri, target_db.uri, *QUICK)
    result = run(*arguments, "--report", str(tmp_path / "a.html"))
    assert (result.returncode, result.stdout) == (5, "")
    assert unstamped(result.stderr)[-4:] == [
        "6 ids missing in the target: 5-9, 12",
        "1 id only in the target: 1001",
        "1 id differing: 700",
        f"complete: the tables differ in 8 ids: {REPAIR.format('7 rows')}; {SURPLUS}",
    ]
    assert result.stderr.count("missing in the target") == 1  # not as it was found, too
    said = text_of(tmp_path / "a.html")
    assert f" The tables differ verify profiles {source_db.uri} → {target_db.uri} " in said
    assert f"the tables differ in 8 ids: {REPAIR.format('7 rows')}; {SURPLUS}" in said
    assert " missing in the target 6 5-9, 12 only in the target 1 1001 differing 1 700 " in said
    assert " 1,000 rows of the source were compared with the target in " in said
    repaired = run(*arguments, "--repair", "--report", str(tmp_path / "a.html"))
    assert repaired.returncode == 5
    assert unstamped(repaired.stderr)[-2:] == [
        "7 ids repaired",
        f"complete: the tables differ in 1 id: {SURPLUS}",
    ]
    removed = run(*arguments, "--repair", "--delete-surplus")
    assert removed.returncode == 0
    assert unstamped(removed.stderr)[-2:] == [
        "1 id removed from the target",
        "complete: the tables are equal",
    ]
    assert_equal_tables(source_db, target_db)


def test_what_was_done_already_is_not_advised_again(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 10)
    target_db.execute("CREATE TABLE profiles (id bigint UNIQUE, data jsonb)")
    target_db.execute("INSERT INTO profiles VALUES (NULL, '{}'), (-3, '{}'), (90, '{}')")
    options = ("--repair", "--delete-surplus")
    result = run("verify", source_db.uri, target_db.uri, *QUICK, *options)
    assert result.returncode == 5
    assert unstamped(result.stderr)[-1] == (
        "complete: the tables differ in 2 ids: remove 2 rows with a NULL or negative id yourself"
    )


def test_quiet_says_but_one_line_of_tables_that_differ(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    for database in (source_db, target_db):
        create_profiles(database, 10)
    arguments = ("verify", source_db.uri, target_db.uri, *QUICK, "--quiet")
    equal = run(*arguments)
    assert (equal.returncode, equal.stdout, equal.stderr) == (0, "", "")
    target_db.execute("UPDATE profiles SET data = NULL WHERE id = 3")
    differ = run(*arguments)
    assert (differ.returncode, differ.stdout) == (5, "")
    line = f"complete: the tables differ in 1 id: {REPAIR.format('1 row')}"
    assert unstamped(differ.stderr) == [line]


def test_with_json_the_report_is_all_of_standard_output(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    _damaged(source_db, target_db)
    result = run("verify", source_db.uri, target_db.uri, *QUICK, "--json", "--from-id", "8")
    report = json.loads(result.stdout)
    assert result.returncode == 5
    assert (report["outcome"], report["equal"], report["rows"]) == ("complete", False, 993)
    assert (report["missing_ids"], report["surplus_ids"]) == ([8, 9, 12], [1001])
    assert (report["differing"], report["differing_ids"]) == (1, [700])
    assert (report["first_id"], report["max_id"], report["next_id"]) == (8, 1001, 1002)
    assert report["error"] is None


def test_a_job_of_the_file_is_verified_as_it_is_copied(
    source_db: TemporaryDatabase,
    target_db: TemporaryDatabase,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    create_profiles(source_db, 20)
    target_db.execute("CREATE TABLE archive (id bigint PRIMARY KEY, data jsonb)")
    file = tmp_path_factory.mktemp("config") / "pipecopy.toml"
    file.write_text(
        f'[databases]\nprod = "{source_db.uri}"\nstats = "{target_db.uri}"\n'
        '[jobs.nightly]\nsource = "prod"\ntarget = "stats"\ntarget_table = "archive"\n'
        'where = "id % 2 = 0"\nresume = false\njobs = 2\n'
    )
    job = ("nightly", "--config", str(file))
    assert run("copy", *job).returncode == 0
    target_db.execute("DELETE FROM archive WHERE id = 4")
    result = run("verify", *job, "--json")
    assert result.returncode == 5
    assert json.loads(result.stdout)["jobs"] == 2
    assert "10 rows compared" in result.stderr
    assert "1 id missing in the target: 4" in result.stderr


def test_a_signal_in_a_call_stops_it_and_says_how_far_it_came(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    _damaged(source_db, target_db)
    with load_gate(source_db, 800) as gate:
        process = start(["verify", source_db.uri, target_db.uri, *QUICK, "--json", "--grace", "0"])
        try:
            gate.arrival()
            process.send_signal(signal.SIGTERM)
            sent = time.monotonic()
            out, err = process.communicate(timeout=LONGEST)
            assert time.monotonic() - sent < 3
        finally:
            process.kill()
    assert process.returncode == 143
    report = json.loads(out)
    assert (report["outcome"], report["equal"]) == ("stopped", False)
    assert report["missing_ids"] == [5, 6, 7, 8, 9, 12]
    assert unstamped(err)[-2].startswith(
        f"stopped by SIGTERM; every id below {report['next_id']} (of 1001) was compared: "
    )
    assert "6 ids missing in the target: 5-9, 12" in err


def test_an_unreachable_target_is_4(source_db: TemporaryDatabase) -> None:
    create_profiles(source_db)
    result = run("verify", source_db.uri, "host=127.0.0.1 port=1 dbname=x user=x", *QUICK)
    assert result.returncode == 4
    assert unstamped(result.stderr)[-2].startswith("failed: target ")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            "verify",
            "SOURCE and TARGET not given: verify takes a SOURCE and a TARGET, or names of jobs",
        ),
        ("verify host=a host=b --delete-surplus", "--delete-surplus needs --repair"),
        ("verify host=a host=b --from-id 9 --to-id 8", "--from-id 9 is above --to-id 8"),
    ],
)
def test_wrong_usage_is_an_error_and_2(arguments: str, line: str) -> None:
    result = run(*arguments.split())
    assert (result.returncode, result.stderr, result.stdout) == (2, f"error: {line}\n{GO_ON}\n", "")
