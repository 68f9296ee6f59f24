"""A row that the target refuses is named by its id, with what is in its way and what helps."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from pipecopy.postgres.errors import PostgresError
from tests.support.databases import TemporaryDatabase
from tests.support.opened import handed_over, opened

pytestmark = pytest.mark.server

SOURCE = "CREATE TABLE profiles (id int PRIMARY KEY, n int, t text, j json);"
TARGET = "CREATE TABLE profiles (id int PRIMARY KEY, n {n}, t {t}, j {j}{more});"


@dataclass(frozen=True)
class Case:
    """What is different in the target, and what is said of the one row that it refuses."""

    row: str
    """The row with the id 7 of the source; those with other ids have (id, id, 'x<id>', '1')."""
    said: str
    sqlstate: str
    remedy: str
    n: str = "int"
    t: str = "text"
    j: str = "json"
    more: str = ""
    after: str = ""
    before: str = ""


CASES = {
    "null": Case(
        "NULL, 'x', '1'",
        'the (column "n" of the )?row with the id 7 can\'t be saved: null value in column "n"',
        "23502",
        'or allow it: ALTER TABLE "public"."profiles" ALTER COLUMN "n" DROP NOT NULL;',
        n="int NOT NULL",
    ),
    "check": Case(
        "-5, 'x', '1'",
        'the row with the id 7 can\'t be saved: new row .* violates check constraint "plus"',
        "23514",
        'or allow it: ALTER TABLE public.profiles DROP CONSTRAINT "plus";',
        n="int CONSTRAINT plus CHECK (n > 0)",
    ),
    "unique": Case(
        "3, 'x', '1'",
        "the row with the id 7 can't be saved: the row with the id 3 of the same batch has its"
        " value in the unique index profiles_n_key",
        "23505",
        "change one of the two rows in the source",
        n="int UNIQUE",
    ),
    "unique in the target": Case(
        "3000, 'x', '1'",
        "the row with the id 7 can't be saved: the row with the id 4000 of the target table"
        ' "public"."profiles" has its value in the unique index profiles_n_key',
        "23505",
        r"run `verify_tables\(repair=True\)`, which writes both in one transaction",
        n="int UNIQUE",
        before="INSERT INTO profiles VALUES (4000, 3000)",
    ),
    "unique expression": Case(
        "7, 'X3', '1'",
        "the row with the id 7 can't be saved: the row with the id 3 of the same batch",
        "23505",
        "",
        before="CREATE UNIQUE INDEX ON profiles (lower(t)) WHERE n > 0",
    ),
    "exclusion": Case(
        "3, 'x', '1'",
        "the row with the id 7 can't be saved: the row with the id 3 of the same batch has a value"
        " that excludes its own in the exclusion constraint apart",
        "23P01",
        "",
        more=", CONSTRAINT apart EXCLUDE (n WITH =)",
    ),
    "foreign key": Case(
        "777, 'x', '1'",
        "the row with the id 7 can't be saved: insert or update .* violates foreign key",
        "23503",
        "copy public.parents first",
        n="int REFERENCES parents",
        before="INSERT INTO parents SELECT generate_series(0, 20)",
    ),
    "own foreign key of a partition": Case(
        "777, 'x', '1'",
        "the row with the id 7 can't be saved: insert or update .* violates foreign key",
        "23503",
        "in one batch .*ALTER TABLE public.profiles DROP CONSTRAINT",
        n="int REFERENCES profiles",
        more=") PARTITION BY RANGE (id",
        before="CREATE TABLE part PARTITION OF profiles FOR VALUES FROM (0) TO (5000)",
    ),
    "check of a partition": Case(
        "-5, 'x', '1'",
        'the row with the id 7 can\'t be saved: new row .* violates check constraint "plus"',
        "23514",
        'or allow it: ALTER TABLE public.profiles DROP CONSTRAINT "plus";',
        n="int CONSTRAINT plus CHECK (n > 0)",
        more=") PARTITION BY RANGE (id",
        before="CREATE TABLE part PARTITION OF profiles FOR VALUES FROM (0) TO (5000)",
    ),
    "unique in a partition": Case(
        "3, 'x', '1'",
        "the row with the id 7 can't be saved: the row with the id 3 of the same batch has its"
        " value in the unique index part_n_idx",
        "23505",
        "change one of the two rows in the source",
        more=") PARTITION BY RANGE (id",
        before="CREATE TABLE part PARTITION OF profiles FOR VALUES FROM (0) TO (5000);"
        "CREATE UNIQUE INDEX ON part (n)",
    ),
    "enum": Case(
        "7, 'new', '1'",
        'the column "t" of the row with the id 7 can\'t be saved: invalid input value for enum',
        "22P02",
        r"add its label to the enum in the target \(ALTER TYPE public.mood ADD VALUE\)",
        t="mood",
    ),
    "own foreign key": Case(
        "777, 'x', '1'",
        "the row with the id 7 can't be saved: insert or update .* violates foreign key",
        "23503",
        "in one batch .*DROP CONSTRAINT .*ADD CONSTRAINT",
        n="int REFERENCES profiles",
    ),
    "own foreign key, deferred": Case(
        "777, 'x', '1'",
        "the row with the id 7 can't be saved: insert or update .* violates foreign key",
        "23503",
        "in one batch",
        n="int REFERENCES profiles DEFERRABLE INITIALLY DEFERRED",
    ),
    "too long": Case(
        "7, 'long', '1'",
        'the column "t" of the row with the id 7 can\'t be saved: value too long',
        "22001",
        r"the column \(`exclude=\['t'\]`\), or leave out the row \(`where='\"id\" <> 7'`\)",
        t="varchar(3)",
    ),
    "out of range": Case(
        "40000, 'x', '1'",
        'the column "n" of the row with the id 7 can\'t be saved: value .*out of range',
        "22003",
        "",
        n="smallint",
    ),
    "domain": Case(
        "40, 'x', '1'",
        'the column "n" of the row with the id 7 can\'t be saved: value for domain',
        "23514",
        "",
        n="small",
    ),
    "NUL in JSON": Case(
        "7, 'x', '\"\\u0000\"'",
        'the column "j" of the row with the id 7 can\'t be saved: unsupported Unicode escape',
        "22P05",
        r"exclude=\['j'\]",
        j="jsonb",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_row_that_the_target_refuses_is_named(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, name: str
) -> None:
    case = CASES[name]
    source_db.execute(
        f"{SOURCE} INSERT INTO profiles SELECT i, i, 'x' || i, '1' FROM generate_series(1, 20) i"
        f" WHERE i <> 7; INSERT INTO profiles VALUES (7, {case.row})"
    )
    target_db.execute(
        "CREATE DOMAIN small AS int CHECK (VALUE < 30); CREATE TABLE parents (id int PRIMARY KEY);"
        f"CREATE TYPE mood AS ENUM ({', '.join(repr(f'x{i}') for i in range(1, 21))});"
        + TARGET.format(n=case.n, t=case.t, j=case.j, more=case.more)
        + case.before
    )
    with (
        opened(source_db, "source") as reader,
        opened(target_db, "target") as writer,
    ):
        of_source, of_target = reader.describe(), writer.describe()
        writer.meet(of_source)
        reader.meet(of_target)
        rows = handed_over(reader.load_rows(0, 30))
        for saved in (0, 7):  # into an empty table directly, then by a table in between
            with pytest.raises(PostgresError) as raised:
                writer.save_rows(rows)
            error = raised.value
            assert re.search(case.said, error.message), error.message
            assert error.sqlstate == case.sqlstate
            assert re.search(case.remedy, error.remedy or ""), error.remedy
            assert target_db.value("SELECT count(*) FROM profiles WHERE id < 100") == saved
            writer.save_rows(handed_over(reader.load_rows(8, 15)))  # the session works on
