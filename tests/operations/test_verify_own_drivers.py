"""Any driver can be verified that offers checksums; one that does not is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipecopy.errors import ConfigError, DatabaseError
from tests.operations.sqlite import ComparingPool, CreatingPool, DeletingPool
from tests.support.drivers import RecordingPool
from tests.support.runs import found, verify


def _damaged(pool: ComparingPool, rows: int = 3000) -> None:
    pool.create(range(1, rows + 1))
    with pool.file("target") as db:
        db.execute("ATTACH ? AS other", [str(pool.folder / "source.sqlite")])
        db.execute("INSERT INTO profiles SELECT * FROM other.profiles WHERE id NOT IN (7, 2900)")
        db.execute("UPDATE profiles SET data = 'stale' WHERE id = 1500")
        db.execute("INSERT INTO profiles VALUES (3005, 'surplus')")
    db.close()


def test_differences_are_found_and_put_right(tmp_path: Path) -> None:
    pool = DeletingPool(tmp_path)
    _damaged(pool)
    expected = ((7, 2900), (3005,), (1500,))
    assert found(verify(pool, batch_size=2500)) == expected
    report = verify(pool, batch_size=2500, repair=True, delete_surplus=True)
    assert found(report) == expected
    assert (report.repaired, report.deleted, report.equal) == (3, 1, True)
    assert pool.rows("target") == pool.rows("source")


def test_rows_at_the_end_of_a_large_range_are_found_in_few_cuts(tmp_path: Path) -> None:
    pool = ComparingPool(tmp_path)
    pool.create(range(1_109_600, 1_111_110))  # ranges are 10, 100, 1,000, … ids
    with pool.file("target") as db:
        db.execute("ATTACH ? AS other", [str(pool.folder / "source.sqlite")])
        db.execute("INSERT INTO profiles SELECT * FROM other.profiles WHERE id <> 1111000")
    db.close()
    report = verify(pool, batch_size=10**6, call_timeout=30)
    assert found(report) == ((1_111_000,), (), ())
    assert report.calls < 100


def test_a_checksum_that_deadlocks_in_c_is_killed_and_tried_again(tmp_path: Path) -> None:
    pool = ComparingPool(tmp_path, fault="deadlock")
    _damaged(pool, 20)
    report = verify(pool, batch_size=100, call_timeout=0.5, max_retries=1)
    assert (report.kills, report.timeouts, report.retries) == (1, 1, 1)
    assert found(report) == ((7,), (3005,), ())


def test_nothing_is_made(tmp_path: Path) -> None:
    pool = CreatingPool(tmp_path)
    pool.create([1])
    assert verify(pool).missing == 1
    assert verify(pool, repair=True).repaired == 1
    with pool.file("target") as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("profiles",)]
    db.close()


def test_one_without_checksums_is_refused_with_all_that_it_lacks(tmp_path: Path) -> None:
    pool = RecordingPool(tmp_path)
    pool.create([1])
    with pytest.raises(ConfigError) as caught:
        verify(pool, repair=True, delete_surplus=True)
    assert str(caught.value) == (
        "the tables can't be compared: the Database of source source has no checksum and no"
        " row_checksums; the Database of target target has no checksum and no row_checksums and"
        " no delete_rows"
    )


def test_one_that_removes_no_rows_is_refused_where_it_would_have_to(tmp_path: Path) -> None:
    pool = ComparingPool(tmp_path)
    _damaged(pool)
    with pytest.raises(ConfigError, match="target target has no delete_rows"):
        verify(pool, repair=True, delete_surplus=True)
    assert verify(pool, repair=True, batch_size=1000).repaired == 3


@pytest.mark.parametrize(
    "result",
    [
        lambda: None,
        lambda: [1, 2],
        lambda: [(1, 1)],
        lambda: [(10**6, 1, 1)],
        lambda: [("1", 1, 1)],
    ],
    ids=["None", "numbers", "pairs", "other ids", "texts"],
)
def test_a_list_that_is_none_is_an_error_of_that_side(
    tmp_path: Path, result: Callable[[], object]
) -> None:
    pool = ComparingPool(tmp_path, result=result)
    _damaged(pool, 10)
    with pytest.raises(DatabaseError, match=r"row_checksums of ids .* did not return") as caught:
        verify(pool, batch_size=100)
    assert (caught.value.side, caught.value.call) == ("target", "row_checksums")


def test_surplus_rows_are_not_removed_without_a_repair(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`delete_surplus` does not go without `repair`"):
        verify(DeletingPool(tmp_path), delete_surplus=True)


def test_all_that_is_wrong_with_the_arguments_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        verify(DeletingPool(tmp_path), from_id=-1, delete_surplus=True)
    assert "from_id must be an int of at least 0" in str(caught.value)
    assert "`delete_surplus` does not go without `repair`" in str(caught.value)
