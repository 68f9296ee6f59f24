"""What speaks against a copy is named with its side, and what is said to help does help."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipecopy.cli.codes import check_code, exit_code
from pipecopy.contracts import Side
from pipecopy.errors import DatabaseError, PipecopyError, TableMismatchError
from pipecopy.events import CallStarted, Event
from pipecopy.postgres import PostgresPool
from pipecopy.report import CopyReport
from tests.support.databases import Both, temporary_database
from tests.support.gates import save_gate
from tests.support.profiles import create_profiles, hide_rows
from tests.support.runs import check, copy, only_problem, verify, warnings
from tests.support.servers import PASSWORD_USER, PostgresServer

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


@dataclass(frozen=True, kw_only=True)
class State:
    """Of both sides, of a hundred ids up to 40000 in the source; and how they are reached."""

    source: str = ""
    target: str = ""
    """SQL, with the names of the databases for {source} and {target}."""
    users: dict[str, str] = field(default_factory=dict)
    uris: dict[str, str] = field(default_factory=dict)
    """Instead of the database's own, which is {uri}."""
    how: dict[str, Any] = field(default_factory=dict)
    """The pool's arguments."""
    last: int | None = None
    said: str = ""
    """What the copy says besides the check's words: a pattern."""
    code: int = 5

    def made(self, both: Both) -> PostgresPool:
        """Bring it about."""
        names = {"source": both.source.name, "target": both.target.name}
        uris = {}
        for side, sql in (("source", self.source), ("target", self.target)):
            database = both[side]
            for name, value in names.items():
                sql = sql.replace(f"{{{name}}}", value)  # noqa: PLW2901 - step by step
            database.execute(sql or "SELECT")
            user = self.users.get(side, "postgres")
            uri = database.server.uri(database.name, user=user)
            uris[side] = self.uris.get(side, "{uri}").replace("{uri}", uri)
        return PostgresPool(uris, **self.how)


NONE = "DROP TABLE profiles;"
ROWS = "INSERT INTO profiles SELECT 400 * i FROM generate_series(1, 100) AS i;"
GRANTED = "GRANT ALL ON profiles TO checked; GRANT ALL ON SEQUENCE profiles_id_seq TO checked;"
READ_ONLY = "default_transaction_read_only"
TRIGGER = """
    CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER fires BEFORE INSERT ON profiles FOR EACH ROW EXECUTE FUNCTION f();
"""
REPLICA = "ALTER DATABASE {target} SET session_replication_role = replica;"
NO_DDL = """
    CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql
    AS 'BEGIN IF tg_tag <> ''DROP OWNED'' THEN RAISE EXCEPTION ''no DDL here''; END IF; END';
    CREATE EVENT TRIGGER {target} ON ddl_command_%s EXECUTE FUNCTION f()
"""
GENERATED = "ALTER TABLE profiles ADD g int GENERATED ALWAYS AS (1) STORED"
PLAIN = "ALTER TABLE profiles ADD g int"
MOOD = "CREATE TYPE mood AS ENUM ('sad'); ALTER TABLE profiles ADD m mood;"
MARK = "CREATE FUNCTION mark(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1';"
ON_TARGET = {"target": "checked"}
ON_SOURCE = {"source": "checked"}
CREATE = {"create": True}

