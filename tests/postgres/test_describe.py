"""What speaks against a copy is said before the first row, all at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from pipecopy.contracts import Column, Mode, Side, TableDescription
from pipecopy.errors import TableMismatchError
from pipecopy.operations.fit import between
from pipecopy.postgres import PostgresPool
from tests.support.databases import TemporaryDatabase
from tests.support.gates import table_gate
from tests.support.home import give_to_server_user
from tests.support.opened import opened
from tests.support.profiles import TABLE
from tests.support.runs import copy, lines
from tests.support.servers import PostgresServer, _copy_as_server_user
from tests.support.standbys import Standby

pytestmark = pytest.mark.server


def described(
    database: TemporaryDatabase | str,
    side: Side,
    *,
    table: str = "profiles",
    key: str = "id",
    mode: Mode = "copy",
) -> TableDescription:
    with opened(database, side, table=table, key=key, mode=mode) as connected:
        return connected.describe()


@contextlib.contextmanager
def role(database: TemporaryDatabase, grants: str = "") -> Iterator[str]:
    """Make a role with these rights, and give the URI with which it connects."""
    name = f"role_{database.name}"
    database.execute(f"CREATE ROLE {name} LOGIN; {grants.format(role=name)}")
    try:
        yield database.server.uri(database.name, user=name)
    finally:
        database.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_table_as_it_should_be(source_db: TemporaryDatabase, side: Side) -> None:
    source_db.execute(TABLE)
    table = described(source_db, side)
    assert table.table == '"public"."profiles"'
    assert table.key == "id"
    assert table.columns == (Column(name="id", type="bigint"), Column(name="data", type="jsonb"))
    assert lines(table, "problem") == lines(table, "warning") == []


def test_the_same_table_is_known_on_both_sides(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    for database in (source_db, target_db):
        database.execute(TABLE)
    source_db.execute("CREATE TABLE other (LIKE profiles INCLUDING ALL)")
    same = described(source_db, "source").identity
    assert same == described(source_db.conninfo, "target").identity
    assert same != described(source_db, "target", table="other").identity
    assert same != described(target_db, "target").identity


def test_a_clone_of_the_server_is_another_but_a_standby_is_the_same() -> None:
    with PostgresServer(16) as original:
        original.execute(TABLE)
        original.stop()
        clone, standby = PostgresServer(16), PostgresServer(16)
        for copied in (clone, standby):
            copied.folder.mkdir()
            give_to_server_user(copied.folder)
            _copy_as_server_user(original.data, copied.data)
        signal = standby.data / "standby.signal"
        signal.touch()
        give_to_server_user(signal)
        original.start()
        with clone, standby:
            of_original, of_clone, of_standby = (
                str(described(server.uri(), "source").identity)
                for server in (original, clone, standby)
            )
    assert of_clone != of_original
    assert of_original.startswith(of_standby)  # a part of what tells the primary from a clone


def test_a_role_that_is_not_told_the_system_is_on_the_same_server(
    target_db: TemporaryDatabase,
) -> None:
    target_db.execute(TABLE)
    control = "EXECUTE ON FUNCTION pg_control_system"
    with role(target_db, "GRANT ALL ON profiles TO {role}") as uri:
        target_db.execute(f"REVOKE {control} FROM PUBLIC")
        try:
            with pytest.raises(TableMismatchError, match="source and target are the same table"):
                copy(PostgresPool({"source": target_db.uri, "target": uri}))
        finally:
            target_db.execute(f"GRANT {control} TO PUBLIC")


def test_a_standby_and_a_promoted_copy_of_its_files_are_two_servers() -> None:
    with PostgresServer(16) as primary, Standby(primary) as standby, Standby(primary) as promoted:
        primary.execute(f"{TABLE}; INSERT INTO profiles VALUES (1, NULL)")
        standby.catch_up()
        promoted.catch_up()
        promoted.promote()
        promoted.execute("DELETE FROM profiles")
        to_primary = PostgresPool({"source": standby.uri(), "target": primary.uri()})
        with pytest.raises(TableMismatchError, match="is a standby, and may follow the other one"):
            copy(to_primary)
        uris = {"source": standby.uri(), "target": promoted.uri()}
        assert copy(PostgresPool(uris)).rows == 1  # it receives, and not from there
        standby.cut_off()
        with pytest.raises(TableMismatchError, match=r"say so \(`two_servers`\)"):
            copy(PostgresPool(uris))
        assert copy(PostgresPool(uris, two_servers=True)).rows == 1


def test_generated_columns_are_not_copied(source_db: TemporaryDatabase) -> None:
    source_db.execute(
        "CREATE TYPE mood AS ENUM ('sad', 'it''s ok');"
        "CREATE TABLE profiles (id int PRIMARY KEY, n varchar(20), m mood,"
        " twice int GENERATED ALWAYS AS (id * 2) STORED)"
    )
    columns = described(source_db, "source").columns
    assert [(column.name, str(column)) for column in columns] == [
        ("id", "integer"),
        ("n", "character varying(20)"),
        # whatever the search path is on this side
        ("m", "public.mood (enum: 'sad', 'it''s ok')"),
        # named for the comparison, and last: values of the others are what is copied
        ("twice", "integer GENERATED ALWAYS AS ((id * 2))"),
    ]
    source_db.execute("INSERT INTO profiles VALUES (1, 'n', 'sad')")
    with opened(source_db, "source") as database:
        assert list(database.load_rows(0, 9)) == [(1, "n", "sad")]


def test_a_column_that_is_generated_on_one_side_alone(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    plain = "CREATE TABLE profiles (id int PRIMARY KEY, twice int)"
    generated = (
        "CREATE TABLE profiles (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED)"
    )
    source_db.execute(generated)
    target_db.execute(plain)
    source, target = described(source_db, "source"), described(target_db, "target")
    for one, other in ((source, target), (target, source)):
        (difference,) = lines(between(one, other), "problem")
        assert 'column "twice" is integer' in difference
        assert "GENERATED ALWAYS AS ((id * 2))" in difference
    target_db.execute(f"DROP TABLE profiles; {generated}")
    assert not lines(between(source, described(target_db, "target")), "problem")


def test_a_missing_table(source_db: TemporaryDatabase) -> None:
    table = described(source_db, "source", table="nowhere.nothing")
    assert len(lines(table, "problem")) == 1
    assert "nowhere.nothing" in lines(table, "problem")[0]


@pytest.mark.parametrize(
    ("columns", "problem"),
    [("data jsonb", "no column id"), ("id text", "is of the type text"), ("id numeric", "numeric")],
)
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_key_that_is_none(
    source_db: TemporaryDatabase, columns: str, problem: str, side: Side
) -> None:
    source_db.execute(f"CREATE TABLE profiles ({columns})")
    (found,) = lines(described(source_db, side), "problem")
    assert problem in found


@pytest.mark.parametrize("type_", ["smallint", "integer", "bigint", "positive"])
def test_a_key_of_any_integer_type(source_db: TemporaryDatabase, type_: str) -> None:
    source_db.execute("CREATE DOMAIN positive AS int CHECK (VALUE > 0)")
    source_db.execute(f"CREATE TABLE profiles (id {type_} PRIMARY KEY)")
    assert lines(described(source_db, "source"), "problem") == []


def test_keys_that_can_not_be_copied(source_db: TemporaryDatabase) -> None:
    source_db.execute("CREATE TABLE profiles (id bigint UNIQUE, data jsonb)")
    source_db.execute("INSERT INTO profiles VALUES (NULL), (-1), (1)")
    null, negative = lines(described(source_db, "source"), "problem")
    assert "NULL" in null
    assert "negative" in negative


def test_missing_rights_on_the_source(source_db: TemporaryDatabase) -> None:
    source_db.execute(TABLE)
    with role(source_db, "GRANT SELECT (id) ON profiles TO {role}") as uri:
        (problem,) = lines(described(uri, "source"), "problem")
    assert "no SELECT right" in problem


def test_rights_by_column_will_do(source_db: TemporaryDatabase) -> None:
    source_db.execute(TABLE)
    with role(source_db, "GRANT SELECT (id, data) ON profiles TO {role}") as uri:
        assert lines(described(uri, "source"), "problem") == []
        with opened(uri, "source") as database:
            assert database.get_max_id() == 0
            assert len(database.load_rows(0, 10)) == 0


def test_missing_rights_on_the_target_are_all_named(target_db: TemporaryDatabase) -> None:
    target_db.execute(TABLE)
    target_db.execute(f"REVOKE TEMP ON DATABASE {target_db.name} FROM PUBLIC")
    with role(target_db, "GRANT SELECT ON profiles TO {role}") as uri:
        problems = " ".join(lines(described(uri, "target"), "problem"))
    assert "no INSERT, UPDATE right" in problems
    assert "no TEMP right" in problems


def test_what_only_writing_needs_is_looked_at_for_a_copy_and_a_check(
    target_db: TemporaryDatabase,
) -> None:
    target_db.execute("CREATE TABLE rows (id int, n int); CREATE VIEW profiles AS TABLE rows")
    target_db.execute("CREATE RULE away AS ON INSERT TO profiles DO INSTEAD NOTHING")
    target_db.execute("INSERT INTO rows VALUES (NULL), (1), (-1)")
    with role(target_db, "GRANT SELECT ON profiles TO {role}") as uri:
        of_check = described(uri, "target", mode="check")
        of_verify = described(uri, "target", mode="verify")
    for problem in ("no INSERT, UPDATE, DELETE right", "rule away", "is a view"):
        assert problem in " ".join(lines(of_check, "problem"))
    assert lines(of_verify, "problem") == []
    assert lines(of_verify, "warning") == []  # a verification counts the rows without a key


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_schema_without_usage(source_db: TemporaryDatabase, side: Side) -> None:
    source_db.execute("CREATE SCHEMA closed; CREATE TABLE closed.profiles (id int PRIMARY KEY)")
    with role(source_db, "GRANT ALL ON closed.profiles TO {role}") as uri:
        (problem,) = lines(described(uri, side, table="closed.profiles"), "problem")
    assert "USAGE right on the schema closed" in problem


@pytest.mark.parametrize("side", ["source", "target"])
def test_hidden_rows(source_db: TemporaryDatabase, side: Side) -> None:
    source_db.execute(TABLE)
    source_db.execute(
        "ALTER TABLE profiles ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY few ON profiles USING (id < 5)"
    )
    with role(source_db, "GRANT ALL ON profiles TO {role}") as uri:
        (problem,) = lines(described(uri, side), "problem")
    assert "row-level security" in problem
    assert lines(described(source_db, side), "problem") == []  # a superuser sees all rows


@pytest.mark.parametrize("event", ["INSERT", "UPDATE"])
def test_a_rule_on_the_target(target_db: TemporaryDatabase, event: str) -> None:
    target_db.execute(TABLE)
    target_db.execute(f"CREATE RULE away AS ON {event} TO profiles DO INSTEAD NOTHING")
    (problem,) = lines(described(target_db, "target"), "problem")
    assert f"the {event} rule away" in problem
    assert lines(described(target_db, "source"), "problem") == []


def test_a_view_is_a_source_but_no_target(source_db: TemporaryDatabase) -> None:
    source_db.execute("CREATE TABLE real_one (id int PRIMARY KEY); INSERT INTO real_one VALUES (1)")
    source_db.execute("CREATE VIEW profiles AS TABLE real_one")
    assert lines(described(source_db, "source"), "problem") == []
    assert any(
        "is a view" in problem for problem in lines(described(source_db, "target"), "problem")
    )
    with opened(source_db, "source") as database:
        assert list(database.load_rows(0, 9)) == [(1,)]


def test_triggers_are_a_warning(target_db: TemporaryDatabase) -> None:
    target_db.execute(TABLE)
    target_db.execute(
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER loud AFTER INSERT ON profiles FOR EACH ROW EXECUTE FUNCTION f();"
        "CREATE TRIGGER quiet AFTER INSERT ON profiles FOR EACH ROW EXECUTE FUNCTION f();"
        "ALTER TABLE profiles DISABLE TRIGGER quiet"
    )
    (warning,) = lines(described(target_db, "target"), "warning")
    assert "loud" in warning
    assert "quiet" not in warning


PARTITIONED = """
    CREATE TABLE profiles (id bigint, region int, data jsonb, PRIMARY KEY (id, region))
        PARTITION BY RANGE (id);
    CREATE TABLE low PARTITION OF profiles FOR VALUES FROM (0) TO (50) PARTITION BY RANGE (id);
    CREATE TABLE lowest PARTITION OF low FOR VALUES FROM (0) TO (10);
    CREATE TABLE high PARTITION OF profiles DEFAULT;
    CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
