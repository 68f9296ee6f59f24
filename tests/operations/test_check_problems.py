"""What speaks against a copy is named with its side, and what is said to help does help."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from pipecopy.cli.codes import check_code, exit_code
from pipecopy.contracts import Side
from pipecopy.errors import PipecopyError
from tests.support.databases import Both, temporary_database
from tests.support.gates import save_gate
from tests.support.profiles import create_profiles, hide_rows
from tests.support.runs import check, copy, only_problem, warnings
from tests.support.servers import PostgresServer

SIDES: tuple[Side, ...] = ("source", "target")


@pytest.fixture
def tables(both: Both) -> Both:
    """Give a table on each side, the source's with a hundred rows up to the id 40000."""
    create_profiles(both.source, 100, step=400)
    create_profiles(both.target)
    return both


def test_missing_rights_are_all_named_with_their_grants(both: Both, role: str) -> None:
    for side in SIDES:
        both[side].execute(
            "CREATE SCHEMA shop; CREATE TABLE shop.profiles (id bigint PRIMARY KEY, data jsonb);"
            f"REVOKE TEMP ON DATABASE {both[side].name} FROM PUBLIC"
        )
    pool = both.pool(users=dict.fromkeys(SIDES, role), table="shop.profiles")
    report = check(pool)
    assert check_code(report) == 5
    assert [(item.side, item.what, lacks(item.message)) for item in report.problems] == [
        ("source", "rights", "USAGE"),
        ("source", "rights", "SELECT"),
        ("target", "rights", "USAGE"),
        ("target", "rights", "SELECT, INSERT, UPDATE"),
        ("target", "rights", "TEMP"),
    ]
    for item in report.problems:
        assert item.side is not None
        both[item.side].execute(item.remedy or "")
    assert check(pool).can_start


def lacks(message: str) -> str:
    found = re.search("has no (.*) right", message)
    assert found, message
    return found[1]


@dataclass(frozen=True)
class Broken:
    side: Side
    sql: str
    message: str
    remedy: str


@pytest.mark.parametrize(
    "broken",
    [
        Broken("source", "DROP TABLE profiles", "no table profiles", "its name"),
        Broken("target", "DROP TABLE profiles", "no table profiles", r"\(`create`\)"),
        Broken("source", "INSERT INTO profiles VALUES (-1)", "negative", r'`where=."id" >= 0.`'),
        Broken(
            "source",
            "ALTER TABLE profiles ENABLE ROW LEVEL SECURITY; GRANT ALL ON profiles TO checked",
            "Row-level security",
            "BYPASSRLS",
        ),
        Broken(
            "target",
            "ALTER DATABASE {database} SET default_transaction_read_only = on",
            "read-only",
            "ALTER ROLE .* SET default_transaction_read_only = off;",
        ),
        Broken(
            "target",
            "ALTER TABLE profiles ALTER id TYPE smallint",
            "ends at 32767, below the last id 40000",
            "TYPE bigint;",
        ),
    ],
    ids=["no source", "no target", "negative", "RLS", "read-only", "narrow"],
)
def test_what_is_wrong_with_one_side_is_5(tables: Both, role: str, broken: Broken) -> None:
    database = tables[broken.side]
    database.execute(broken.sql.replace("{database}", database.name))
    report = check(tables.pool(users={"source": role} if "SECURITY" in broken.sql else {}))
    problem = only_problem(report)
    assert problem.side == broken.side
    assert re.search(broken.message, problem.message)
    assert re.search(broken.remedy, problem.remedy or "")
    assert check_code(report) == 5


