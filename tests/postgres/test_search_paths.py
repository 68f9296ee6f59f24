"""pipecopy's own SQL means the same under any search path; what the user wrote keeps the role's.

Most runs here are on two databases in which every name of the server's own leads to an error if it
is not qualified: see `hostile`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from pipecopy import copy_shard, copy_sharded, drop_run, plan_sharded, runs_of
from pipecopy.errors import DatabaseError
from pipecopy.postgres import PostgresPool
from tests.postgres.hostile import SCHEMA, hostile_database, strayed
from tests.support.databases import TemporaryDatabase
from tests.support.profiles import create_profiles
from tests.support.runs import CONFIG, check, copy, found, split, verify
from tests.support.servers import PostgresServer

pytestmark = pytest.mark.server

COLUMNS = """
    id bigint {key}, small smallint, amount numeric(10,2), name varchar(20), code char(3),
    note text, doc jsonb, raw json, at timestamptz, tags text[], flag boolean, mood app.mood,
    twice bigint GENERATED ALWAYS AS (small * 2) STORED
"""
ROWS = """
    INSERT INTO app.profiles
    SELECT i, i % 7, i / 4.0, 'name ' || i, 'c' || i % 5, nullif('note ' || i, 'note 3'),
           jsonb_build_object('n', i), json_build_object('n', i),
           '2024-02-29'::timestamptz + i * '1h'::interval, ARRAY['a', NULL, 'b' || i],
           i % 2 = 0, 'sad'
    FROM generate_series(1, 60) AS i WHERE i NOT BETWEEN 20 AND 35
