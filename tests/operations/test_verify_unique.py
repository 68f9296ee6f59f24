"""Rows that have each other's unique values are repaired in one transaction, or named."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from pipecopy.contracts import Side
from pipecopy.errors import TableMismatchError
from pipecopy.events import CallStarted, Event
from pipecopy.report import VerifyReport
from tests.operations.live import LiveDatabase, LivePool
from tests.support.databases import Both, TemporaryDatabase
from tests.support.runs import found, verify

pytestmark = pytest.mark.server

COLUMNS = (
    "id int PRIMARY KEY, u int, a int, b int, p int, e text, x int4range, d int, f int, n int,"
    " other int DEFAULT 7"
)
UNIQUE = """
    ALTER TABLE profiles ADD UNIQUE (u), ADD UNIQUE (a, b), ADD EXCLUDE USING gist (x WITH &&),
        ADD UNIQUE (d) DEFERRABLE INITIALLY DEFERRED, ADD UNIQUE (f) DEFERRABLE,
        ADD UNIQUE NULLS NOT DISTINCT (n);
    CREATE UNIQUE INDEX partial ON profiles (p) WHERE p > 0;
    CREATE UNIQUE INDEX expression ON profiles (lower(e));
    UPDATE profiles SET other = id
"""
KINDS = ("u", "b", "p", "e", "x", "d", "f", "n")
COPIED = ["u", "a", "b", "p", "e", "x", "d", "f", "n"]


def fill(database: TemporaryDatabase) -> None:
    database.execute(
        f"CREATE TABLE profiles ({COLUMNS}); INSERT INTO profiles SELECT i, i, 1, i, i, 'E' || i,"
        " int4range(10 * i, 10 * i + 5), i, i, nullif(i, 60) FROM generate_series(1, 60) AS i"
    )


def permute(database: TemporaryDatabase, column: str, *ids: int) -> None:
    """Give each row the value of the next, and the last one that of the first."""
    before = dict(database.query(f"SELECT id, {column}::text FROM profiles"))
    type_ = database.value(f"SELECT pg_typeof({column})::text FROM profiles LIMIT 1")
    for key, other in zip(ids, (*ids[1:], ids[0]), strict=True):
        database.execute(
            f"UPDATE profiles SET {column} = %s::{type_} WHERE id = %s", [before[other], key]
        )


def test_rows_that_swapped_unique_values_of_any_kind(both: Both) -> None:
    for database in (both.source, both.target):
        fill(database)
    both.target.execute(UNIQUE)
    for number, column in enumerate(KINDS):
        permute(both.source, column, 2 * number + 1, 2 * number + 2)  # in one batch, or in two
        permute(both.source, column, 20 + number, 40 + number)
        permute(both.source, column, 30 + number, 19, 50 + number)
    permute(both.source, "n", 60, 1)  # a NULL
    pool = both.pool(columns=COPIED)
    differing = found(verify(pool))[2]
    calls: list[str] = []

    def observe(event: Event) -> None:
        if isinstance(event, CallStarted):
            calls.append(event.where.call)

    report = verify(pool, repair=True, observer=observe)
    assert (report.equal, report.not_repaired_ids) == (True, ())
    assert (tuple(sorted(report.differing_ids)), report.repaired) == (differing, len(differing))
    assert "exchange_rows" in calls
    of_source, of_target = (
        database.query(f"SELECT id, ROW({', '.join(COPIED)})::text FROM profiles ORDER BY id")
        for database in (both.source, both.target)
    )
    assert of_source == of_target
    assert both.target.value("SELECT count(*) FROM profiles WHERE other = id") == 60
    exchanged = [warning for warning in report.warnings if "in one transaction" in warning]
    assert "ids 1-10, 60 had" in exchanged[0]


def test_a_verification_names_the_rows_that_have_each_others_values(both: Both) -> None:
    """Not those that are equal, have a NULL, or take a value that another one gives up."""
    for database in (both.source, both.target):
        fill(database)
    both.target.execute(UNIQUE)
    permute(both.source, "u", 1, 2)
    permute(both.source, "u", 10, 11, 50)  # a ring of three, in three ranges
    permute(both.source, "b", 30, 31)
    permute(both.source, "d", 40, 41)
    permute(both.source, "n", 60, 20)  # a NULL
    both.source.execute("UPDATE profiles SET u = -u WHERE id = 5")
    both.source.execute("UPDATE profiles SET u = 5 WHERE id = 6")
    both.source.execute("UPDATE profiles SET u = 1, other = 1 WHERE id = 7")  # as the row 2
    differing = (1, 2, 5, 6, 7, 10, 11, 20, 30, 31, 40, 41, 50, 60)
    report = verify(both.pool(columns=COPIED))
    assert (found(report)[2], report.equal) == (differing, False)
    assert [w for w in report.warnings if "each other's" in w] == [
        f"the rows with the ids {ids} have each other's values in the unique index {index}:"
        " `verify_tables(repair=True)` writes them in one transaction"
        for ids, index in (
            ("30-31", "profiles_a_b_key"),
            ("40-41", "profiles_d_key"),
            ("1-2, 10-11, 50", "profiles_u_key"),
        )
    ]


def emails(both: Both, source: str, target: str) -> None:
    for database, values in ((both.source, source), (both.target, target)):
        database.execute(
            "CREATE TABLE profiles (id int PRIMARY KEY, email text);"
            f"INSERT INTO profiles VALUES {values}"
        )
    both.target.execute("ALTER TABLE profiles ADD UNIQUE (email)")


def reasons(report: VerifyReport) -> list[tuple[int, str]]:
    return [(each.first_id, each.reason) for each in report.not_repaired_ids]


class SilentPool(LivePool):
    """One side does not tell its unique values."""

    def connect(self, dbname: str) -> Any:
        database = self.pool.connect(dbname)
        return SilentDatabase(database, self) if self.is_side else database


class SilentDatabase(LiveDatabase):
    def value_checksums(self, ids: Sequence[int], columns: Sequence[Sequence[str]]) -> Any:  # noqa: ARG002 - as the contract has it
        if self._pool.side == "source":
            raise psycopg.errors.NumericValueOutOfRange
        time.sleep(60)


@pytest.mark.parametrize("side", ["source", "target"])
def test_that_values_are_not_told_changes_no_verdict(both: Both, side: Side) -> None:
    emails(both, "(1, 'x'), (2, 'y')", "(1, 'y'), (2, 'x')")
    report = verify(SilentPool(both.pool(), side, "", "", lists=0), call_timeout=1)
    assert (report.differing_ids, report.outcome, report.warnings) == ((1, 2), "complete", ())


def test_that_they_can_not_be_told_is_a_warning(both: Both) -> None:
    emails(both, "(1, 'x'), (2, 'y')", "(1, 'y'), (2, 'x')")
    report = verify(SilentPool(both.pool(), "target", "", "", lists=0), full_copy_timeout=2)
    assert (report.differing_ids, report.outcome) == ((1, 2), "complete")
    (warning,) = report.warnings
    assert "it is not known whether rows have each other's unique values: the whole" in warning


def test_a_chain_ends_at_a_value_that_nobody_has(both: Both) -> None:
    emails(both, "(1, 'b'), (20, 'c'), (40, 'd')", "(1, 'a'), (20, 'b'), (40, 'c')")
    report = verify(both.pool(), repair=True)
    assert (report.differing_ids, report.repaired, report.equal) == ((1, 20, 40), 3, True)


def test_a_repair_names_those_alone_that_had_each_others_values(both: Both) -> None:
    """Not the others that were repaired with them."""
    rows = "(1, 'a1'), (2, 'a2'), (3, 'a3')"
    more = "(5, 'e'), (6, 'f'), (7, NULL), (9, 'new'), (10, 'a'), (11, 'b')"
    emails(both, f"{rows}, {more}", f"{rows}, (9, 'old'), (10, 'b'), (11, 'a')")
    both.target.execute(
        "ALTER TABLE profiles DROP CONSTRAINT profiles_email_key, ADD UNIQUE (email) INCLUDE (id)"
    )
    report = verify(both.pool(), repair=True, batch_size=100)
    assert (found(report), report.repaired, report.equal) == (((5, 6, 7), (), (9, 10, 11)), 6, True)
    (warning,) = report.warnings
    assert warning == (
        "target target: the rows with the ids 10-11 had each other's unique values: they were"
        " removed and inserted again in one transaction"
    )


@pytest.mark.parametrize("other", [2, 90], ids=["together", "apart"])
def test_a_unique_index_with_a_column_that_is_not_copied(both: Both, other: int) -> None:
    """The batch lacks that column: which of the rows have each other's values can't be told."""
    more = ", ".join(f"({key}, 'e{key}')" for key in range(4, 30))
    source, target = f"(1, 'x'), ({other}, 'y'), (3, 'n')", f"(1, 'y'), ({other}, 'x'), (3, 'o')"
    emails(both, f"{source}, {more}", f"{target}, {more}")
    both.target.execute(
        "ALTER TABLE profiles DROP CONSTRAINT profiles_email_key, ADD own int DEFAULT 1,"
        " ADD UNIQUE (email, own)"
    )
    report = verify(both.pool(columns=["email"]), repair=True)
    assert (report.outcome, report.equal) == ("complete", other == 2)
    if report.equal:
        (warning,) = report.warnings
        assert "some of the rows with the ids 1-3 had each other's unique values" in warning
    else:
        assert [refused for refused, _ in reasons(report)] == [1, 90]
        assert "profiles_email_own_key" in reasons(report)[0][1]


def test_a_surplus_row_has_the_value(both: Both) -> None:
    """And is far from the row that needs it; only `delete_surplus` removes it."""
    emails(both, "(1, 'x'), (2, 'y')", "(2, 'z'), (90, 'x')")
    kept = verify(both.pool(), repair=True)
    assert found(kept) == ((1,), (90,), (2,))
    assert (kept.repaired, kept.not_repaired, kept.left) == (1, 1, 2)
    ((refused, reason),) = reasons(kept)
    assert refused == 1
    assert reason == (
        "the row with the id 90 has its unique value: it is only in the target, and"
        " `verify_tables(repair=True, delete_surplus=True)` would delete it"
    )
    report = verify(both.pool(), repair=True, delete_surplus=True)
    assert found(report) == ((1,), (90,), ())
    assert (report.repaired, report.deleted, report.equal) == (1, 1, True)
    assert report.warnings == ()


def test_a_row_outside_of_the_range_has_the_value(both: Both) -> None:
    emails(both, "(1, 'x'), (2, 'q'), (90, 'y')", "(1, 'y'), (2, 'w'), (90, 'x')")
    report = verify(both.pool(), to_id=50, repair=True, batch_size=100)
    ((refused, reason),) = reasons(report)
    assert reason == (
        "the row with the id 90 has its unique value: it is outside of the ids that are compared"
    )
    assert (refused, report.repaired, report.left) == (1, 1, 1)


def test_a_source_that_has_the_value_twice(both: Both) -> None:
    emails(both, "(1, 'x'), (2, 'x'), (3, 'new')", "(1, 'a'), (2, 'x'), (3, 'old')")
    report = verify(both.pool(), repair=True)
    ((refused, reason),) = reasons(report)
    assert (refused, report.repaired, report.left) == (1, 1, 1)
    assert "profiles_email_key" in reason


def test_a_row_that_a_condition_hides_is_not_removed(both: Both) -> None:
    emails(both, "(1, 'x'), (2, 'y'), (3, 'z')", "(1, 'y'), (2, 'x'), (3, 'z')")
    for database in (both.source, both.target):
        database.execute("ALTER TABLE profiles ADD region text DEFAULT 'eu'")
        database.execute("UPDATE profiles SET region = 'us' WHERE id = 2")
    report = verify(both.pool(where="region = 'eu'"), repair=True, delete_surplus=True)
    assert both.target.query("SELECT id, email FROM profiles ORDER BY id") == [
        (1, "y"),
        (2, "x"),
        (3, "z"),
    ]
    ((refused, reason),) = reasons(report)
    assert (refused, report.left, report.deleted) == (1, 1, 0)
    assert reason == (
        "the row with the id 2 has its unique value: it is not among the rows of the source that"
        " are compared"
    )


def test_a_row_that_leaves_the_source_is_not_removed(both: Both) -> None:
    """Nor if it had swapped its value with another one, when it was compared."""
    emails(both, "(1, 'x'), (2, 'y')", "(1, 'y'), (2, 'x')")
    leaves = "DELETE FROM profiles WHERE id = 2"
    report = verify(LivePool(both.pool(), "source", both.source.uri, leaves, lists=2), repair=True)
    assert both.target.query("TABLE profiles ORDER BY id") == [(1, "y"), (2, "x")]
    assert (report.repaired, report.deleted, report.left) == (0, 0, 2)


def test_a_row_that_was_equal_and_is_repaired_hides_none_that_is_left(both: Both) -> None:
    rows = ", ".join(f"({key}, 'e{key}')" for key in range(1, 31))
    emails(both, rows, rows)
    both.source.execute("UPDATE profiles SET email = NULL WHERE id IN (15, 25)")
    both.target.execute("ALTER TABLE profiles ALTER email SET NOT NULL")
    takes = (
        "UPDATE profiles SET email = CASE id WHEN 15 THEN 'e1' ELSE 'new' END WHERE id IN (1, 15)"
    )
    pool = LivePool(both.pool(), "source", both.source.uri, takes, lists=2)
    report = verify(pool, repair=True)
    assert both.target.query("SELECT * FROM profiles WHERE id IN (1, 15) ORDER BY id") == [
        (1, "new"),
        (15, "e1"),
    ]
    assert (report.differing, report.repaired, report.left, report.equal) == (3, 2, 1, False)


def test_rows_that_are_too_many_bytes_together_are_exchanged_a_few_at_a_time(both: Both) -> None:
    for database in (both.source, both.target):
        database.execute(
            "CREATE TABLE profiles (id int PRIMARY KEY, u int, filler text);"
            "INSERT INTO profiles SELECT i, i, repeat('x', 20000) FROM generate_series(1, 20) AS i"
        )
    both.source.execute("UPDATE profiles SET u = 21 - u")
    both.target.execute("ALTER TABLE profiles ADD UNIQUE (u)")
    report = verify(both.pool(), repair=True, max_batch_bytes=30_000)
    assert (report.repaired, report.left) == (0, 20)
    assert "raise `max_batch_bytes`" in reasons(report)[0][1]
    assert verify(both.pool(), repair=True, max_batch_bytes=50_000).equal


NOTES = "CREATE TABLE notes (of_id int REFERENCES profiles"
FUNCTION = "CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';"


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (
            f"{NOTES} ON DELETE CASCADE); INSERT INTO notes VALUES (1), (2)",
            "the foreign key notes_of_id_fkey of public.notes ON DELETE CASCADE would act",
        ),
        (
            f"{FUNCTION} CREATE TRIGGER logged AFTER DELETE ON profiles EXECUTE FUNCTION log()",
            "the trigger logged of public.profiles would act",
        ),
        (
            f"{NOTES} ON DELETE RESTRICT); INSERT INTO notes VALUES (1), (2)",
            "notes_of_id_fkey",
        ),
    ],
    ids=["cascade", "trigger", "restrict"],
)
def test_what_would_be_lost_with_removed_rows_is_not_touched(
    both: Both, extra: str, words: str
) -> None:
    emails(both, "(1, 'x'), (2, 'y'), (3, 'new')", "(1, 'y'), (2, 'x'), (3, 'old')")
    both.target.execute(extra)
    report = verify(both.pool(), repair=True)
    assert (report.differing_ids, report.repaired, report.left) == ((1, 2, 3), 1, 2)
    assert report.outcome == "complete"
    assert all(words in reason for _, reason in reasons(report))
    if "notes" in extra:
        assert both.target.value("SELECT count(*) FROM notes") == 2


def test_rows_that_others_refer_to_are_exchanged(both: Both) -> None:
    emails(both, "(1, 'x'), (2, 'y')", "(1, 'y'), (2, 'x')")
    both.target.execute(
        "CREATE TABLE notes (of_id int REFERENCES profiles); INSERT INTO notes VALUES (1), (2)"
    )
    assert verify(both.pool(), repair=True).equal
    assert both.target.value("SELECT count(*) FROM notes") == 2


def test_any_other_refusal_leaves_the_rest_repaired(both: Both) -> None:
    emails(both, "(1, 'x'), (2, NULL), (3, 'z')", "(1, 'y'), (2, 'q'), (3, 'w')")
    both.target.execute("ALTER TABLE profiles ALTER email SET NOT NULL")
    report = verify(both.pool(), repair=True)
    ((refused, reason),) = reasons(report)
    assert (refused, report.repaired, report.left, report.equal) == (2, 2, 1, False)
    assert "email" in reason


def test_a_role_that_may_not_delete_is_told(both: Both, role: str) -> None:
    emails(both, "(1, 'x'), (2, 'y')", "(1, 'y'), (2, 'x')")
    both.source.execute(f"GRANT SELECT ON profiles TO {role}")
    both.target.execute(f"GRANT SELECT, INSERT, UPDATE ON profiles TO {role}")
    report = verify(both.pool(users={"target": role, "source": role}), repair=True, jobs=2)
    assert (report.left, report.outcome) == (2, "complete")  # nor make a table: there is no ledger
    assert all("GRANT DELETE ON" in reason for _, reason in reasons(report))
    with pytest.raises(TableMismatchError, match="no DELETE right"):
        verify(both.pool(users={"target": role, "source": role}), repair=True, delete_surplus=True)
