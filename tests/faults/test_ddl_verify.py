"""The table is altered while it is verified and repaired: nothing untrue is said, or done."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipecopy import VerifyReport
from pipecopy.cli.codes import exit_code
from pipecopy.contracts import Side
from pipecopy.errors import TableMismatchError
from tests.faults.alt import BATCH, FILL, FILLED, altering, make, rows_in
from tests.faults.faulty import Alteration, AlteringPool
from tests.faults.test_ddl import RECREATE, SWAP, TO_FLOAT8
from tests.support.checks import Rows, Tables, check_nothing_left
from tests.support.runs import verify

pytestmark = pytest.mark.server

_DAMAGED = f"""
    {FILLED};
    DELETE FROM alt WHERE id IN (10, 700);
    UPDATE alt SET a = 0 WHERE id IN (20, 1100);
    INSERT INTO alt VALUES (31, 1, 1, 'surplus'), (5001, 1, 1, 'surplus')
"""
_REFILL = "CREATE TABLE kept AS TABLE alt; TRUNCATE alt; INSERT INTO alt TABLE kept"
_EMPTIED = "DELETE FROM alt_new WHERE id > 40"
"""Done to the table that takes the place of the source's: all other rows look like surplus."""
_FULL = f"{FILL.format('alt_new', repr('other '))}; INSERT INTO alt_new VALUES (31, 1, 1, '')"
"""Done to the table that takes the place of the target's: it is nobody's to repair."""

_READS = ("end_of_batch", "checksum", "row_checksums")
_CALLS: tuple[tuple[Side, str], ...] = (
    *(("source", call) for call in (*_READS, "load_rows", "get_max_id")),
    *(("target", call) for call in (*_READS, "save_rows", "delete_rows", "get_max_id")),
)
_STRUCK = [
    *(Alteration(side=side, sql=SWAP, call=call) for side, call in _CALLS),
    Alteration(side="source", sql=SWAP, call="load_rows", moment="replaced"),
    Alteration(side="target", sql=SWAP, call="save_rows", moment="replaced"),
    Alteration(side="target", sql=SWAP, call="delete_rows", moment="replaced"),
    Alteration(side="source", sql=TO_FLOAT8, call="checksum"),
    Alteration(side="target", sql=TO_FLOAT8, call="row_checksums"),
    Alteration(side="target", sql=TO_FLOAT8, call="save_rows"),
]


@pytest.fixture
def tables(alt_tables: Tables) -> Tables:
    return Tables(source=alt_tables.source, target=alt_tables.target)


def _repair(pool: AlteringPool) -> VerifyReport:
    return verify(pool, repair=True, delete_surplus=True, batch_size=BATCH)


@pytest.mark.parametrize(("side", "call"), _CALLS)
def test_a_table_that_is_filled_again_is_repaired_as_it_was(
    side: Side, call: str, tables: Tables, tmp_path: Path
) -> None:
    make(tables, target=_DAMAGED)
    pool = altering(tables, Alteration(side=side, sql=_REFILL, call=call), tmp_path)
    report = _repair(pool)
    assert pool.waited_for.exists()
    assert (report.equal, report.deleted) == (True, 2)
    assert report.missing + report.differing == report.repaired == 4
    assert rows_in(tables, "target") == rows_in(tables, "source")


@pytest.mark.parametrize(
    "alteration", _STRUCK, ids=lambda a: f"{a.side}, {a.call}, {a.sql.split()[-1]} {a.moment}"
)
def test_another_table_is_neither_compared_nor_repaired(
    alteration: Alteration, tables: Tables, tmp_path: Path
) -> None:
    side = alteration.side
    before, intact = _begin(tables, side)
    with pytest.raises(TableMismatchError) as raised:
        _repair(altering(tables, alteration, tmp_path))
    _check(raised.value, side)
    if alteration.sql == SWAP and side == "target":
        assert rows_in(tables, "target") == intact
    else:
        assert rows_in(tables, "target") >= before


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_verification_that_only_reads_says_what_changed(
    side: Side, tables: Tables, tmp_path: Path
) -> None:
    make(tables, target=FILLED)
    alteration = Alteration(side=side, sql=RECREATE, call="checksum", number=3)
    with pytest.raises(TableMismatchError) as raised:
        verify(altering(tables, alteration, tmp_path), batch_size=BATCH)
    _check(raised.value, side)


def _begin(tables: Tables, side: Side) -> tuple[Rows, Rows]:
    """Return the rows that may not go from the target, and those of the table in its place."""
    make(
        tables,
        source=_EMPTIED if side == "source" else "",
        target=_DAMAGED if side == "source" else f"{_DAMAGED}; {_FULL}",
    )
    of_source = rows_in(tables, "source")
    return of_source & rows_in(tables, "target"), rows_in(tables, "target", "alt_new")


def _check(error: TableMismatchError, side: Side) -> None:
    assert exit_code(error) == 5
    assert error.side == side, error
    assert error.differences
    assert side in str(error)
    check_nothing_left()
