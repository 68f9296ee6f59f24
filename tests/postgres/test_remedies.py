"""What is said to help does: each statement is run as it is given, and then a copy passes."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from pipecopy.contracts import TableDescription
from pipecopy.errors import DatabaseError
from pipecopy.finding import Finding, Mark
from tests.support.databases import Both, TemporaryDatabase
from tests.support.opened import copy, opened
from tests.support.runs import check
from tests.support.runs import copy as copy_all

pytestmark = pytest.mark.server

TRIGGER = (
    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''fires''; END';"
    'CREATE TRIGGER "Loud" AFTER INSERT ON {} FOR EACH ROW EXECUTE FUNCTION f();'
)
PARTS = """
    CREATE TABLE profiles (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
    CREATE TABLE low PARTITION OF profiles FOR VALUES FROM (0) TO (5);
    CREATE TABLE high PARTITION OF profiles FOR VALUES FROM (5) TO (50);
"""


@dataclass(frozen=True)
class Case:
    """A target that is not as it should be, and what is said of it."""

    target: str
    message: str
    remedy: str
    mark: Mark = "warning"
    exclude: tuple[str, ...] = ()


CASES = {
    "trigger": Case(
        f"CREATE TABLE profiles (id int PRIMARY KEY, n int); {TRIGGER.format('profiles')}",
        'fire for the copied rows: "Loud".',
        'ALTER TABLE public.profiles DISABLE TRIGGER "Loud";',
    ),
    "trigger of a partitioned table": Case(
        PARTS + TRIGGER.format("profiles"),
        'fire for the copied rows: "Loud".',
        'ALTER TABLE public.profiles DISABLE TRIGGER "Loud";',
    ),
    "triggers of partitions": Case(
        f"{PARTS} {TRIGGER.format('low')} CREATE TRIGGER other AFTER INSERT ON high"
        " FOR EACH ROW EXECUTE FUNCTION f();",
        '"Loud" of public.low, other of public.high.',
        'ALTER TABLE public.low DISABLE TRIGGER "Loud";'
        " ALTER TABLE public.high DISABLE TRIGGER other;",
    ),
    "trigger disabled for the partitioned table only": Case(
        f"{PARTS} {TRIGGER.format('profiles')} ALTER TABLE ONLY profiles DISABLE TRIGGER USER",
        '"Loud" of public.low, "Loud" of public.high.',
        'ALTER TABLE public.low DISABLE TRIGGER "Loud";'
        ' ALTER TABLE public.high DISABLE TRIGGER "Loud";',
    ),
    "no index": Case(
        "CREATE TABLE profiles (id int, n int)",
        'no valid unique index on "id" alone',
        'CREATE UNIQUE INDEX ON "public"."profiles" ("id");',
    ),
    "no index, others": Case(
        "CREATE TABLE profiles (id int, n int, mine text)",
        'would lose their values of the columns that are not copied ("mine")',
        'CREATE UNIQUE INDEX ON "public"."profiles" ("id");',
        "problem",
        ("mine",),
    ),
    "composite key": Case(
        "CREATE TABLE profiles (id int, n int, PRIMARY KEY (id, n))",
        "so rows that changed are removed and inserted again.",
        'if "id" is unique by itself: CREATE UNIQUE INDEX ON "public"."profiles" ("id");',
    ),
    "partitioned by another column": Case(
        "CREATE TABLE profiles (id int, n int) PARTITION BY RANGE (n);"
        "CREATE TABLE only_one PARTITION OF profiles DEFAULT",
        'is partitioned by "n", so no unique index can be on "id" alone, and rows that changed are'
        " removed and inserted again, and each batch may read the whole table.",
        'CREATE INDEX ON "public"."profiles" ("id");',
    ),
    "a column that needs a value": Case(
        'CREATE TABLE profiles (id int PRIMARY KEY, n int, "A b" text NOT NULL)',
        'The target\'s column "A b" is not copied, may not be NULL and has no default',
        'ALTER TABLE "public"."profiles" ALTER COLUMN "A b" DROP NOT NULL;',
        "problem",
        ("A b",),
    ),
}


def said(table: TableDescription, part: str) -> list[Finding]:
    return [found for found in table.findings if part in found.message]


@pytest.mark.parametrize("name", CASES)
def test_the_statement_that_is_given_helps(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, name: str
) -> None:
    case = CASES[name]
    source_db.execute(
        "CREATE TABLE profiles (id int PRIMARY KEY, n int);"
        "INSERT INTO profiles SELECT i, i FROM generate_series(1, 9) i"
    )
    target_db.execute(case.target)
    with opened(target_db, "target", exclude=case.exclude or None) as database:
        (found,) = said(database.describe(), case.message)
        assert (found.mark, found.remedy) == (case.mark, case.remedy)
    for statement in re.findall(r"(?:ALTER|CREATE) [^;]*;", case.remedy):
        target_db.execute(statement)
    with opened(target_db, "target", exclude=case.exclude or None) as database:
        assert said(database.describe(), case.message) == []
    copy(source_db, target_db, exclude=case.exclude or None)
    assert target_db.value("SELECT count(*) FROM profiles") == 9


@pytest.mark.parametrize(
    ("columns", "remedy"),
    [
        ('number int UNIQUE, "Other" bigint UNIQUE, n int', "`key='number'` or `key='\"Other\"'`."),
        ("id text PRIMARY KEY, number smallint UNIQUE", "`key='number'`."),
        ("a int, b int, PRIMARY KEY (a, b)", "(`key`): an integer (smallint, integer or bigint)"),
    ],
)
def test_a_missing_key_names_those_that_there_are(
    source_db: TemporaryDatabase, columns: str, remedy: str
) -> None:
    source_db.execute(f"CREATE TABLE profiles ({columns})")
    with opened(source_db, "source") as database:
        (found,) = database.describe().problems
    assert remedy in (found.remedy or "")


def test_a_foreign_key_to_the_table_itself(both: Both) -> None:
    table = (
        "CREATE TABLE profiles (id int PRIMARY KEY, boss int {});"
        "CREATE TABLE teams (id int PRIMARY KEY)"
    )
    both.source.execute(table.format("") + "; INSERT INTO profiles VALUES (1, 30), (30, NULL)")
    own = 'CONSTRAINT "My boss" REFERENCES profiles'
    both.target.execute(table.format(own))
    both.target.execute(
        "ALTER TABLE profiles ADD CONSTRAINT team FOREIGN KEY (id) REFERENCES teams"
    )
    foreign = {f.message: f.remedy or "" for f in check(both.pool()).items if "foreign" in f.what}
    to_itself, to_teams = foreign
    assert '"My boss" of public.profiles asks for rows of the table itself' in to_itself
    assert "team of public.profiles asks for a row of public.teams" in to_teams
    assert foreign[to_teams] == "Copy public.teams first."
    both.target.execute("INSERT INTO teams VALUES (1), (30)")
    with pytest.raises(DatabaseError, match="the row with the id 1 can't be saved") as raised:
        copy_all(both.pool(), batch_size=1)
    remedy = foreign[to_itself]
    assert "in one batch (`batch_size`, `max_batch_bytes`)" in remedy
    assert remedy[1:] in str(raised.value)
    drop, add = re.findall(r"ALTER [^;]*;", remedy)
    both.target.execute(drop)
    assert copy_all(both.pool(), batch_size=1).rows == 2
    both.target.execute(add)
    both.target.execute("DELETE FROM profiles")
    assert copy_all(both.pool(), batch_size=2).rows == 2
    both.target.execute('ALTER TABLE profiles ALTER CONSTRAINT "My boss" NOT ENFORCED')  # of 18
    about = [item.message for item in check(both.pool()).items if "foreign" in item.what]
    assert about == [to_teams]


def test_a_missing_table_names_those_that_are_like_it(source_db: TemporaryDatabase) -> None:
    source_db.execute('CREATE SCHEMA shop; CREATE TABLE shop."Orders" (id int PRIMARY KEY)')
    for name in ("orders", "public.Orders", "ordres"):
        with opened(source_db, "source", table=name) as database:
            (found,) = database.describe().problems
        assert 'did you mean shop."Orders"?' in (found.remedy or "")
    with opened(source_db, "source", table="profiles") as database:
        (found,) = database.describe().problems
    assert "did you mean" not in (found.remedy or "")