"""
ALL = "SELECT whole::text FROM app.profiles AS whole ORDER BY id"
KEYED = pytest.mark.parametrize("key", ["PRIMARY KEY", "NOT NULL"], ids=["upsert", "replace"])


@dataclass(frozen=True)
class Sides:
    """Both databases, with a fresh schema for the table."""

    source: TemporaryDatabase
    target: TemporaryDatabase

    def execute(self, sql: str) -> None:
        """Run the same on both sides."""
        self.source.execute(sql)
        self.target.execute(sql)

    def pool(self, *, path: str | None = None, **how: Any) -> PostgresPool:
        """Return a pool with the path into the traps, or with another one."""
        connections = {"source": strayed(self.source, path), "target": strayed(self.target, path)}
        return PostgresPool(connections, **how)


@pytest.fixture(scope="module")
def _hostile(pg16: PostgresServer, pg18: PostgresServer) -> Iterator[Sides]:
    with hostile_database(pg16) as source, hostile_database(pg18) as target:
        yield Sides(source, target)


@pytest.fixture
def sides(_hostile: Sides) -> Sides:
    _hostile.execute(
        f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA};"
        f"CREATE TYPE {SCHEMA}.mood AS ENUM ('sad')"
    )
    return _hostile


@KEYED
def test_a_copy_and_another_over_it(sides: Sides, key: str) -> None:
    sides.execute(f"CREATE TABLE app.profiles ({COLUMNS.format(key=key)})")
    sides.source.execute(ROWS)
    parts, warnings = split(sides.pool(), 4)
    assert ([part.rows for part in parts], warnings) == ([11] * 4, ())
    assert copy(sides.pool(), batch_size=7).rows == 44
    assert sides.target.query(ALL) == sides.source.query(ALL)
    assert found(verify(sides.pool(), batch_size=7)) == ((), (), ())
    sides.source.execute("UPDATE app.profiles SET note = 'anew' WHERE id % 5 = 0")
    sides.target.execute("DELETE FROM app.profiles WHERE id > 50")
    versions = "SELECT id, xmin::text FROM app.profiles WHERE id % 5 <> 0 AND id <= 50"
    before = sides.target.query(versions)
    assert copy(sides.pool(), batch_size=7).rows == 44
    assert sides.target.query(ALL) == sides.source.query(ALL)
    assert sides.target.query(versions) == before


def test_a_copy_in_shards(sides: Sides) -> None:
    sides.execute(f"CREATE TABLE app.profiles ({COLUMNS.format(key='PRIMARY KEY')})")
    sides.source.execute(ROWS)
    pool, config = sides.pool(), replace(CONFIG, batch_size=7)
    run = plan_sharded(config, pool, "source", "target", shards=3).run_id
    drop_run(config, pool, "source", "target", run=run)
    run = plan_sharded(config, pool, "source", "target", shards=3).run_id
    with pytest.raises(DatabaseError, match=f"the sharded run {run} of"):
        plan_sharded(config, pool, "source", "target", shards=3)
    # an earlier attempt, the sessions of which would be ended
    sides.target.execute("UPDATE public.pipecopy_shards SET attempt = 1, state = 'running'")
    copy_shard(config, pool, "source", "target", run=run, shard=1)
    (planned,) = runs_of(config, pool, "source", "target").runs
    assert (planned.run, planned.done) == (run, 1)
    assert copy_sharded(config, pool, "source", "target", shards=1, jobs=1, run=run).rows == 44
    assert sides.target.query(ALL) == sides.source.query(ALL)
    assert sides.target.value("SELECT to_regclass('public.pipecopy_shards')") is None


@KEYED
def test_what_a_verification_finds_and_repairs(sides: Sides, key: str) -> None:
    sides.execute(f"CREATE TABLE app.profiles ({COLUMNS.format(key=key)})")
    sides.execute(ROWS)
    sides.target.execute(
        "UPDATE app.profiles SET doc = NULL WHERE id = 5; DELETE FROM app.profiles WHERE id > 57;"
        "INSERT INTO app.profiles SELECT i FROM generate_series(20, 22) AS i"
    )
    expected = ((58, 59, 60), (20, 21, 22), (5,))
    assert found(verify(sides.pool(), batch_size=10)) == expected
    report = verify(sides.pool(), batch_size=10, repair=True, delete_surplus=True)
    assert found(report) == expected
    assert sides.target.query(ALL) == sides.source.query(ALL)


@KEYED
def test_a_batch_that_triggers_may_change(sides: Sides, key: str) -> None:
    sides.execute(
        f"CREATE TABLE app.profiles ({COLUMNS.format(key=key)});"
        "CREATE FUNCTION app.keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER keep BEFORE INSERT OR UPDATE ON app.profiles"
        " FOR EACH ROW EXECUTE FUNCTION app.keep()"
    )
    sides.source.execute(ROWS)
    for _ in range(2):
        assert copy(sides.pool(), batch_size=30).rows == 44
        assert sides.target.query(ALL) == sides.source.query(ALL)
        sides.source.execute("UPDATE app.profiles SET note = 'anew' WHERE id % 5 = 0")


@pytest.mark.parametrize("key", ["UNIQUE", ""], ids=["upsert", "replace"])
def test_a_published_target_without_a_replica_identity(sides: Sides, key: str) -> None:
    sides.execute(f"CREATE TABLE app.profiles ({COLUMNS.format(key=key)})")
    sides.source.execute(ROWS)
    if not key:
        sides.source.execute("INSERT INTO app.profiles SELECT 7, 2 FROM generate_series(1, 2)")
    sides.target.execute(
        "DROP PUBLICATION IF EXISTS p; CREATE PUBLICATION p FOR TABLE app.profiles"
    )
    for new in (33, 34):
        copy(sides.pool())
        assert sorted(sides.target.query(ALL)) == sorted(sides.source.query(ALL))
        sides.source.execute(f"INSERT INTO app.profiles (id) VALUES ({new})")
    sides.source.execute("UPDATE app.profiles SET note = 'anew' WHERE id = 5")
    with pytest.raises(DatabaseError, match=r"ALTER TABLE app\.profiles REPLICA IDENTITY FULL"):
        copy(sides.pool())


@pytest.mark.parametrize("table", ["profiles", "app.profiles"])
def test_a_table_is_made_and_its_sequences_go_on(sides: Sides, table: str) -> None:
    sides.source.execute(
        "CREATE TABLE app.profiles (id bigserial PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY,"
        " made timestamptz DEFAULT now(), mood app.mood DEFAULT 'sad', note text COLLATE \"C\","
        " twice int GENERATED ALWAYS AS (abs(id::int) * 2) STORED);"
        "INSERT INTO app.profiles SELECT FROM generate_series(1, 30)"
    )
    assert copy(sides.pool(table=table, create=True)).rows == 30
    sides.target.execute("INSERT INTO app.profiles DEFAULT VALUES")
    last = "SELECT id, n, mood::text, twice FROM app.profiles ORDER BY id DESC LIMIT 1"
    assert sides.target.query(last) == [(31, 31, "sad", 62)]
    sides.target.execute("DELETE FROM app.profiles WHERE id = 31")
    assert sides.target.query(ALL) == sides.source.query(ALL)


def test_a_copy_goes_on_where_another_ended(sides: Sides) -> None:
    sides.execute(f"CREATE TABLE app.profiles ({COLUMNS.format(key='PRIMARY KEY')})")
    sides.source.execute(ROWS)
    assert copy(sides.pool(), to_id=40).rows == 24
    assert copy(sides.pool(), resume=True).rows == 21
    assert sides.target.query(ALL) == sides.source.query(ALL)


def test_the_rows_that_meet_a_condition(sides: Sides) -> None:
    sides.execute(f"CREATE TABLE app.profiles ({COLUMNS.format(key='PRIMARY KEY')})")
    sides.execute(
        "CREATE FUNCTION app.chosen(bigint) RETURNS boolean IMMUTABLE LANGUAGE sql AS"
        " 'SELECT $1 OPERATOR(pg_catalog.<) 50'"
    )
    sides.source.execute(ROWS)
    columns = ["id", "flag", "note", "mood"]
    pool = sides.pool(columns=columns, where="flag AND chosen(id) -- found by the path")
    assert copy(pool, batch_size=7).rows == 16
    wanted = "SELECT id FROM app.profiles WHERE flag AND id < 50 ORDER BY id"
    assert sides.target.query(wanted) == sides.source.query(wanted)
    assert found(verify(pool)) == ((), (), ())
    sides.target.execute("UPDATE app.profiles SET note = 'stale' WHERE id IN (2, 38)")
    assert found(verify(pool)) == ((), (), (2, 38))


def test_names_of_objects(sides: Sides) -> None:
    sides.execute(
        "CREATE TABLE app.profiles (id int PRIMARY KEY, what regclass, types regtype[], by regrole)"
    )
    sides.source.execute(
        "INSERT INTO app.profiles VALUES (1, 'app.profiles', '{app.mood,text}', 'postgres'),"
        " (2, 'public.pg_class', '{public.text,int}', NULL), (9, 'pg_class', NULL, 'postgres')"
    )
    plan = check(sides.pool()).plan
    assert plan is not None
    assert (plan.method, plan.format) == ("upsert", "text")
    for how in (
        {},
        {"where": "id OPERATOR(pg_catalog.<>) 7"},
        {"path": "", "table": "app.profiles"},
    ):
        pool = sides.pool(**how)
        assert copy(pool, batch_size=2).rows == 3
        assert sides.target.query(ALL) == sides.source.query(ALL)
        assert found(verify(pool, batch_size=2)) == ((), (), ())
        sides.target.execute("UPDATE app.profiles SET what = 'pg_type' WHERE id = 2")
        assert found(verify(pool, batch_size=2)) == ((), (), (2,))


def test_types_that_differ(sides: Sides) -> None:
    sides.execute(
        "CREATE TABLE app.profiles (id int PRIMARY KEY, a int, b text, c date, d text[], e jsonb,"
        " f varchar, g name, h oid, i app.mood, j text)"
    )
    sides.target.execute(
        "ALTER TABLE app.profiles ALTER id TYPE bigint, ALTER a TYPE numeric,"
        " ALTER b TYPE varchar(9), ALTER c TYPE timestamp, ALTER d TYPE varchar(7)[],"
        " ALTER e TYPE text, ALTER f TYPE char(8), ALTER g TYPE text, ALTER h TYPE bigint,"
        " ALTER i TYPE text, ALTER j TYPE jsonb USING NULL"
    )
    sides.source.execute(
        "INSERT INTO app.profiles SELECT i, i, 'b' || i, '2024-02-29', ARRAY['x', 'y' || i],"
        " jsonb_build_object('k', i), 'f', 'g', i, 'sad', '{\"z\": 1}'"
        " FROM generate_series(1, 30) AS i"
    )
    for _ in range(2):
        assert copy(sides.pool()).rows == 30
        assert found(verify(sides.pool())) == ((), (), ())
        sides.source.execute("UPDATE app.profiles SET a = a + 1, j = '[2]' WHERE id % 2 = 0")
    sides.target.execute(
        "UPDATE app.profiles SET h = 0 WHERE id = 4; UPDATE app.profiles SET j = '3' WHERE id = 5"
    )
    wrong = found(verify(sides.pool()))[2]
    assert {4, 5} <= set(wrong)


ODD = """
    CREATE TABLE app.owners (id bigint PRIMARY KEY);
    CREATE TABLE app.profiles (id bigserial UNIQUE, owner bigint REFERENCES app.owners, n int,
                               k text, sum int GENERATED ALWAYS AS (n + 1) STORED, CHECK (n > 0));
    INSERT INTO app.profiles (n) SELECT i FROM generate_series(1, 20) AS i
