"""Only the chosen columns are copied; the target's others keep what they have."""

from __future__ import annotations

from typing import Any

import pytest

from pipecopy.errors import ConfigError, TableMismatchError
from pipecopy.postgres import PostgresPool
from tests.support.databases import TemporaryDatabase
from tests.support.opened import opened
from tests.support.runs import check, copy, lines, verify

pytestmark = pytest.mark.server

BOTH = "source source and target target"
SOURCE = """
    CREATE TABLE profiles (id int PRIMARY KEY, a text, "B" text, secret text,
                           doubled int GENERATED ALWAYS AS (id * 2) STORED);
    INSERT INTO profiles SELECT i, 'a' || i, 'B' || i, 's' || i FROM generate_series(1, 20) AS i
"""
GENERATED = (
    'the column "doubled" of the table "public"."profiles" is generated: the server computes it,'
    " and it can't be copied"
)
TARGET = """
    CREATE TABLE profiles (id int {key}, "B" text, a text, mine text DEFAULT 'default',
                           number int GENERATED ALWAYS AS IDENTITY)
"""


def pool(source: TemporaryDatabase, target: TemporaryDatabase, **how: Any) -> PostgresPool:
    return PostgresPool({"source": source.uri, "target": target.uri}, **how)


def test_the_others_get_their_defaults_and_keep_their_values(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    source_db.execute(SOURCE)
    target_db.execute(TARGET.format(key="PRIMARY KEY"))
    target_db.execute("INSERT INTO profiles VALUES (3, 'stale', 'a3', 'kept')")
    # the key is not named; by psql's rules B is the column "B", since there is none called b
    chosen = pool(source_db, target_db, columns=["B", "A"])
    assert copy(chosen, batch_size=7).rows == 20
    found = target_db.query('SELECT id, a, "B", mine FROM profiles ORDER BY id')
    expected = [(i, f"a{i}", f"B{i}", "kept" if i == 3 else "default") for i in range(1, 21)]
    assert found == expected
    assert target_db.value("SELECT count(DISTINCT number) FROM profiles") == 20
    target_db.execute("UPDATE profiles SET mine = 'other', a = 'stale' WHERE id = 5")
    before = target_db.query("SELECT id, xmin::text FROM profiles WHERE id <> 5 ORDER BY id")
    copy(chosen)
    assert target_db.query("SELECT a, mine FROM profiles WHERE id = 5") == [("a5", "other")]
    after = target_db.query("SELECT id, xmin::text FROM profiles WHERE id <> 5 ORDER BY id")
    assert after == before


def test_all_columns_but_some(source_db: TemporaryDatabase, target_db: TemporaryDatabase) -> None:
    source_db.execute(SOURCE)
    target_db.execute(TARGET.format(key="PRIMARY KEY") + "; ALTER TABLE profiles ADD doubled text")
    target_db.execute("INSERT INTO profiles VALUES (3, 'B3', 'stale', 'kept')")
    # the source alone has `secret`, the target alone the rest; each side computes `doubled` or not
    given = ["SECRET", "mine", '"number"', "doubled"]
    some = pool(source_db, target_db, exclude=given)
    assert not verify(some).equal
    assert copy(some, batch_size=7).rows == 20
    found = target_db.query('SELECT id, a, "B", mine, doubled FROM profiles ORDER BY id')
    expected = [(i, f"a{i}", f"B{i}", "kept" if i == 3 else "default") for i in range(1, 21)]
    assert found == [(*row, None) for row in expected]
    target_db.execute("UPDATE profiles SET mine = 'other', doubled = 'x' WHERE id = 5")
    assert verify(some).equal
    made = pool(source_db, target_db, exclude=["secret"], target_table="made", create=True)
    assert copy(made).rows == 20
    assert (
        target_db.value(
            "SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute"
            " WHERE attrelid = 'made'::regclass AND attnum > 0"
        )
        == "id,a,B,doubled"
    )


def test_a_name_to_be_left_out_that_no_table_has(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    source_db.execute(SOURCE)
    target_db.execute(TARGET.format(key="PRIMARY KEY"))
    wrong = pool(source_db, target_db, exclude=["secrets", "mine", "number", "id"])
    problems = [str(found) for found in check(wrong).problems]
    with pytest.raises(TableMismatchError) as raised:
        copy(wrong)
    unknown = "there is no column secrets to be left out"
    no_key = 'the key "id" of the table "public"."profiles" can\'t be left out (`exclude`)'
    lacks = 'the target "public"."profiles" has no column "secret" (text in the source)'
    assert list(raised.value.differences) == [
        f"source source: {no_key}",
        f"target target: {no_key}",
        f"{BOTH}: {unknown}; fix the name (did you mean secret?)",
        f"{BOTH}: {lacks}; add it there, or leave it out (`exclude=['secret']`)",
    ]
    assert len(problems) == 4
    with pytest.raises(ConfigError, match="exclude does not go with columns"):
        PostgresPool(columns=["id"], exclude=["a"])
    with pytest.raises(ConfigError, match="exclude must be a sequence of names, not str"):
        PostgresPool(exclude="a")
    with pytest.raises(ConfigError, match=r"^key is empty; columns: '' is empty; where has a NUL"):
        PostgresPool(key="", where="\0", columns=["a", ""])


def test_what_is_no_column_to_copy_is_named(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    source_db.execute(SOURCE)
    target_db.execute(TARGET.format(key="PRIMARY KEY"))
    names = ["a", "nothing", "A", "doubled", "secrt"]
    with pytest.raises(TableMismatchError) as raised:
        copy(pool(source_db, target_db, columns=names))
    assert raised.value.differences == (
        'source source: the table "public"."profiles" has no column nothing',
        'source source: the column "a" of the table "public"."profiles" is named twice',
        f"source source: {GENERATED}",
        'source source: the table "public"."profiles" has no column secrt (did you mean "secret"?)',
        'target target: the table "public"."profiles" has no column nothing',
        'target target: the column "a" of the table "public"."profiles" is named twice',
        'target target: the table "public"."profiles" has no column doubled',
        'target target: the table "public"."profiles" has no column secrt',
    )


def test_a_column_that_needs_a_value_must_be_copied(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    source_db.execute(SOURCE)
    target_db.execute(
        "CREATE DOMAIN filled AS text NOT NULL; CREATE DOMAIN born AS text NOT NULL DEFAULT 'x';"
        "CREATE TABLE profiles (id int PRIMARY KEY, a text, n int NOT NULL, f filled, g born,"
        " m int NOT NULL DEFAULT 1, o serial)"
    )
    with pytest.raises(TableMismatchError) as raised:
        copy(pool(source_db, target_db, columns=["id", "a"]))
    told = "is not copied, may not be NULL and has no default"
    assert [told in difference for difference in raised.value.differences] == [True, True]
    assert '"n"' in raised.value.differences[0]
    assert '"f"' in raised.value.differences[1]
    target_db.execute("ALTER TABLE profiles ALTER n SET DEFAULT 5, ALTER f SET DEFAULT 'f'")
    copy(pool(source_db, target_db, columns=["id", "a"]))
    values = target_db.query("SELECT DISTINCT n, f, g, m FROM profiles")
    assert values == [(5, "f", "x", 1)]


def test_where_rows_would_be_replaced_there_must_be_no_others(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    source_db.execute(SOURCE)
    target_db.execute(TARGET.format(key=""))
    with pytest.raises(TableMismatchError, match="no valid unique index") as raised:
        copy(pool(source_db, target_db, columns=["a", "B"]))
    (difference,) = raised.value.differences
    assert 'that are not copied ("mine", "number")' in difference
    target_db.execute("ALTER TABLE profiles DROP mine, DROP number")
    for _ in range(2):  # the second one replaces
        copy(pool(source_db, target_db, columns=["B", "a"]))
        found = target_db.query('SELECT id, a, "B" FROM profiles ORDER BY id')
        assert found == [(i, f"a{i}", f"B{i}") for i in range(1, 21)]
        target_db.execute("UPDATE profiles SET a = 'stale' WHERE id % 2 = 0")


def test_a_column_that_can_not_be_read_need_not_be(source_db: TemporaryDatabase) -> None:
    source_db.execute(SOURCE)
    role = f"few_{source_db.name}"
    source_db.execute(f'CREATE ROLE {role} LOGIN; GRANT SELECT (id, a, "B") ON profiles TO {role}')
    try:
        uri = source_db.server.uri(source_db.name, user=role)
        with opened(uri, "source", columns=['"B"', "id", "a"]) as database:
            assert lines(database.describe(), "problem") == []
            # values come in the order in which they are named
            assert list(database.load_rows(2, 3)) == [("B2", 2, "a2")]
        with opened(uri, "source") as database:
            assert "no SELECT right" in " ".join(lines(database.describe(), "problem"))
    finally:
        source_db.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_rows_of_another_driver_are_in_the_order_of_the_names(
    target_db: TemporaryDatabase,
) -> None:
    target_db.execute(TARGET.format(key="PRIMARY KEY"))
    with opened(target_db, "target", columns=["a", "id"]) as database:
        database.save_rows([("one", 1), ("two", 2)])
    assert target_db.query("SELECT id, a, mine FROM profiles ORDER BY id") == [
        (1, "one", "default"),
        (2, "two", "default"),
    ]