HINDRANCES = {
    "read-only database": State(
        target=f"ALTER DATABASE {{target}} SET {READ_ONLY} = on", said="IN DATABASE .* = off;"
    ),
    "read-only role": State(
        target=f"{GRANTED} ALTER ROLE checked SET {READ_ONLY} = on",
        users=ON_TARGET,
        said='ALTER ROLE "checked" IN DATABASE',
    ),
    "read-only options": State(
        uris={"target": f"{{uri}}?options=-c%20{READ_ONLY}%3Don"}, said="out of PGOPTIONS"
    ),
    "read-only, to be created": State(
        target=f"{NONE} ALTER DATABASE {{target}} SET {READ_ONLY} = on", how=CREATE
    ),
    "no type": State(source=MOOD, target=NONE, how=CREATE, said=r"type public\.mood of.*exclude"),
    "no extension": State(
        # of the one extension that every server has
        source=f"{MOOD} ALTER EXTENSION plpgsql ADD TYPE mood",
        target=f"{NONE} DROP EXTENSION plpgsql",
        how=CREATE,
        said='CREATE EXTENSION "plpgsql" WITH SCHEMA "pg_catalog";',
    ),
    "no extension of a function": State(
        source=f"{MARK} ALTER EXTENSION plpgsql ADD FUNCTION mark(int);"
        "ALTER TABLE profiles ADD m int DEFAULT mark(1)",
        target=f"{NONE} DROP EXTENSION plpgsql",
        how=CREATE,
        said='CREATE EXTENSION "plpgsql" WITH SCHEMA "pg_catalog";',
    ),
    "no function of a default": State(
        source=f"{MARK} ALTER TABLE profiles ADD m int DEFAULT mark(1)",
        target=NONE,
        how=CREATE,
        said=r"public\.mark\(integer\) does not exist",
    ),
    "no function of a generated column": State(
        source=f"{MARK} ALTER TABLE profiles ADD a int,"
        " ADD m int GENERATED ALWAYS AS (mark(a)) STORED",
        target=NONE,
        how=CREATE,
        said=r"public\.mark\(integer\) does not exist",
    ),
    "no sequence of a default": State(
        source="CREATE SEQUENCE s; ALTER TABLE profiles ADD m int DEFAULT nextval('s')",
        target=NONE,
        how=CREATE,
    ),
    "no collation": State(
        source="CREATE COLLATION c (locale = 'C'); ALTER TABLE profiles ADD m text COLLATE c",
        target=NONE,
        how=CREATE,
    ),
    "no schema": State(
        how={**CREATE, "target_table": "shop.profiles"}, said='CREATE SCHEMA "shop";'
    ),
    "no schema in the path": State(
        target=f"{NONE} ALTER DATABASE {{target}} SET search_path = nowhere", how=CREATE
    ),
    "no right to create": State(
        target=f"{NONE} REVOKE TEMP ON DATABASE {{target}} FROM PUBLIC",
        users=ON_TARGET,
        how=CREATE,
        said="GRANT CREATE ON SCHEMA .*(\n.*)GRANT TEMP ON DATABASE",
    ),
    "event trigger, create": State(
        target=NONE + NO_DDL % "start", how=CREATE, said="EVENT TRIGGER .* DISABLE;"
    ),
    "event trigger, create, end": State(target=NONE + NO_DDL % "end", how=CREATE),
    "event trigger": State(target=ROWS + NO_DDL % "start", said="EVENT TRIGGER .* DISABLE;"),
    "event trigger, end": State(target=ROWS + NO_DDL % "end"),
    "smallint": State(
        target="ALTER TABLE profiles ALTER id TYPE smallint",
        said='ends at 32767, below the last id 40000.*ALTER COLUMN "id" TYPE bigint;',
    ),
    "domain over integer": State(
        source="INSERT INTO profiles VALUES (2147483648)",
        target="CREATE DOMAIN whole AS int; ALTER TABLE profiles ALTER id TYPE whole",
    ),
    "generated, plain": State(source=GENERATED, target=PLAIN, said=r"exclude=\['g'\]"),
    "plain, generated": State(source=PLAIN, target=GENERATED, said=r"exclude=\['g'\]"),
    "no target": State(target=NONE, said=r"or use `create`"),
    "no source": State(source=NONE, said="source source: table profiles does not exist"),
    "no partition": State(
        target=f"{NONE} CREATE TABLE profiles (id int PRIMARY KEY, data jsonb)"
        " PARTITION BY RANGE (id)"
    ),
    "view": State(target="ALTER TABLE profiles RENAME TO t; CREATE VIEW profiles AS TABLE t"),
    "rule": State(target="CREATE RULE r AS ON INSERT TO profiles DO INSTEAD NOTHING"),
    "types": State(target="ALTER TABLE profiles ALTER data TYPE inet USING NULL"),
    "negative": State(source="INSERT INTO profiles VALUES (-1)", said='where=."id" >= 0'),
    "no condition": State(how={"where": "nonsense"}),
    "no column": State(how={"columns": ["nope"]}),
    "row-level security, source": State(
        source=f"{GRANTED} ALTER TABLE profiles ENABLE ROW LEVEL SECURITY",
        users=ON_SOURCE,
        said="BYPASSRLS",
    ),
    "row-level security, target": State(
        target=f"{GRANTED} ALTER TABLE profiles ENABLE ROW LEVEL SECURITY", users=ON_TARGET
    ),
    "no right to read": State(users=ON_SOURCE, said="GRANT SELECT ON"),
    "no right to write": State(
        target="GRANT SELECT ON profiles TO checked", users=ON_TARGET, said="GRANT INSERT, UPDATE"
    ),
    "no right to temporary tables": State(
        target=f"{GRANTED} REVOKE TEMP ON DATABASE {{target}} FROM PUBLIC", users=ON_TARGET
    ),
    "no right to a type": State(
        source=MOOD,
        target=f"{MOOD} {GRANTED} REVOKE USAGE ON TYPE mood FROM PUBLIC",
        users=ON_TARGET,
        said="GRANT USAGE ON TYPE",
    ),
    "no right to connect": State(
        target="REVOKE CONNECT ON DATABASE {target} FROM PUBLIC",
        users=ON_TARGET,
        said='42501.*(\n.*)*GRANT CONNECT ON DATABASE ".*" TO "checked";',
        code=4,
    ),
    "nobody there": State(
        uris={"source": "host=127.0.0.1 port=1 user=postgres dbname=postgres"},
        said="start the server there, or fix its host and port",
        code=3,
    ),
    "no such host": State(
        uris={"source": "host=nowhere.invalid"}, said="have this machine resolve it", code=3
    ),
    "no such database": State(uris={"target": "{uri}x"}, said="3D000.*(\n.*)*name", code=4),
    "no such role": State(users={"source": "nobody"}, said="28000.*(\n.*)*LOGIN", code=3),
    "wrong password": State(
        users={"target": PASSWORD_USER},
        uris={"target": "{uri}?password=wr0ng"},
        said="28P01.*(\n.*)*~/.pgpass",
        code=4,
    ),
    "no password": State(users={"target": PASSWORD_USER}, said="~/.pgpass", code=4),
    "no connection left": State(
        target=f"{GRANTED} ALTER DATABASE {{target}} CONNECTION LIMIT 0",
        users=ON_TARGET,
        said="53300.*(\n.*)*wait until sessions there have ended",
        code=75,
    ),
    "no such option": State(uris={"target": "{uri}?options=-c%20nothing%3D1"}, code=4),
}
HARMLESS = {
    "read-only source": State(source=f"ALTER DATABASE {{source}} SET {READ_ONLY} = on"),
    "smallint, for a part": State(target="ALTER TABLE profiles ALTER id TYPE smallint", last=400),
    "event trigger, no rows": State(target=NO_DDL % "start", said="refuse the temporary table"),
    "replica": State(target=TRIGGER + REPLICA),
    "replica, a trigger that fires": State(
        target=f"{TRIGGER} ALTER TABLE profiles ENABLE REPLICA TRIGGER fires; {REPLICA}",
        said="triggers .* fire for the copied rows: fires",
    ),
    "replica, a trigger that always fires": State(
        target=f"{TRIGGER} ALTER TABLE profiles ENABLE ALWAYS TRIGGER fires; {REPLICA}",
        said="triggers .* fire for the copied rows: fires",
    ),
    "published": State(
        target="ALTER TABLE profiles DROP CONSTRAINT profiles_pkey; CREATE PUBLICATION p FOR TABLE"
        " profiles; CREATE UNIQUE INDEX ON profiles (id)",
        said="without a replica identity.*REPLICA IDENTITY USING INDEX",
    ),
    "locks are not seen, source": State(
        source=f"{GRANTED} REVOKE SELECT ON pg_locks FROM PUBLIC", users=ON_SOURCE
    ),
    "locks are not seen, target": State(
        target=f"{GRANTED} REVOKE SELECT ON pg_locks FROM PUBLIC", users=ON_TARGET
    ),
}