"""
PARTITIONED = """
    CREATE TABLE app.owners (id bigint PRIMARY KEY);
    CREATE FUNCTION app.note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE SEQUENCE app.numbers MAXVALUE 15;
    CREATE TABLE app.profiles (
        id bigint DEFAULT nextval('app.numbers'), owner bigint REFERENCES app.owners, n int,
        k text, sum int GENERATED ALWAYS AS (n + 1) STORED, UNIQUE (id, n)
    ) PARTITION BY RANGE (id);
    CREATE UNLOGGED TABLE app.low PARTITION OF app.profiles FOR VALUES FROM (0) TO (100);
    CREATE TRIGGER note AFTER INSERT ON app.profiles FOR EACH ROW EXECUTE FUNCTION app.note();
    CREATE TRIGGER low AFTER INSERT ON app.low FOR EACH ROW EXECUTE FUNCTION app.note()
"""
INHERITED = """
    CREATE TABLE app.profiles (id smallint, owner bigint, n varchar(3), k int, needed int NOT NULL,
                               always int GENERATED ALWAYS AS IDENTITY);
    CREATE TABLE app.heirs () INHERITS (app.profiles);
    CREATE RULE twice AS ON INSERT TO app.profiles DO ALSO NOTHING
"""
REFERENCED = """
    CREATE TABLE app.profiles (
        id bigint, owner bigint, n int, k text, sum int, PRIMARY KEY (id, n));
    CREATE TABLE app.referencing (
        id bigint, n int, FOREIGN KEY (id, n) REFERENCES app.profiles ON DELETE CASCADE)
