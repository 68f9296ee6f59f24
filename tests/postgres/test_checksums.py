"""What is equal and what is not: the text of each value as the target has it, and nothing less."""

from __future__ import annotations

import pytest

from pipecopy.postgres import PostgresPool
from tests.postgres.test_create_types import columns_of_every_type, fill
from tests.support.databases import TemporaryDatabase, temporary_database
from tests.support.runs import copy, found, verify
from tests.support.servers import PostgresServer

pytestmark = pytest.mark.server


def test_values_of_every_type_are_equal_once_copied_and_a_change_of_each_is_found(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    columns = columns_of_every_type(source_db)
    rows = fill(source_db, columns)
    pool = PostgresPool(
        {"source": source_db.uri, "target": target_db.uri}, table="every", create=True
    )
    names = ", ".join(f'"{column.name}"' for column in columns)
    source_db.execute(  # the first row has a value of each
        f"INSERT INTO every SELECT 1000 + i, {names} FROM every, generate_series(1, {len(columns)})"
        " AS i WHERE id = 1"
    )
    copy(pool, batch_size=1000)
    report = verify(pool, batch_size=1000)
    assert (report.rows, report.equal) == (rows + len(columns), True)
    assert found(report) == ((), (), ())
    for number, column in enumerate(columns, start=1001):
        target_db.execute(f'UPDATE every SET "{column.name}" = NULL WHERE id = {number}')
    assert found(verify(pool, batch_size=1000)) == ((), (), tuple(range(1001, 1001 + len(columns))))


ROWS = [
    ("a text", "NULL", "''"),
    ("a text", "''", "' '"),
    ("a text, b text", "'ab', 'c'", "'a', 'bc'"),
    ("a text, b text", "'a', NULL", "NULL, 'a'"),
    ("a text, b text", "'', NULL", "NULL, ''"),
    ("a text, b text", "'=', ''", "'', '='"),
    ("a numeric", "1.0", "1.00"),
    ("a float8", "0", "'-0'"),
    ("a json", "'{\"a\": 1}'", "'{\"a\":1}'"),
    ("a jsonb", "'{\"a\": 1.0}'", "'{\"a\": 1.00}'"),
    ("a text[]", "'{NULL}'", "'{\"NULL\"}'"),
    ("a text[]", "'{a,b}'", "'{\"a,b\"}'"),
    ("a pair", "ROW(NULL, NULL)::pair", "NULL"),
    ("a pair", "ROW(NULL, '')::pair", "ROW(NULL, NULL)::pair"),
    ("a timestamptz", "'2024-01-01 00:00+00'", "'2024-01-01 00:00:00.000001+00'"),
    ("a char(3), b char(3)", "'a', ''", "'', 'a'"),
    ("a bytea", "'\\x00'", "'\\x0000'"),
]


def test_values_that_look_alike_are_not_equal(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    names = [f"c{number}_{name}" for number in range(len(ROWS)) for name in "ab"]
    types = [
        part.split(maxsplit=1)[1] for row in ROWS for part in (*row[0].split(", "), "b int")[:2]
    ]
    columns = ", ".join(f"{name} {type_}" for name, type_ in zip(names, types, strict=True))
    for side, database in enumerate((source_db, target_db), start=1):
        database.execute("CREATE TYPE pair AS (x int, y text)")
        database.execute(f"CREATE TABLE profiles (id int PRIMARY KEY, {columns})")
        for number, row in enumerate(ROWS):
            of_row = ", ".join(names[2 * number : 2 * number + 1 + row[0].count(", ")])
            database.execute(
                f"INSERT INTO profiles (id, {of_row}) VALUES ({number}, {row[side]}),"
                f" ({number + 100}, {row[1]})"
            )
    pool = PostgresPool({"source": source_db.uri, "target": target_db.uri})
    assert found(verify(pool, batch_size=200)) == ((), (), tuple(range(len(ROWS))))


SOURCE = """
    CREATE DOMAIN price AS numeric(12,4);
    CREATE TYPE mood AS ENUM ('sad', 'glad');
    CREATE TABLE profiles (
        id int PRIMARY KEY, small smallint, amount numeric(10,2), exact numeric, cost price,
        ratio real, note varchar(20), code char(3), padded char(5), cut text, at date,
        moment timestamptz, precise timestamptz, address cidr, host inet, document json,
        raw jsonb, m mood, few int[], texts text[], listed text, flag text, yes boolean,
        kind oid, money numeric, span time, several varchar(5)[], same text
    );
    INSERT INTO profiles VALUES
        (1, -32768, 12.30, 1.005, 1.5, 0.1, 'ünï', 'a', 'ab', 'abc   ', '2024-02-29',
         '2024-02-29 12:00+02', '2024-02-29 12:00:00.6+02', '10.0.0.0/8', '10.0.0.1',
         '{"b": 1,  "a": null}', '{"b": 1, "a": null}', 'sad', '{1,NULL}', '{"a b",NULL}',
         '{ 1, 2 }', 'yes', true, 1, 12.345, '12:00', '{ab,c}', 'x'),
        (2, NULL, NULL, 'NaN', NULL, 'infinity', '', '', '', '', 'infinity', NULL, 'infinity',
         NULL, NULL, 'null', 'null', NULL, '{}', '{}', '{}', NULL, false, NULL, NULL, NULL, '{}',
         '')
"""
TARGET = """
    CREATE DOMAIN price AS numeric(10,2);
    CREATE TABLE profiles (
        id bigint PRIMARY KEY, small bigint, amount numeric(12,4), exact numeric(10,2), cost price,
        ratio float8, note text, code char(5), padded text, cut varchar(4), at timestamp,
        moment timestamp, precise timestamptz(0), address inet, host text, document jsonb,
        raw json, m text, few bigint[], texts varchar(5)[], listed int[], flag boolean, yes text,
        kind bigint, money money, span interval, several text[], same text
    )
"""


def test_types_that_differ_are_compared_as_the_targets(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    source_db.execute(SOURCE)
    target_db.execute(TARGET)
    pool = PostgresPool({"source": source_db.uri, "target": target_db.uri})
    assert copy(pool).rows == 2
    assert found(verify(pool)) == ((), (), ())
    names = [
        name
        for (name,) in source_db.query(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'profiles'::regclass AND attnum > 1"
        )
    ]
    for number, name in enumerate(names, start=11):
        columns = ", ".join(names)
        source_db.execute(
            f"INSERT INTO profiles SELECT {number}, {columns} FROM profiles WHERE id = 1"
        )
        target_db.execute(
            f"INSERT INTO profiles SELECT {number}, {columns} FROM profiles WHERE id = 1;"
            f"UPDATE profiles SET {name} = (SELECT {name} FROM profiles WHERE id = 2)"
            f" WHERE id = {number}"
        )
    assert found(verify(pool, batch_size=100)) == ((), (), tuple(range(11, 11 + len(names))))


def test_a_text_that_the_targets_type_would_cut_differs(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    source_db.execute(
        "CREATE TABLE profiles (id int PRIMARY KEY, a text, b text, c text[], d bit varying);"
        "INSERT INTO profiles VALUES (1, 'abcd', NULL, NULL, NULL), (2, NULL, 'abcd', NULL, NULL),"
        " (3, NULL, NULL, '{abcd}', NULL), (4, NULL, NULL, NULL, '1011')"
    )
    target_db.execute(
        "CREATE TABLE profiles (id int PRIMARY KEY, a varchar(3), b char(3), c varchar(3)[],"
        " d bit(3));"
        "INSERT INTO profiles VALUES (1, 'abc', NULL, NULL, NULL), (2, NULL, 'abc', NULL, NULL),"
        " (3, NULL, NULL, '{abc}', NULL), (4, NULL, NULL, NULL, '101')"
    )
    pool = PostgresPool({"source": source_db.uri, "target": target_db.uri})
    assert found(verify(pool)) == ((), (), (1, 2, 3, 4))


def test_the_order_of_the_columns_does_not_count(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    source_db.execute(
        "CREATE TABLE profiles (id int PRIMARY KEY, a text, b text, g int GENERATED ALWAYS AS"
        " (id + 1) STORED); INSERT INTO profiles VALUES (1, 'x', 'y'), (2, 'p', 'q')"
    )
    target_db.execute(
        "CREATE TABLE profiles (b text, g int GENERATED ALWAYS AS (1 + id) STORED,"
        " id int PRIMARY KEY, a text); INSERT INTO profiles (id, a, b) VALUES (1, 'x', 'y'),"
        " (2, 'q', 'p')"
    )
    assert found(verify(postgres_pool)) == ((), (), (2,))


def test_as_many_columns_as_a_table_can_have(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    columns = ", ".join(f"c{number} boolean" for number in range(1599))
    for database in (source_db, target_db):
        database.execute(f"CREATE TABLE profiles (id int PRIMARY KEY, {columns})")
        database.execute("INSERT INTO profiles SELECT i FROM generate_series(1, 20) AS i")
    target_db.execute("UPDATE profiles SET c0 = true WHERE id = 3")
    target_db.execute("UPDATE profiles SET c1598 = true WHERE id = 4")
    assert found(verify(postgres_pool)) == ((), (), (3, 4))


def test_servers_of_other_encodings_agree(
    pg16: PostgresServer, target_db: TemporaryDatabase
) -> None:
    with temporary_database(pg16, encoding="LATIN1") as source:
        for database in (source, target_db):
            database.execute(
                "CREATE TABLE profiles (id int PRIMARY KEY, a text, b text);"
                "INSERT INTO profiles VALUES (1, 'Straße', NULL), (2, 'é', ''), (3, 'ab', 'c'),"
                " (4, NULL, 'é')"
            )
        pool = PostgresPool({"source": source.uri, "target": target_db.uri})
        target_db.execute("UPDATE profiles SET a = 'è' WHERE id = 2")
        target_db.execute("UPDATE profiles SET a = 'a', b = 'bc' WHERE id = 3")
        target_db.execute("UPDATE profiles SET a = '' WHERE id = 4")
        assert found(verify(pool)) == ((), (), (2, 3, 4))


def test_names_of_objects_are_read_alike_by_other_search_paths(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    for database in (source_db, target_db):
        database.execute(
            "CREATE SCHEMA here; CREATE TABLE here.thing (); CREATE TABLE thing ();"
            "CREATE TABLE profiles (id int PRIMARY KEY, what regclass);"
            "INSERT INTO profiles VALUES (1, 'here.thing'), (2, 'public.thing'), (3, 'thing')"
        )
    target_db.execute(f"ALTER DATABASE {target_db.name} SET search_path TO public, here")
    source_db.execute(f"ALTER DATABASE {source_db.name} SET search_path TO here, public")
    target_db.execute("UPDATE profiles SET what = 'here.thing' WHERE id = 2")
    assert found(verify(postgres_pool)) == ((), (), (2,))


def test_a_users_function_that_is_called_like_one_of_the_servers_changes_nothing(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    for database, value in ((source_db, "one"), (target_db, "two")):
        database.execute(
            "CREATE FUNCTION concat(text, text) RETURNS text IMMUTABLE LANGUAGE sql"
            " AS $$ SELECT '=' $$;"
            "CREATE TABLE profiles (id bigint PRIMARY KEY, data text);"
            f"INSERT INTO profiles VALUES (1, '{value}'), (2, 'same')"
        )
    pool = PostgresPool({"source": source_db.uri, "target": target_db.uri})
    assert found(verify(pool)) == ((), (), (1,))