@pytest.fixture
def undone(tables: Both, role: str) -> Iterator[Both]:
    """Give the tables, and take away at the end what would be in the way of dropping them."""
    assert role == "checked"
    yield tables
    with tables.target.connect(options=f"-c {READ_ONLY}=off") as connection:
        for (name,) in connection.execute("SELECT evtname FROM pg_event_trigger").fetchall():
            connection.execute(f"ALTER EVENT TRIGGER {name} DISABLE")


@pytest.mark.parametrize("state", HINDRANCES.values(), ids=HINDRANCES)
def test_a_copy_meets_what_its_check_foretells_before_the_first_row(
    undone: Both, state: State
) -> None:
    pool = state.made(undone)
    report = check(pool, call_timeout=2)
    events: list[Event] = []
    with pytest.raises(PipecopyError) as raised:
        copy(pool, call_timeout=2, observer=events.append)
    error, said = raised.value, str(raised.value)
    assert (check_code(report), exit_code(error)) == (state.code, state.code), said
    assert re.search(state.said, said), said
    for item in report.problems:
        assert item.message.lower() in said.lower()
        assert (item.remedy or "").lower() in said.lower()
    assert isinstance(error.report, CopyReport)
    assert error.report.batches == 0
    calls = {event.where.call for event in events if isinstance(event, CallStarted)}
    assert not calls & {"load_rows", "load_batch", "save_rows"}