"""
VIEW = "CREATE VIEW app.profiles AS SELECT i AS id, 'a' AS k FROM generate_series(1, 9) AS i"
CASES = {
    "like the source": (ODD, ODD),
    "to be made": (ODD, ""),
    "partitioned": (ODD, PARTITIONED),
    "inherited": (ODD, INHERITED),
    "referenced": (ODD, REFERENCED),
    "a view as the target": (ODD, VIEW),
    "a sequence as the target": (ODD, "CREATE SEQUENCE app.profiles"),
    "a view as the source": (VIEW, ODD),
    "the source partitioned": (PARTITIONED, REFERENCED),
}


@pytest.mark.parametrize(("source", "target"), CASES.values(), ids=CASES)
def test_a_check_says_what_it_says_elsewhere(sides: Sides, source: str, target: str) -> None:
    sides.source.execute(source)
    sides.target.execute(target)
    with contextlib.ExitStack() as stack:
        if target == REFERENCED:
            locker = stack.enter_context(sides.target.connect())
            locker.execute("BEGIN; LOCK TABLE app.profiles IN SHARE MODE")
        seen = check(sides.pool(create=True))
        elsewhere = check(sides.pool(path="app", create=True))
    assert seen.items == elsewhere.items
    assert (seen.columns, seen.outcome) == (elsewhere.columns, "complete")
    assert {item.side for item in seen.items if item.what == "server"} == {"source", "target"}


def test_a_name_of_two_meanings(sides: Sides) -> None:
    sides.execute('CREATE TABLE app."app.profiles" (id int); CREATE TABLE app.profiles (id int)')
    (problem, _) = check(sides.pool(table="app.profiles")).problems
    assert 'app.profiles may mean app."app.profiles" or app.profiles' in problem.message


SMALLEST = {
    "an operator": "CREATE FUNCTION public.ge(bigint, int) RETURNS bool IMMUTABLE LANGUAGE sql AS"
    " 'SELECT false'; CREATE OPERATOR public.>="
    " (LEFTARG = bigint, RIGHTARG = int, FUNCTION = public.ge)",
    "an aggregate": "CREATE FUNCTION public.one(bigint, bigint) RETURNS bigint IMMUTABLE"
    " LANGUAGE sql AS 'SELECT 1'; CREATE AGGREGATE public.max(bigint)"
    " (SFUNC = public.one, STYPE = bigint, INITCOND = '1')",
}


@pytest.mark.parametrize("own", SMALLEST.values(), ids=SMALLEST)
def test_rows_are_not_lost_by_a_users_own(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, own: str
) -> None:
    for database in (source_db, target_db):
        create_profiles(database, 30 if database is source_db else 0)
        database.execute(
            f"{own}; ALTER DATABASE {database.name} SET search_path = public, pg_catalog"
        )
    pool = PostgresPool({"source": source_db.uri, "target": target_db.uri})
    assert copy(pool).rows == 30
    assert found(verify(pool)) == ((), (), ())
    target_db.execute("TRUNCATE profiles")
    assert verify(pool).missing == 30


NEEDS_THE_PATH = """
    CREATE SCHEMA app; CREATE TABLE app.limits AS SELECT 20 AS most;
    CREATE FUNCTION app.most() RETURNS int STABLE LANGUAGE plpgsql AS
        'BEGIN RETURN (SELECT most FROM limits); END';
    CREATE FUNCTION app.low(int) RETURNS boolean STABLE LANGUAGE plpgsql AS
        'BEGIN RETURN $1 <= most(); END';
"""
"""Both functions work where the search path has the schema app, and nowhere else."""


@pytest.mark.parametrize(("how", "names"), [("view", "text"), ("where", "regclass")])
def test_what_the_user_wrote_has_the_roles_path(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, how: str, names: str
) -> None:
    for database in (source_db, target_db):
        database.execute(NEEDS_THE_PATH)
        database.execute(f"ALTER DATABASE {database.name} SET search_path = app, public")
        database.execute(f"CREATE TABLE app.profiles (id int PRIMARY KEY, what {names})")
    source_db.execute("INSERT INTO profiles SELECT i, 'limits' FROM generate_series(1, 30) AS i")
    where: str | None = "low(id)"
    if how == "view":
        source_db.execute(
            "ALTER TABLE profiles RENAME TO rows;"
            "CREATE VIEW app.profiles AS SELECT id, what FROM rows WHERE low(id)"
        )
        where = None
    pool = PostgresPool({"source": source_db.uri, "target": target_db.uri}, where=where)
    assert check(pool).problems == ()
    assert copy(pool).rows == 20
    assert found(verify(pool)) == ((), (), ())
    target_db.execute("DELETE FROM profiles WHERE id = 7")
    assert found(verify(pool)) == ((7,), (), ())