def test_columns_that_do_not_fit_are_marked_and_named(both: Both) -> None:
    both.source.execute("CREATE TABLE profiles (id bigint PRIMARY KEY, a int, b text, c xml)")
    both.target.execute("CREATE TABLE profiles (id bigint PRIMARY KEY, a text, c inet, d int)")
    report = check(both.pool())
    assert [(column.name, column.mark) for column in report.columns] == [
        ("id", "ok"),
        ("a", "ok"),
        ("b", "problem"),
        ("c", "problem"),
        ("d", "problem"),
    ]
    assert {(item.side, item.cause) for item in report.problems} == {(None, "unfit")}
    for name in "bcd":
        assert any(f'column "{name}"' in item.message.lower() for item in report.problems)
    # b is only in the source, d only in the target: what leaves both out is ready to be pasted
    remedies = [item.remedy or "" for item in report.problems]
    assert ["(`exclude=['b', 'd']`)" in remedy for remedy in remedies] == [True, True, False]
    assert "(`exclude=['c']`)" in remedies[2]
    assert check_code(report) == 5
    report = check(both.pool(exclude=["b", "c", "d"]))
    assert [(column.name, column.mark) for column in report.columns] == [("id", "ok"), ("a", "ok")]
    assert report.can_start


def test_warnings_keep_no_copy_from_starting_and_can_be_got_rid_of(both: Both) -> None:
    both.source.execute("CREATE TABLE profiles (id bigint, data jsonb)")
    both.source.execute("INSERT INTO profiles VALUES (3000000000)")
    both.target.execute(
        "CREATE TABLE profiles (id bigint DEFAULT 0, data jsonb); CREATE SEQUENCE s AS integer;"
        "ALTER TABLE profiles ALTER id SET DEFAULT nextval('s');"
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER t AFTER INSERT ON profiles FOR EACH ROW EXECUTE FUNCTION f()"
    )
    report = check(both.pool())
    assert (report.can_start, check_code(report)) == (True, 0)
    found = warnings(report)
    assert [item.side for item in found] == ["source", "target", "target", "target"]
    for word in ("every batch reads the whole table", "ends at 2147483647", "fire", "unique index"):
        assert any(word in item.message for item in found), word
    for item in found:
        both[item.side or ""].execute(item.remedy or "")
    assert warnings(check(both.pool())) == []


def test_a_foreign_key_and_rights_to_the_sequence_are_warned_of(tables: Both, role: str) -> None:
    tables.target.execute(
        "CREATE TABLE users (id bigint PRIMARY KEY);"
        "ALTER TABLE profiles ADD FOREIGN KEY (id) REFERENCES users;"
        f"GRANT SELECT, INSERT, UPDATE ON profiles TO {role}"
    )
    report = check(tables.pool(users={"target": role}))
    key, sequence = warnings(report)
    assert (key.what, key.remedy) == ("foreign keys", "Copy public.users first.")
    assert (sequence.what, report.can_start) == ("sequence", True)
    tables.target.execute(sequence.remedy or "")
    assert warnings(check(tables.pool(users={"target": role}))) == [key]


def test_another_copy_that_holds_the_target_is_named_and_75(tables: Both) -> None:
    with ThreadPoolExecutor() as executor, save_gate(tables.target, 20_000) as gate:
        other = executor.submit(copy, tables.pool())
        pid = gate.arrival()
        report = check(tables.pool())
        gate.lift()
        run_id = other.result().run_id
    problem = only_problem(report)
    assert (problem.side, problem.what, problem.cause) == ("target", "lock", "busy")
    assert f"server session {pid} (postgres, pipecopy/{run_id}/target, " in problem.message
    assert str(pid) in (problem.remedy or "")
    assert check_code(report) == 75
    assert check(tables.pool()).can_start


def test_a_standby_takes_no_copy_but_gives_one(both: Both) -> None:
    with PostgresServer(18) as server, temporary_database(server) as database:
        create_profiles(database, 10)
        server.stop()
        (server.data / "standby.signal").touch()
        server.start()
        report = check(Both(source=database, target=database).pool(target_table="other"))
        create_profiles(both.target)
        assert check(Both(source=database, target=both.target).pool()).can_start
        (server.data / "standby.signal").unlink()
        server.restart()
    assert ("target", "standby") in [(item.side, item.what) for item in report.problems]
    assert any(item.message == "PostgreSQL 18.4, a standby" for item in report.items)


def test_rows_that_a_view_hides_are_foretold(tables: Both) -> None:
    hide_rows(tables.source)
    problem = only_problem(report := check(tables.pool()))
    assert (problem.side, "row-level security" in problem.message) == ("source", True)
    with pytest.raises(PipecopyError) as raised:
        copy(tables.pool())
    assert exit_code(raised.value) == check_code(report)
