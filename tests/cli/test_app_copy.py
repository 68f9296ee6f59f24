"""`pipecopy copy` between two servers."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.support.command import run, start, unstamped
from tests.support.databases import TemporaryDatabase
from tests.support.profiles import assert_equal_tables, create_profiles
from tests.support.servers import PASSWORD_USER, PostgresServer

NOWHERE = "host=127.0.0.1 port=1 user=postgres dbname=postgres"
QUICK = ("--call-timeout", "10s", "--full-copy-timeout", "30s", "--batch-size", "300")


def test_a_copy_ends_with_a_summary(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 1000)
    create_profiles(target_db)
    result = run("copy", source_db.uri, target_db.uri, *QUICK)
    assert (result.returncode, result.stdout) == (0, "")
    *_, last = unstamped(result.stderr)
    done = "complete: 1,000 rows: 1,000 inserted, 0 updated, 0 unchanged; 4 batches, "
    assert last.startswith(done)
    assert_equal_tables(source_db, target_db)


def test_with_json_the_report_is_all_of_standard_output(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 1000)
    create_profiles(target_db)
    result = run("copy", source_db.uri, target_db.uri, *QUICK, "--json", "--quiet")
    report = json.loads(result.stdout)
    assert (result.returncode, result.stderr) == (0, "")
    assert (report["outcome"], report["rows"], report["next_id"]) == ("complete", 1000, 1001)
    assert report["error"] is None


def test_batches_by_time_end_with_the_size_that_came_of_it(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 1000)
    create_profiles(target_db)
    result = run("copy", source_db.uri, target_db.uri, *QUICK, "--batch-time", "5s", "--json")
    report = json.loads(result.stdout)
    assert (result.returncode, report["rows"], report["warnings"]) == (0, 1000, [])
    assert report["batch_size"] > 300
    assert f"(adapted to {report['batch_size']:,} rows)" in result.stderr
    assert_equal_tables(source_db, target_db)


def test_an_unreachable_source_is_one_error_line_and_3(target_db: TemporaryDatabase) -> None:
    create_profiles(target_db)
    result = run("copy", NOWHERE, target_db.uri, *QUICK, "--quiet", "--json")
    report = json.loads(result.stdout)
    assert result.returncode == 3
    error_lines = [line for line in unstamped(result.stderr) if line.startswith("failed: ")]
    assert len(error_lines) == 1
    assert "source" in error_lines[0]
    assert "Traceback" not in result.stderr
    assert (report["outcome"], report["error"]["side"]) == ("failed", "source")
    assert (report["error"]["call"], report["exit_code"]) == ("connect", 3)


def test_an_unreachable_target_is_4(source_db: TemporaryDatabase) -> None:
    create_profiles(source_db)
    result = run("copy", source_db.uri, NOWHERE, *QUICK)
    assert result.returncode == 4
    assert "target" in result.stderr.splitlines()[-2]


def test_tables_that_do_not_fit_are_5(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 1)
    target_db.execute("CREATE TABLE profiles (id bigint PRIMARY KEY)")
    result = run("copy", source_db.uri, target_db.uri, *QUICK)
    assert result.returncode == 5
    assert "data" in result.stderr
    assert target_db.value("SELECT count(*) FROM profiles") == 0


def test_a_call_that_times_out_on_all_attempts_is_75(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 10)
    create_profiles(target_db)
    with source_db.connect() as other, other.transaction():
        other.execute("LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE")
        limits = ("--call-timeout", "500ms", "--max-retries", "1", "--retries-delay", "10ms")
        result = run("copy", source_db.uri, target_db.uri, *limits)
    assert result.returncode == 75
    assert unstamped(result.stderr)[-2].startswith("failed: ")


def test_the_full_copy_timeout_is_124(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 10)
    create_profiles(target_db)
    with source_db.connect() as other, other.transaction():
        other.execute("LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE")
        limits = ("--call-timeout", "30s", "--full-copy-timeout", "1s")
        result = run("copy", source_db.uri, target_db.uri, *limits, "--json")
    assert result.returncode == 124
    assert json.loads(result.stdout)["error"]["class"] == "FullCopyTimeoutError"
    *_, said, go_on = result.stderr.splitlines()
    assert re.search(r", which had run for \d+ ms of its 30 s(; nothing was copied)?$", said), said
    assert "stuck" not in result.stderr  # it was far from its own limit
    again = "run it again with a longer --full-copy-timeout: it is safe"
    page = "of profiles, exit code 124: see `pipecopy guide exit-codes`"
    assert go_on.startswith(f"to go on: {again}; run ")
    assert go_on.endswith(page)


def test_another_table_and_key(source_db: TemporaryDatabase, target_db: TemporaryDatabase) -> None:
    for database in (source_db, target_db):
        database.execute("CREATE SCHEMA shop")
        database.execute('CREATE TABLE shop."Orders" (number bigint PRIMARY KEY, item text)')
    source_db.execute("INSERT INTO shop.\"Orders\" SELECT i, 'x' FROM generate_series(1, 10) i")
    named = ("--table", 'shop."Orders"', "--key", "number")
    result = run("copy", source_db.uri, target_db.uri, *QUICK, *named)
    assert result.returncode == 0, result.stderr
    assert_equal_tables(source_db, target_db, table='shop."Orders"', key="number")


def test_chosen_rows_and_columns_into_a_new_table(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    source_db.execute(
        'CREATE TABLE people (id bigint PRIMARY KEY, "a, b" text, secret text);'
        "INSERT INTO people SELECT i, 'row ' || i, 'x' FROM generate_series(1, 100) i"
    )
    rows = ("--where", "id % 2 = 0", "--from-id", "10", "--to-id", "20")
    for table, *columns in (("few", "--columns", 'id,"a, b"'), ("rest", "--exclude", "secret")):
        named = ("--table", "people", "--target-table", table, "--create", *columns)
        result = run("copy", source_db.uri, target_db.uri, *QUICK, *named, *rows)
        assert result.returncode == 0, result.stderr
        found = target_db.query(f"SELECT to_jsonb({table}) FROM {table} ORDER BY id")
        copied = [{"id": i, "a, b": f"row {i}"} for i in range(10, 21, 2)]
        assert [row[0] for row in found] == copied


def test_a_copy_is_resumed(source_db: TemporaryDatabase, target_db: TemporaryDatabase) -> None:
    create_profiles(source_db, 1000)
    create_profiles(target_db)
    first = run("copy", source_db.uri, target_db.uri, *QUICK, "--to-id", "600")
    assert first.returncode == 0, first.stderr
    result = run("copy", source_db.uri, target_db.uri, *QUICK, "--resume", "--json")
    report = json.loads(result.stdout)
    assert (result.returncode, report["first_id"], report["rows"]) == (0, 600, 401)
    assert "resumed at id 600" in result.stderr
    assert_equal_tables(source_db, target_db)


def test_settle_waits_for_open_transactions_and_says_for_whom(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 9)
    create_profiles(target_db)
    with source_db.connect() as late:
        late.execute("BEGIN")
        late.execute("INSERT INTO profiles (data) VALUES ('1')")
        source_db.execute("INSERT INTO profiles (data) VALUES ('1')")
        with start(["copy", source_db.uri, target_db.uri, *QUICK, "--settle", "20s"]) as command:
            assert command.stderr is not None
            pid = late.info.backend_pid
            waiting = f": waiting up to 20 s for the end of 1 transaction (server session {pid} ("
            assert any(waiting in line for line in command.stderr)
            late.execute("COMMIT")
            rest = command.stderr.read()
    assert command.returncode == 0
    assert "resumed after " in rest
    assert "warning" not in rest
    assert_equal_tables(source_db, target_db)


def test_a_password_on_the_command_line_is_warned_of_and_not_shown(
    pg16: PostgresServer, target_db: TemporaryDatabase
) -> None:
    source = pg16.uri(user=PASSWORD_USER, password="wr0ng-one")  # noqa: S106 - it is wrong
    result = run("copy", source, target_db.uri, *QUICK, "--json", "--traceback")
    assert result.returncode == 3
    assert "the password in SOURCE is visible" in result.stderr
    assert "wr0ng-one" not in result.stderr + result.stdout


def test_tracebacks_are_shown_when_asked_for(target_db: TemporaryDatabase) -> None:
    create_profiles(target_db)
    result = run("copy", NOWHERE, target_db.uri, *QUICK, "--traceback")
    assert result.returncode == 3
    assert "Traceback" in result.stderr
    assert unstamped(result.stderr)[-2].startswith("failed: ")


def test_a_pause_file_pauses_it_and_the_lines_say_so(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, tmp_path: Path
) -> None:
    create_profiles(source_db, 9)
    create_profiles(target_db)
    (file := tmp_path / "pause").touch()
    sparing = ["--pause-file", str(file), "--max-rate", "20MB", "--max-lag", "1m"]
    sparing += ["--max-load", "100", "--json"]
    with start(["copy", source_db.uri, target_db.uri, *QUICK, *sparing]) as command:
        assert command.stderr is not None
        assert any(f" paused: the file {file} exists" in line for line in command.stderr)
        file.unlink()
        out, rest = command.communicate()
    assert command.returncode == 0
    assert re.search(r" resumed after \d+(\.\d+)? m?s$", rest, re.MULTILINE)
    assert json.loads(out)["paused"] > 0
    assert_equal_tables(source_db, target_db)