"""


def test_triggers_of_partitions_are_a_warning_too(target_db: TemporaryDatabase) -> None:
    target_db.execute(
        PARTITIONED
        + "CREATE TRIGGER every AFTER INSERT ON profiles FOR EACH ROW EXECUTE FUNCTION f();"
        "CREATE TRIGGER deep AFTER INSERT ON lowest FOR EACH ROW EXECUTE FUNCTION f()"
    )
    (warning,) = (w for w in lines(described(target_db, "target"), "warning") if "triggers" in w)
    assert ": deep of public.lowest, every" in warning
    with opened(target_db, "target", table="lowest") as database:
        assert any("deep, every" in warning for warning in lines(database.describe(), "warning"))
    target_db.execute("ALTER TABLE ONLY profiles DISABLE TRIGGER every")
    (warning,) = (w for w in lines(described(target_db, "target"), "warning") if "triggers" in w)
    assert "every of public.low, every of public.high" in warning  # their copies of it still fire


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "SET DEFAULT"])
@pytest.mark.parametrize("parts", [True, False])
def test_rows_elsewhere_that_removing_rows_would_change(
    target_db: TemporaryDatabase, action: str, *, parts: bool
) -> None:
    table = "CREATE TABLE profiles (id bigint, region int, PRIMARY KEY (id, region))"
    target_db.execute(PARTITIONED if parts else table)
    target_db.execute(
        "CREATE TABLE orders (id bigint, region int, CONSTRAINT mine FOREIGN KEY (id, region)"
        f" REFERENCES profiles ON DELETE {action})"
    )
    (problem,) = lines(described(target_db, "target"), "problem")
    assert f"the foreign key mine of public.orders ON DELETE {action}" in problem
    assert lines(described(target_db, "source"), "problem") == []
    if not parts:  # rows are updated in place then
        target_db.execute("CREATE UNIQUE INDEX ON profiles (id)")
        assert lines(described(target_db, "target"), "problem") == []


def test_a_foreign_key_to_a_partition_alone(target_db: TemporaryDatabase) -> None:
    target_db.execute(
        PARTITIONED + "CREATE TABLE orders (id bigint, region int, CONSTRAINT mine"
        " FOREIGN KEY (id, region) REFERENCES low ON DELETE CASCADE)"
    )
    (problem,) = lines(described(target_db, "target"), "problem")
    assert "foreign key mine of public.orders" in problem


def test_a_foreign_key_that_refuses_removing_rows_is_no_problem(
    target_db: TemporaryDatabase,
) -> None:
    target_db.execute(PARTITIONED)
    target_db.execute(
        "CREATE TABLE orders (id bigint, region int, FOREIGN KEY (id, region) REFERENCES profiles)"
    )
    assert lines(described(target_db, "target"), "problem") == []


@pytest.mark.parametrize(
    "index",
    [
        "",
        "CREATE INDEX ON profiles (id)",
        "CREATE UNIQUE INDEX ON profiles (id) WHERE id > 5",
        "CREATE UNIQUE INDEX ON profiles (id, data)",
        "CREATE UNIQUE INDEX ON profiles ((id + 1))",
        "ALTER TABLE profiles ADD UNIQUE (id) DEFERRABLE",
    ],
)
def test_a_target_without_an_index_that_helps(target_db: TemporaryDatabase, index: str) -> None:
    target_db.execute(f"CREATE TABLE profiles (id bigint, data text); {index}")
    (warning,) = lines(described(target_db, "target"), "warning")
    assert 'CREATE UNIQUE INDEX ON "public"."profiles" ("id")' in warning
    target_db.execute('CREATE UNIQUE INDEX ON "public"."profiles" ("id") INCLUDE (data)')
    assert lines(described(target_db, "target"), "warning") == []


def test_a_source_without_an_index(source_db: TemporaryDatabase) -> None:
    source_db.execute("CREATE TABLE profiles (data jsonb, id bigint)")
    (warning,) = lines(described(source_db, "source"), "warning")
    assert "no index" in warning
    source_db.execute("CREATE INDEX ON profiles (id, data)")
    assert lines(described(source_db, "source"), "warning") == []


CHILD = "CREATE TABLE newer () INHERITS (profiles)"


def test_a_target_that_others_inherit_from(target_db: TemporaryDatabase) -> None:
    target_db.execute(f"{TABLE}; {CHILD}")
    table = described(target_db, "target")
    (problem,) = lines(table, "problem")
    assert "inherit from it (public.newer)" in problem
    assert lines(table, "warning") == []


def test_a_key_that_only_a_child_lets_be_null(source_db: TemporaryDatabase) -> None:
    source_db.execute(f"CREATE TABLE profiles (id bigint NOT NULL, data jsonb); {CHILD}")
    source_db.execute("CREATE INDEX ON profiles (id)")
    source_db.execute("ALTER TABLE newer ALTER id DROP NOT NULL; INSERT INTO newer VALUES (NULL)")
    (problem,) = lines(described(source_db, "source"), "problem")
    assert "is NULL" in problem


def test_partitions_are_no_problem(target_db: TemporaryDatabase) -> None:
    target_db.execute(
        "CREATE TABLE profiles (id bigint PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE low PARTITION OF profiles FOR VALUES FROM (MINVALUE) TO (50)"
    )
    table = described(target_db, "target")
    assert lines(table, "problem") == lines(table, "warning") == []
    target_db.execute(
        "CREATE UNLOGGED TABLE high PARTITION OF profiles FOR VALUES FROM (50) TO (99)"
    )
    (warning,) = lines(described(target_db, "target"), "warning")
    assert warning.endswith(": public.high; run ALTER TABLE public.high SET LOGGED;")


def test_an_unlogged_target_is_a_warning(target_db: TemporaryDatabase) -> None:
    target_db.execute("CREATE UNLOGGED TABLE profiles (id bigint PRIMARY KEY)")
    table = described(target_db, "target")
    (warning,) = lines(table, "warning")
    assert "UNLOGGED" in warning
    assert lines(table, "problem") == []


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_temporary_table_is_none_to_copy(target_db: TemporaryDatabase, side: Side) -> None:
    with target_db.connect() as other:
        other.execute("CREATE TEMPORARY TABLE profiles (id bigint PRIMARY KEY)")
        ((name,),) = other.execute(
            "SELECT nspname || '.profiles' FROM pg_namespace WHERE oid = pg_my_temp_schema()"
        ).fetchall()
        (problem,) = lines(described(target_db, side, table=name), "problem")
    assert "is temporary" in problem


def test_null_keys_behind_a_constraint_that_is_not_valid_yet(target_db: TemporaryDatabase) -> None:
    target_db.execute(  # of 18
        "CREATE TABLE profiles (id int, data jsonb); INSERT INTO profiles VALUES (1), (NULL);"
        "ALTER TABLE profiles ADD CONSTRAINT there NOT NULL id NOT VALID;"
        "CREATE INDEX ON profiles (id)"
    )
    (problem,) = lines(described(target_db, "source"), "problem")
    assert 'rows whose key "id" is NULL' in problem


def test_a_name_that_may_mean_two_tables(source_db: TemporaryDatabase) -> None:
    source_db.execute('CREATE TABLE "MyTable" (id int PRIMARY KEY)')
    assert lines(described(source_db, "source", table="MyTable"), "problem") == []
    source_db.execute("CREATE TABLE mytable (id int PRIMARY KEY)")
    (problem,) = lines(described(source_db, "source", table="MyTable"), "problem")
    assert 'public."MyTable" or public.mytable' in problem
    assert lines(described(source_db, "source", table='"MyTable"'), "problem") == []
    assert lines(described(source_db, "source", table="mytable"), "problem") == []


@pytest.mark.parametrize("side", ["source", "target"])
def test_what_has_no_rows_to_copy(source_db: TemporaryDatabase, side: Side) -> None:
    source_db.execute("CREATE SEQUENCE numbers; CREATE TABLE other (id int PRIMARY KEY)")
    for name, what in (("numbers", "a sequence"), ("other_pkey", "an index")):
        (problem,) = lines(described(source_db, side, table=name), "problem")
        assert problem == f'"public"."{name}" is {what}, not a table'


def test_texts_of_an_unknown_encoding_are_warned_of(pg16: PostgresServer) -> None:
    pg16.create_database("unknown_encoding", encoding="SQL_ASCII")
    try:
        database = TemporaryDatabase(pg16, "unknown_encoding")
        database.execute("CREATE TABLE profiles (id int PRIMARY KEY)")
        (warning,) = lines(described(database, "source"), "warning")
        assert "SQL_ASCII" in warning
    finally:
        pg16.drop_database("unknown_encoding")


@pytest.mark.parametrize("type_", ["oid", "lo", "oid[]"])
def test_large_objects_are_a_warning_where_there_are_some(
    source_db: TemporaryDatabase, type_: str
) -> None:
    source_db.execute("CREATE DOMAIN lo AS oid")  # as the extension does
    source_db.execute(f"CREATE TABLE profiles (id bigint PRIMARY KEY, pic {type_}, n bigint)")
    with role(source_db, "GRANT SELECT ON profiles TO {role}") as uri:
        assert lines(described(uri, "source"), "warning") == []
        source_db.execute("SELECT lo_from_bytea(0, 'x')")
        (warning,) = lines(described(uri, "source"), "warning")
        assert 'only the oids in "pic" are copied' in warning
        assert lines(described(uri, "source", mode="check"), "warning") == [warning]
        assert lines(described(source_db, "target"), "warning") == []
    source_db.execute("ALTER TABLE profiles DROP pic")
    assert lines(described(source_db, "source"), "warning") == []


def test_it_is_the_table_of_now_that_is_described(source_db: TemporaryDatabase) -> None:
    """A session looks at the table as it starts, which may be long before."""
    with opened(source_db, "source") as database:
        source_db.execute(TABLE)
        assert len(database.describe().columns) == 2
    with opened(source_db, "source") as database:
        source_db.execute("ALTER TABLE profiles ADD more text")
        assert len(database.describe().columns) == 3
        assert database.get_max_id() == 0
    with opened(source_db, "source") as database:
        source_db.execute("DROP TABLE profiles; CREATE TABLE profiles (id bigint PRIMARY KEY)")
        assert len(database.describe().columns) == 1
    with opened(source_db, "source") as database:
        source_db.execute("DROP TABLE profiles")
        (problem,) = lines(database.describe(), "problem")
        assert "does not exist or is not visible" in problem


def test_a_table_that_is_replaced_while_it_is_described(source_db: TemporaryDatabase) -> None:
    source_db.execute(TABLE)
    with (
        opened(source_db, "source") as connected,
        table_gate(source_db) as gate,
        ThreadPoolExecutor(1) as threads,
    ):
        found = threads.submit(connected.describe)
        gate.arrival()
        gate.execute("DROP TABLE profiles; CREATE TABLE profiles (id bigint PRIMARY KEY); COMMIT")
        assert found.result().columns == (Column(name="id", type="bigint"),)


def test_a_look_that_is_refused_does_not_keep_a_session_from_its_start(
    source_db: TemporaryDatabase,
) -> None:
    source_db.execute(TABLE)
    source_db.execute("REVOKE SELECT ON pg_trigger FROM PUBLIC")
    with (
        role(source_db, "GRANT SELECT ON profiles TO {role}") as uri,
        opened(uri, "source") as database,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="pg_trigger"),
    ):
        database.describe()
