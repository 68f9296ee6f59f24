"""Generated columns are compared too; no copy writes them, and no repair fixes them."""

from __future__ import annotations

import pytest

from pipecopy.errors import TableMismatchError
from pipecopy.observers.summary import summary_lines, verdict_line
from pipecopy.postgres import PostgresPool
from tests.support.databases import TemporaryDatabase, temporary_database
from tests.support.runs import copy, found, verify
from tests.support.servers import PASSWORD, PASSWORD_USER, PostgresServer

pytestmark = pytest.mark.server

TABLE = """
    CREATE FUNCTION f(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT {body}';
    CREATE TABLE profiles (id int PRIMARY KEY, n int, g int GENERATED ALWAYS AS (f(n)) {kind});
"""
ROWS = "INSERT INTO profiles (id, n) SELECT i, i % 3 FROM generate_series(1, 30) AS i"
OTHERS = tuple(range(1, 31, 3))
"""The ids for which the two bodies give another value."""


@pytest.fixture
def pool(source_db: TemporaryDatabase, target_db: TemporaryDatabase) -> PostgresPool:
    """Return the pool for two tables whose expressions read alike, but not what they call."""
    source_db.execute(TABLE.format(body="n", kind="STORED") + ROWS)
    target_db.execute(TABLE.format(body="n + (n = 1)::int", kind="STORED"))
    return PostgresPool({"source": source_db.uri, "target": target_db.uri})


@pytest.mark.parametrize("repair", ["", "repair"])
def test_another_body_of_a_function_differs_and_no_repair_helps(
    pool: PostgresPool, target_db: TemporaryDatabase, repair: str
) -> None:
    copy(pool)
    report = verify(pool, repair=bool(repair), delete_surplus=bool(repair))
    assert found(report) == ((), (), OTHERS)
    assert (report.generated, report.differing_generated) == (("g",), len(OTHERS))
    assert (report.equal, report.repaired) == (False, 0)
    assert verdict_line(report) == (
        'the tables differ in 10 ids: make the expressions of the generated column "g", and the'
        " functions that they call, the same on both sides and let the target compute them again,"
        " since a copy can't set them; or compare only the other columns (--columns)"
    )
    assert "10 ids of these in generated columns only" in summary_lines(report)
    target_db.execute(
        "CREATE OR REPLACE FUNCTION f(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT n';"
        "UPDATE profiles SET n = n"
    )
    assert verify(pool).equal


def test_what_a_copy_can_repair_is_told_apart(
    pool: PostgresPool, target_db: TemporaryDatabase
) -> None:
    copy(pool)
    target_db.execute(
        "UPDATE profiles SET n = 7 WHERE id IN (1, 2); DELETE FROM profiles WHERE id = 3"
    )
    report = verify(pool)
    assert found(report) == ((3,), (), (1, 2, *OTHERS[1:]))
    assert report.differing_generated == len(OTHERS) - 1
    assert (
        "run again with --repair, which copies 3 rows again (missing or differing) and deletes"
        " nothing; make the" in verdict_line(report)
    )
    report = verify(pool, repair=True)
    assert (report.repaired, report.differing_generated) == (2, len(OTHERS))
    assert verdict_line(report).startswith("the tables differ in 10 ids: make the expressions of")


@pytest.mark.parametrize(
    ("of_source", "of_target"),
    [
        ("", "g int GENERATED ALWAYS AS (1) STORED"),
        ("g int GENERATED ALWAYS AS (1) STORED", ""),
        ("g int GENERATED ALWAYS AS (1) STORED", "g bigint GENERATED ALWAYS AS (2) STORED"),
    ],
    ids=["the target's alone", "the source's alone", "another type"],
)
def test_the_verdict_says_what_was_not_compared(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, of_source: str, of_target: str
) -> None:
    for database, column in ((source_db, of_source), (target_db, of_target)):
        columns = ", ".join(filter(None, ("id int PRIMARY KEY", column)))
        database.execute(f"CREATE TABLE profiles ({columns}); INSERT INTO profiles VALUES (1)")
    report = verify(PostgresPool({"source": source_db.uri, "target": target_db.uri}))
    assert (report.equal, report.not_compared) == (True, ("g",))
    assert verdict_line(report) == ('the tables are equal; not compared: the generated column "g"')


def test_chosen_columns_are_compared_alone(pool: PostgresPool) -> None:
    copy(pool)
    report = verify(PostgresPool(pool.connections, columns=["n"]))
    assert (report.equal, report.generated, report.not_compared) == (True, (), ())
    assert verdict_line(report) == "the tables are equal"


def test_a_virtual_column_is_compared_with_a_stored_one(
    source_db: TemporaryDatabase, pg18: PostgresServer, target_db: TemporaryDatabase
) -> None:
    source_db.execute(TABLE.format(body="n", kind="STORED") + ROWS)
    target_db.execute(
        "CREATE TABLE profiles (id int PRIMARY KEY, n int, g int GENERATED ALWAYS AS"
        " (n + (n = 1)::int) VIRTUAL)"
    )
    pool = PostgresPool({"source": source_db.uri, "target": target_db.uri})
    copy(pool)
    report = verify(pool)
    assert (found(report), report.differing_generated) == (((), (), OTHERS), len(OTHERS))
    with temporary_database(pg18) as source:
        source.execute(
            "CREATE TABLE profiles (id int PRIMARY KEY, n int, g int GENERATED ALWAYS AS"
            f" (n + (n = 1)::int) VIRTUAL); {ROWS}"
        )
        report = verify(PostgresPool({"source": source.uri, "target": target_db.uri}))
        assert (report.equal, report.generated) == (True, ("g",))


def test_it_is_compared_beside_names_that_depend_on_the_search_path(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    for database, added in ((source_db, 1), (target_db, 2)):
        database.execute(
            "CREATE TABLE profiles (id int PRIMARY KEY, kind regclass,"
            f" g int GENERATED ALWAYS AS (id + {added}) STORED);"
            "INSERT INTO profiles VALUES (1, 'profiles')"
        )
    report = verify(PostgresPool({"source": source_db.uri, "target": target_db.uri}))
    assert (found(report), report.differing_generated) == (((), (), (1,)), 1)


def test_a_right_that_is_missing_is_named(
    pool: PostgresPool, source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    copy(pool)
    source_db.execute(f"GRANT SELECT (id, n) ON profiles TO {PASSWORD_USER}")
    reader = source_db.server.uri(source_db.name, user=PASSWORD_USER, password=PASSWORD)
    databases = {"source": reader, "target": target_db.uri}
    with pytest.raises(TableMismatchError, match="has no SELECT right on"):
        verify(PostgresPool(databases))
    assert copy(PostgresPool(databases)).rows == 30
    assert verify(PostgresPool(databases, columns=["n"])).equal
