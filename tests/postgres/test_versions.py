"""Values that two versions of the server write or read differently."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pipecopy.errors import DatabaseError
from pipecopy.postgres import PostgresPool
from pipecopy.postgres.errors import PostgresError
from pipecopy.report import CheckPlan
from tests.postgres.test_lock import check_is_told
from tests.support.databases import TemporaryDatabase, temporary_database
from tests.support.opened import opened
from tests.support.runs import check, copy, found, verify
from tests.support.servers import PostgresServer

pytestmark = pytest.mark.server

TYPES = """
    CREATE DOMAIN age AS interval;
    CREATE TYPE pair AS (x int, y interval);
    CREATE TYPE ages AS RANGE (subtype = interval);
    CREATE TYPE letters AS RANGE (subtype = "char");
    CREATE TYPE word AS (first "char", others "char"[]);
    CREATE DOMAIN letter AS "char";
"""
LONGEST = "178956970 years 7 mons 2147483647 days 2562047788:00:54.775807"
HOLDING = {
    "interval": "'{}'",
    "interval day to second(6)": "'{}'",
    "age": "'{}'",
    "interval[]": "ARRAY[NULL, '1 day', '{}']::interval[]",
    "pair": "ROW(1, '{}')::pair",
    "ages": "'[\"-1 day\",{}]'",
    "ages_multirange": "'{{[1 day,2 days],[3 days,{}]}}'",
}
"""A value of each type that holds an interval."""
HIGH = '(-56)::"char"'
LETTERS = {
    '"char"': "{0}",
    "letter": "{0}",
    '"char"[]': "ARRAY['a', {0}]",
    "word": "ROW('a', ARRAY[{0}])::word",
    "letters": "letters(' ', {0})",
    "letters_multirange": "letters_multirange(letters(' ', {0}))",
}
"""A value of each type that holds a "char"."""


def both(
    source: TemporaryDatabase, target: TemporaryDatabase, columns: str, of_target: str = ""
) -> PostgresPool:
    """Make the table on both sides."""
    for database, own in ((source, columns), (target, of_target or columns)):
        database.execute(f"{TYPES} CREATE TABLE profiles (id bigint PRIMARY KEY, {own})")
    return PostgresPool({"source": source.uri, "target": target.uri})


def planned(pool: PostgresPool) -> tuple[str | None, str]:
    report = check(pool)
    assert report.can_start
    assert isinstance(report.plan, CheckPlan)
    return report.plan.format, report.plan.format_reason or ""


@pytest.fixture
def on_14(pg14: PostgresServer) -> Iterator[TemporaryDatabase]:
    with temporary_database(pg14) as database:
        yield database


def test_a_role_without_rights_is_told_who_holds_the_table(on_14: TemporaryDatabase) -> None:
    role = "sees_little"
    on_14.execute(f"CREATE ROLE {role} LOGIN")
    try:
        check_is_told(on_14, role)
    finally:
        on_14.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.fixture
def on_16(pg16: PostgresServer) -> Iterator[TemporaryDatabase]:
    with temporary_database(pg16) as database:
        yield database


@pytest.fixture
def on_18(target_db: TemporaryDatabase) -> TemporaryDatabase:
    return target_db


@pytest.fixture
def on(
    on_14: TemporaryDatabase, on_16: TemporaryDatabase, on_18: TemporaryDatabase
) -> dict[int, TemporaryDatabase]:
    return {14: on_14, 16: on_16, 18: on_18}


@pytest.mark.parametrize("form", ["binary", "text"])
def test_infinity_does_not_become_a_long_time(
    on_18: TemporaryDatabase, on_16: TemporaryDatabase, form: str
) -> None:
    assert_refused(on_18, on_16, ("infinity", "-infinity"), form=form)


@pytest.mark.parametrize("form", ["binary", "text"])
def test_a_long_time_does_not_become_infinity(
    on_16: TemporaryDatabase, on_18: TemporaryDatabase, form: str
) -> None:
    assert_refused(on_16, on_18, (LONGEST,), form=form)


def assert_refused(
    source: TemporaryDatabase, target: TemporaryDatabase, odd: tuple[str, ...], *, form: str
) -> None:
    """See that the values arrive, and the odd ones are refused, whatever holds them."""
    names = [f"c{number}" for number in range(len(HOLDING))]
    columns = ", ".join(f"{name} {type_}" for name, type_ in zip(names, HOLDING, strict=True))
    pool = both(
        source, target, f"o int, {columns}", f"o {'text' if form == 'text' else 'int'}, {columns}"
    )
    finite = ", ".join(value.format("2 years 3 days 04:05:06.5") for value in HOLDING.values())
    nothing = ", NULL" * (1 + len(names))
    source.execute(f"INSERT INTO profiles VALUES (1, 1, {finite}), (2{nothing})")
    foretold, reason = planned(pool)
    assert foretold == form
    assert "the copy would end at" in reason
    assert copy(pool).rows == 2
    assert verify(pool).equal
    rows = [
        (name, value.format(one))
        for name, (type_, value) in zip(names, HOLDING.items(), strict=True)
        for one in odd
        if not (type_.startswith("ages") and one.startswith("-"))  # no range ends before it begins
    ]
    assert_each_refused(source, target, rows, "interval")
    with pytest.raises(DatabaseError, match=r"id 777; change the value") as told:
        copy(pool)
    assert (told.value.side, told.value.call) == ("source", "load_rows")


def assert_each_refused(
    source: TemporaryDatabase, target: TemporaryDatabase, values: list[tuple[str, str]], what: str
) -> None:
    """See that a row with any of these values, by column, is refused by the column's name."""
    with opened(target, "target") as writer:
        other = writer.describe()
    with opened(source, "source", other=other) as reader:
        for name, value in values:
            source.execute(
                f"DELETE FROM profiles WHERE id = 777;"
                f"INSERT INTO profiles (id, {name}) VALUES (777, {value})"
            )
            with pytest.raises(PostgresError) as told:
                reader.load_rows(0, 1000)
            said = str(told.value)
            assert said.startswith(f'the column "{name}" has ')
            assert what in said
            assert ", in the row with the id 777" in said


