"""Rows of which a side can't make a checksum are named with the reason; the others are compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipecopy.errors import DatabaseError
from pipecopy.events import CallStarted, Event
from pipecopy.observers.summary import summary_lines, verdict_line
from pipecopy.report import Failed, VerifyReport
from tests.operations.sqlite import ComparingDatabase, ComparingPool
from tests.support.databases import Both
from tests.support.profiles import create_profiles
from tests.support.runs import found, verify

pytestmark = pytest.mark.server


class ValueIsBadError(Exception):
    sqlstate = "22000"


class FailingPool(ComparingPool):
    """Opens databases that make no checksum of a row with the value `bad`."""

    def connect(self, dbname: str) -> Failing:
        return Failing(self, dbname)


class Failing(ComparingDatabase):
    def checksum(self, min_id: int, max_id: int) -> tuple[int, int]:
        if any(row[1] == "bad" for row in self._load(min_id, max_id)):
            raise ValueIsBadError("the value is bad")
        return super().checksum(min_id, max_id)


def unread(report: VerifyReport) -> list[tuple[int, int, str, str]]:
    return [
        (each.first_id, each.last_id, each.side, each.reason) for each in report.not_comparable_ids
    ]


TYPES = {
    "t": ("text", "integer"),
    "big": ("bigint", "integer"),
    "n": ("numeric", "numeric(6,2)"),
    "d": ("text", "date"),
    "f": ("double precision", "integer"),
}
REFUSED = {
    5: ("t", "'abc'", "invalid text representation (22P02)"),
    6: ("t", "'99999999999'", "numeric value out of range (22003)"),
    700: ("big", "2147483648", "numeric value out of range (22003)"),
    1500: ("n", "1e10", "numeric value out of range (22003)"),
    1501: ("d", "'2024-02-30'", "datetime field overflow (22008)"),
    3000: ("f", "'infinity'", "invalid text representation (22P02)"),
}


def test_a_value_that_the_type_of_the_target_can_not_hold(both: Both) -> None:
    for side, database in enumerate((both.source, both.target)):
        columns = ", ".join(f"{name} {types[side]}" for name, types in TYPES.items())
        database.execute(
            f"CREATE TABLE profiles (id int PRIMARY KEY, {columns});"
            "INSERT INTO profiles (id, t) SELECT i, i FROM generate_series(1, 3000) AS i"
        )
    for key, (name, value, _) in REFUSED.items():
        both.source.execute(f"UPDATE profiles SET {name} = {value} WHERE id = {key}")
    both.target.execute(
        "DELETE FROM profiles WHERE id IN (8, 6); UPDATE profiles SET t = 0 WHERE id = 9"
    )
    calls: list[str] = []

    def observe(event: Event) -> None:
        if isinstance(event, CallStarted):
            calls.append(event.where.call)

    report = verify(both.pool(), batch_size=1000, observer=observe)
    gone = "; the target has no row with this id"
    assert unread(report) == [
        (
            key,
            key,
            "source",
            f'the column "{name}" ({", ".join(TYPES[name])} on the other side): {reason}'
            + (gone if key == 6 else ""),
        )
        for key, (name, _, reason) in REFUSED.items()
    ]
    assert found(report) == ((8,), (), (9,))
    assert (report.rows, report.not_comparable, report.outcome) == (2994, 6, "complete")
    assert (report.next_id, report.equal) == (3001, False)
    assert len(calls) < 350
    assert report.to_dict()["not_comparable_ids"][0]["first_id"] == 5
    repaired = verify(both.pool(), batch_size=1000, repair=True)
    assert (repaired.repaired, repaired.left, repaired.not_comparable) == (2, 0, 6)
    assert verdict_line(repaired) == (
        "6 ids could not be compared: change the values that could not be compared, or leave their"
        ' columns out (--exclude); the first one: 5: source: the column "t" (text, integer on the'
        " other side): invalid text representation (22P02)"
    )


BROKEN = """
    CREATE FUNCTION told(i bigint) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
        IF i = 40 THEN RAISE 'forty' USING ERRCODE = '{code}'; END IF;
        RETURN 'x';
    END $$;
    ALTER TABLE profiles RENAME TO rows;
    CREATE VIEW profiles AS SELECT id, data, told(id) AS told, 1 / (70 - id) AS share FROM rows