def test_a_missing_target_is_no_table_to_verify(undone: Both) -> None:
    pool = State(target=NONE).made(undone)
    (found,) = check(pool).problems
    with pytest.raises(TableMismatchError) as raised:
        verify(pool)
    assert exit_code(raised.value) == 5
    assert found.message in str(raised.value)
    assert "or use `copy_table()` with `create`" in str(raised.value)


@pytest.mark.parametrize("state", HARMLESS.values(), ids=HARMLESS)
def test_what_hinders_no_copy_is_no_problem(undone: Both, state: State) -> None:
    pool = state.made(undone)
    report = check(pool, to_id=state.last)
    assert check_code(report) == 0, report.problems
    copied = copy(pool, to_id=state.last)
    assert re.search(state.said, " ".join(copied.warnings))
    for item in warnings(report):
        if item.what != "locks":  # which are those of this moment
            assert any(item.message[1:] in warning for warning in copied.warnings), item
    assert copied.rows == (1 if state.last else 100)


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
    assert (key.what, key.remedy) == ("foreign keys", "copy public.users first")
    assert (sequence.what, report.can_start) == ("sequence", True)
    tables.target.execute(sequence.remedy or "")
    assert warnings(check(tables.pool(users={"target": role}))) == [key]


def test_another_copy_that_holds_the_target_is_named_and_75(tables: Both) -> None:
    with ThreadPoolExecutor() as executor, save_gate(tables.target, 20_000) as gate:
        other = executor.submit(copy, tables.pool())
        pid = gate.arrival()
        report = check(tables.pool())
        awaited = check(tables.pool(), wait=True)
        with pytest.raises(DatabaseError) as refused:
            copy(tables.pool(), call_timeout=1)
        gate.lift()
        run = other.result()
    problem = only_problem(report)
    assert (problem.side, problem.what, problem.cause) == ("target", "lock", "busy")
    host, started = os.uname().nodename, (run.started or "")[:19].replace("T", " ")
    assert f": pipecopy run {run.run_id} on host {host}, pid {os.getpid()}" in problem.message
    assert problem.message.endswith(f", since {started} UTC")
    assert f"SELECT pg_terminate_backend({pid});" in (problem.remedy or "")
    assert str(refused.value) == f"target target: {problem.message}; {problem.remedy}"
    assert check_code(report) == 75
    (warned,) = warnings(awaited)
    assert warned.message == f"{problem.message}; the copy would wait for its end"
    assert awaited.can_start
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