def test_the_shortest_time_does_not_become_infinity(
    on_16: TemporaryDatabase, on_18: TemporaryDatabase
) -> None:
    """A 16 does not read the text of it; its binary form it does."""
    pool = both(on_16, on_18, "i interval")
    least = b"\x80" + bytes(7) + (b"\x80" + bytes(3)) * 2
    with (
        on_16.connect() as connection,
        connection.cursor().copy("COPY profiles FROM STDIN (FORMAT binary)") as rows,
    ):
        key = b"\0\0\0\10" + bytes(7) + b"\1"
        rows.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        rows.write(b"\0\2" + key + b"\0\0\0\20" + least + b"\xff\xff")
    with pytest.raises(DatabaseError, match="the longest interval, which is infinite to"):
        copy(pool)


def test_infinity_arrives_where_both_sides_have_it(
    pg18: PostgresServer, target_db: TemporaryDatabase
) -> None:
    with temporary_database(pg18) as source:
        pool = both(source, target_db, 'i interval, c "char"')
        source.execute(f"INSERT INTO profiles VALUES (1, 'infinity', {HIGH})")
        assert planned(pool) == (
            "binary",
            "every column has the same binary form on both sides",
        )
        copy(pool)
        assert target_db.query("SELECT i::text, c::int FROM profiles") == [("infinity", -56)]


def test_the_text_of_an_infinite_interval_is_a_text(
    on_18: TemporaryDatabase, on_16: TemporaryDatabase
) -> None:
    pool = both(on_18, on_16, "i interval", "i text")
    on_18.execute("INSERT INTO profiles VALUES (1, 'infinity')")
    copy(pool)
    assert on_16.value("SELECT i FROM profiles") == "infinity"


def test_the_longest_interval_differs_from_infinity(
    on_16: TemporaryDatabase, on_18: TemporaryDatabase
) -> None:
    pool = both(on_16, on_18, "i interval")
    on_16.execute(f"INSERT INTO profiles VALUES (1, '{LONGEST}')")
    on_18.execute("INSERT INTO profiles VALUES (1, 'infinity')")
    assert found(verify(pool)) == ((), (), (1,))


@pytest.mark.parametrize("versions", [(18, 14), (14, 16)], ids=str)
def test_a_byte_as_a_char_arrives_and_is_equal(
    on: dict[int, TemporaryDatabase], versions: tuple[int, int]
) -> None:
    source, target = (on[version] for version in versions)
    columns = ", ".join(f"c{number} {type_}" for number, type_ in enumerate(LETTERS))
    pool = both(source, target, f"i interval, {columns}")
    values = ", ".join(value.format(HIGH) for value in LETTERS.values())
    source.execute(f"INSERT INTO profiles VALUES (1, '1 day', {values})")
    source.execute(
        'INSERT INTO profiles (id, c0) SELECT i + 1000, (i - 128)::"char"'
        " FROM generate_series(0, 255) AS i"
    )
    assert planned(pool)[0] == "binary"
    assert copy(pool, batch_size=1000).rows == 257
    assert target.query("SELECT c0::int FROM profiles ORDER BY id") == source.query(
        "SELECT c0::int FROM profiles ORDER BY id"
    )
    assert verify(pool, batch_size=1000).equal
    target.execute('UPDATE profiles SET c0 = 92::"char" WHERE id = 1072')
    backslash = '92::"char"'  # what 14 reads of such a byte's text
    for number, value in enumerate(LETTERS.values()):
        insert = f"INSERT INTO profiles (id, c{number}) VALUES ({number + 2}, "
        source.execute(f"{insert}{value.format(HIGH)})")
        target.execute(f"{insert}{value.format(backslash)})")
    assert found(verify(pool, batch_size=1000)) == ((), (), (2, 3, 4, 5, 6, 7, 1072))