"""


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("code", ["54000", "XX000", "XX001", "P0001"])
def test_a_row_that_can_not_be_read(both: Both, side: str, code: str) -> None:
    for database in (both.source, both.target):
        create_profiles(database, 90)
    other = both.target if side == "source" else both.source
    both[side].execute(BROKEN.format(code=code))
    other.execute(
        "ALTER TABLE profiles ADD told text DEFAULT 'x', ADD share bigint;"
        "UPDATE profiles SET share = 1 / nullif(70 - id, 0), told = nullif(told, id::text);"
        "UPDATE profiles SET told = 'y' WHERE id = 80"
    )
    report = verify(both.pool(), batch_size=100)
    assert unread(report) == [
        (40, 40, side, f'the column "told" (text): forty ({code})'),
        (70, 70, side, 'the column "share" (bigint): division by zero (22012)'),
    ]
    assert found(report) == ((), (), (80,))
    assert summary_lines(report)[-4:-1] == [
        "1 id differing: 80",
        f'not comparable: 40: {side}: the column "told" (text): forty ({code})',
        f'not comparable: 70: {side}: the column "share" (bigint): division by zero (22012)',
    ]


def test_one_that_neither_side_can_read_is_named_once(both: Both) -> None:
    for database in (both.source, both.target):
        create_profiles(database, 90)
        database.execute(BROKEN.format(code="54000"))
    report = verify(both.pool(), batch_size=100)
    assert [(first, side) for first, _, side, _ in unread(report)] == [
        (40, "source"),
        (70, "source"),
    ]
    assert (report.rows, report.warnings) == (88, ())


def test_a_table_of_such_rows_takes_a_bounded_number_of_calls(tmp_path: Path) -> None:
    """And what is left of a range is named as a whole."""
    pool = FailingPool(tmp_path)
    pool.create(range(1, 9001))
    with pool.file("source") as db:
        db.execute("UPDATE profiles SET data = 'bad'")
    db.close()
    with pool.file("target") as db:
        db.executemany("INSERT INTO profiles VALUES (?, 'x')", ((key,) for key in range(1, 9001)))
    db.close()
    report = verify(pool, batch_size=10_000)
    assert report.not_comparable == 9_000
    assert unread(report) == [(1, 9000, "source", "the value is bad")]
    assert 2 * 500 < report.calls < 2 * 1100
    assert report.missing == 0


def test_what_is_of_no_row_ends_it(both: Both) -> None:
    for database in (both.source, both.target):
        create_profiles(database, 90)
    both.source.execute(BROKEN.format(code="42501"))
    both.target.execute("ALTER TABLE profiles ADD told text")
    with pytest.raises(DatabaseError) as caught:
        verify(both.pool(columns=["told"]), batch_size=100)
    assert (caught.value.side, caught.value.sqlstate) == ("source", "42501")


def test_ids_that_follow_each_other_are_one_range_and_a_cut_list_says_so() -> None:
    report = VerifyReport(run_id="", source="", target="", outcome="complete")
    for first in (3, 4, 5, *range(10, 3000, 2)):
        report = report.unread(
            Failed(first_id=first, last_id=first, side="source", reason="x", sqlstate=None)
        )
    assert [(a, b) for a, b, _, _ in unread(report)][:2] == [(3, 5), (10, 10)]
    assert (report.not_comparable, len(report.not_comparable_ids)) == (1498, 1000)
    report = report.found(missing=(), surplus=(), differing=range(5000, 7000))
    values = report.to_dict()
    assert values["cut_lists"] == ["differing_ids", "not_comparable_ids"]
    assert len(values["differing_ids"]) == 1000
    lines = summary_lines(report)
    assert "2,000 ids differing: 5000-5999, … (the report lists the first 1,000)" in lines
    assert "not comparable: 990 more, which --json lists (the first 1,000 of all)" in lines
