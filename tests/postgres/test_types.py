"""Types of the same name that are other types are told apart before the first row."""

from __future__ import annotations

import pytest

from pipecopy.contracts import Column, Side
from pipecopy.operations.fit import between
from tests.support.databases import TemporaryDatabase
from tests.support.opened import opened
from tests.support.runs import lines

pytestmark = pytest.mark.server

TABLE = "CREATE TABLE profiles (id int PRIMARY KEY, v {})"


def columns(database: TemporaryDatabase | str, side: Side = "source") -> tuple[Column, ...]:
    with opened(database, side) as connected:
        return connected.describe().columns


@pytest.mark.parametrize(
    ("types", "type_", "spelled"),
    [
        (
            "CREATE DOMAIN stage AS numeric(10,4)",
            "stage",
            "public.stage (domain over numeric(10,4))",
        ),
        (
            "CREATE DOMAIN stage AS int; CREATE DOMAIN stages AS stage[]",
            "stages[]",
            "public.stages[] (domain over public.stage[] (domain over integer))",
        ),
        (
            """CREATE DOMAIN plain AS text;
               CREATE TYPE pair AS (x numeric(10,4), gone int, y plain);
               ALTER TYPE pair DROP ATTRIBUTE gone""",
            "pair[]",
            'public.pair[] (composite: "x" numeric(10,4), "y" public.plain (domain over text))',
        ),
        ("CREATE TYPE rng AS RANGE (subtype = int)", "rng", "public.rng (range over integer)"),
        (
            "CREATE TYPE rng AS RANGE (subtype = int)",
            "rng_multirange",
            "public.rng_multirange (multirange over integer)",
        ),
        ("CREATE TYPE mood AS ENUM ('b', 'a')", "mood[]", "public.mood[] (enum: 'b', 'a')"),
        ("CREATE TYPE mood AS ENUM ()", "mood", "public.mood (enum: no values)"),
        ("CREATE TYPE row_like AS ()", "row_like", "public.row_like (composite: )"),
        ("", "int4multirange", "int4multirange"),
        ("", "numeric(5,2)[]", "numeric(5,2)[]"),
    ],
)
def test_a_type_is_described_by_what_it_is(
    source_db: TemporaryDatabase, types: str, type_: str, spelled: str
) -> None:
    source_db.execute(f"{types};{TABLE.format(type_)}")
    assert columns(source_db)[1].type == spelled


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("CREATE DOMAIN t AS int", "CREATE DOMAIN t AS real"),
        ("CREATE DOMAIN t AS numeric(10,4)", "CREATE DOMAIN t AS numeric(10,2)"),
        ("CREATE TYPE t AS (x int, y int)", "CREATE TYPE t AS (y int, x int)"),
        ("CREATE TYPE t AS (x numeric(10,4))", "CREATE TYPE t AS (x numeric(10,2))"),
        ("CREATE TYPE t AS RANGE (subtype = int)", "CREATE TYPE t AS RANGE (subtype = real)"),
        ("CREATE TYPE t AS ENUM ('a', 'b')", "CREATE TYPE t AS ENUM ('a', 'c')"),
    ],
)
@pytest.mark.parametrize("as_", ["t", "t[]"])
def test_types_of_the_same_name_that_differ_are_named(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, one: str, other: str, as_: str
) -> None:
    source_db.execute(f"{one};{TABLE.format(as_)}")
    target_db.execute(f"{other};{TABLE.format(as_)}")
    with opened(source_db, "source") as source, opened(target_db, "target") as target:
        (problem,) = lines(between(source.describe(), target.describe()), "problem")
        target_db.execute(f"DROP TABLE profiles; DROP TYPE t CASCADE; {one};{TABLE.format(as_)}")
        assert not lines(between(source.describe(), target.describe()), "problem")
    assert problem.startswith('column "v" is public.t')


def test_names_are_the_same_where_a_role_quotes_them_all(source_db: TemporaryDatabase) -> None:
    role = f"quoting_{source_db.name}"
    source_db.execute("CREATE DOMAIN stage AS numeric(10,4);" + TABLE.format("stage"))
    source_db.execute(f"CREATE ROLE {role} LOGIN; ALTER ROLE {role} SET quote_all_identifiers = on")
    try:
        assert columns(source_db.server.uri(source_db.name, user=role)) == columns(source_db)
    finally:
        source_db.execute(f"DROP ROLE {role}")