@pytest.mark.parametrize("versions", [(16, 14), (14, 18)], ids=str)
def test_a_byte_as_a_char_is_refused_where_it_can_only_go_as_text(
    on: dict[int, TemporaryDatabase], versions: tuple[int, int]
) -> None:
    source, target = (on[version] for version in versions)
    columns = ", ".join(f"c{number} {type_}" for number, type_ in enumerate(LETTERS))
    pool = both(source, target, f"o int, {columns}", f"o text, {columns}")
    source.execute(
        'INSERT INTO profiles (id, c0) SELECT i, i::"char" FROM generate_series(0, 127) AS i'
    )
    form, reason = planned(pool)
    assert (form, "not an ASCII character" in reason) == ("text", True)
    copy(pool, batch_size=1000)
    assert target.query("SELECT c0::int FROM profiles ORDER BY id") == [(i,) for i in range(128)]
    assert verify(pool, batch_size=1000).equal
    values = [(f"c{number}", value.format(HIGH)) for number, value in enumerate(LETTERS.values())]
    assert_each_refused(source, target, values, "PostgreSQL 14")


def test_a_jsonpath_is_refused_that_14_writes_as_another_one(
    on_14: TemporaryDatabase, on_18: TemporaryDatabase
) -> None:
    pool = both(on_14, on_18, "p jsonpath")
    on_14.execute(
        "INSERT INTO profiles VALUES (1, '$.a + (1.5).ceiling()'), (2, '-$.a'), (3, '$.a + (-1)')"
    )
    assert "a negative number" in planned(pool)[1]
    assert copy(pool).rows == 3
    results = "SELECT jsonb_path_query(jsonb '{\"a\": 7}', p)::text FROM profiles"
    assert on_18.query(results) == on_14.query(results)
    values = [("p", "'(-1.5).ceiling()'"), ("p", "'$.a * (-1)[0]'")]
    assert_each_refused(on_14, on_18, values, "PostgreSQL 14 writes as")


def test_a_byte_as_a_char_arrives_as_text_where_both_write_it_alike(
    on_16: TemporaryDatabase, on_18: TemporaryDatabase
) -> None:
    pool = both(on_16, on_18, 'o int, c "char"', 'o text, c "char"')
    on_16.execute(f"INSERT INTO profiles VALUES (1, 1, {HIGH})")
    copy(pool)
    assert on_18.value("SELECT c::int FROM profiles") == -56
    assert verify(pool).equal


def test_an_interval_leaves_the_largest_bytea_whole(
    on_16: TemporaryDatabase, on_18: TemporaryDatabase
) -> None:
    """As text it would be twice as large, and its row too."""
    pool = both(on_16, on_18, "i interval, b bytea")
    on_16.execute(
        "INSERT INTO profiles SELECT 1, '1 day', string_agg(sha256(i::text::bytea), '')"
        " FROM generate_series(1, 1000) AS i"
    )
    report: Any = copy(pool)
    assert 32_000 < report.bytes < 33_000
    assert verify(pool).equal


def test_a_refusal_goes_with_a_condition_and_with_names(
    on_18: TemporaryDatabase, on_16: TemporaryDatabase
) -> None:
    both(on_18, on_16, "i interval, kind regclass")
    on_18.execute(
        "INSERT INTO profiles VALUES (1, '1 day', 'profiles'), (2, 'infinity', 'profiles'),"
        " (3, 'infinity', NULL)"
    )
    databases = {"source": on_18.uri, "target": on_16.uri}
    pool = PostgresPool(databases, where="kind IS NOT NULL AND id <> 2")
    assert copy(pool).rows == 1
    assert verify(pool).equal
    with pytest.raises(DatabaseError, match=r'the column "i" has an infinite interval.* id 3'):
        copy(PostgresPool(databases, where="id <> 2"))
    assert copy(PostgresPool(databases, columns=["kind"])).rows == 3
