"""The table is altered between two batches, in ways that leave each definition as it was.

What a value means, or which rows there are, may change all the same: by values that are written
anew, by a type's labels, by a column of the condition, by a partition, by what refuses a row.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pipecopy.contracts import Side
from tests.faults.alt import (
    BATCH,
    PARTITIONED,
    Case,
    Outcome,
    altering,
    check_changed,
    check_claim,
    copy_and_check,
    make,
    pool_of,
    rows_in,
)
from tests.faults.faulty import Alteration, Moment
from tests.faults.test_ddl import ATTACH_EARLIER, ATTACH_LATER, NEW_PARTITION, TRIGGER
from tests.support.checks import Tables, run_copy

pytestmark = pytest.mark.server

_SIDES: tuple[Side, ...] = ("source", "target")

_PLUS_ONE = "ALTER TABLE alt ALTER c TYPE bigint USING c + 1"
_THERE_AND_BACK = (
    "BEGIN; ALTER TABLE alt ALTER c TYPE int; COMMIT;"
    " BEGIN; ALTER TABLE alt ALTER c TYPE bigint; COMMIT"
)
_OTHER_KEYS = "ALTER TABLE alt ALTER id TYPE bigint USING id + 1000000"

_ENUM = (
    "CREATE TYPE mood AS ENUM ('low', 'high'); ALTER TABLE alt ALTER t TYPE mood"
    " USING CASE WHEN a % 2 = 0 THEN 'low' ELSE 'high' END::mood"
)
_LABELS_EXCHANGED = (
    "ALTER TYPE mood RENAME VALUE 'low' TO 'x'; ALTER TYPE mood RENAME VALUE 'high' TO 'low';"
    " ALTER TYPE mood RENAME VALUE 'x' TO 'high'"
)
_LABEL_ADDED = "ALTER TYPE mood ADD VALUE 'middling' BEFORE 'high'"
_COMPOSITE = (
    "CREATE TYPE pair AS (x int, y int); ALTER TABLE alt ALTER t TYPE pair USING ROW(a, 7)::pair"
)
_ANOTHER_ATTRIBUTE = "ALTER TYPE pair DROP ATTRIBUTE y; ALTER TYPE pair ADD ATTRIBUTE y2 int"
_ATTRIBUTES_EXCHANGED = (
    "ALTER TYPE pair RENAME ATTRIBUTE x TO z; ALTER TYPE pair RENAME ATTRIBUTE y TO x;"
    " ALTER TYPE pair RENAME ATTRIBUTE z TO y"
)

_REGIONS = "ALTER TABLE alt ADD region text DEFAULT 'eu'; ALTER TABLE alt ADD other text"
_RENAMED = "ALTER TABLE alt RENAME region TO r"
_MOVED = "ALTER TABLE alt ALTER region TYPE text USING 'us'"
_OF_EU = "region = 'eu'"
_CHOSEN = "CREATE TABLE f AS SELECT id FROM alt; CREATE TABLE kept AS TABLE f"
_CHOSEN_ANEW = "TRUNCATE f; INSERT INTO f TABLE kept"
_OF_CHOSEN = "id IN (SELECT f.id FROM f)"

_BELOW_VIEW = f"""
    {PARTITIONED}; ALTER TABLE alt RENAME TO parts; ALTER TABLE parts RENAME id TO pk;
    ALTER TABLE p4 RENAME id TO pk;
    CREATE VIEW alt AS SELECT pk AS id, a, c, t FROM parts
"""

_UNIQUE = "CREATE UNIQUE INDEX odd ON alt ((id % 400))"
_CHECK = "ALTER TABLE alt ADD CONSTRAINT odd CHECK (id <= 400)"
_NEEDED = "ALTER TABLE alt ADD odd int NOT NULL DEFAULT 1; ALTER TABLE alt ALTER odd DROP DEFAULT"
_REFERENCE = (
    "CREATE TABLE k AS SELECT id FROM alt; ALTER TABLE k ADD PRIMARY KEY (id);"
    " ALTER TABLE alt ADD CONSTRAINT odd FOREIGN KEY (id) REFERENCES k"
)


def _case(
    side: Side,
    sql: str,
    outcome: Outcome,
    *words: str,
    both: str = "",
    source: str = "",
    where: str | None = None,
    moment: Moment = "before",
) -> Case:
    """Return a case; `both` is done to both tables before the copy."""
    return Case(
        side=side,
        sql=sql,
        outcome=outcome,
        words=words,
        source=both or source,
        target=both,
        where=where,
        moments=(moment,),
    )


CASES = {
    # values rewritten
    **{f"values, {side}": _case(side, _PLUS_ONE, "changed", "c", "rewritten") for side in _SIDES},
    "there and back, source": _case("source", _THERE_AND_BACK, "changed", "c", "rewritten"),
    "keys, target": _case("target", _OTHER_KEYS, "changed", "id", "rewritten"),
    # the types of values
    **{
        f"labels, {side}": _case(side, _LABELS_EXCHANGED, "changed", "enum", "t", both=_ENUM)
        for side in _SIDES
    },
    **{
        f"a label more, {side}": _case(
            side, _LABEL_ADDED, "complete", both=_ENUM, moment="replaced"
        )
        for side in _SIDES
    },
    "another attribute": _case("source", _ANOTHER_ATTRIBUTE, "changed", "y2", both=_COMPOSITE),
    "attributes exchanged": _case("source", _ATTRIBUTES_EXCHANGED, "changed", "t", both=_COMPOSITE),
    # the condition
    "another column of the condition": _case(
        "source",
        f"{_RENAMED}; ALTER TABLE alt RENAME other TO region",
        "changed",
        "region",
        source=_REGIONS,
        where=_OF_EU,
    ),
    "the condition's column renamed": _case(
        "source", _RENAMED, "changed", "region", source=_REGIONS, where=_OF_EU
    ),
    "the condition's column rewritten": _case(
        "source", _MOVED, "changed", "region", "rewritten", source=_REGIONS, where=_OF_EU
    ),
    "labels in the condition": _case(
        "source",
        _LABELS_EXCHANGED,
        "changed",
        "enum",
        "m",
        source="CREATE TYPE mood AS ENUM ('low', 'high'); ALTER TABLE alt ADD m mood DEFAULT 'low'",
        where="m = 'low'",
    ),
    "the condition's table refilled": _case(
        "source", _CHOSEN_ANEW, "complete", source=_CHOSEN, where=_OF_CHOSEN, moment="waits"
    ),
    # partitions
    "a new partition, below a view": _case(
        "source",
        NEW_PARTITION.replace("alt", "parts"),
        "complete",
        source=_BELOW_VIEW,
    ),
    "a partition with rows, below a view": _case(
        "source",
        ATTACH_LATER.replace("alt", "parts"),
        "changed",
        "p4",
        source=_BELOW_VIEW,
    ),
    "a partition with low ids": _case(
        "source",
        ATTACH_EARLIER,
        "changed",
        "p1",
        source=f"{PARTITIONED}; ALTER TABLE alt DETACH PARTITION p1",
    ),
    # what refuses rows
    "unique index": _case("target", _UNIQUE, "changed", "odd"),
    "check": _case("target", _CHECK, "changed", "odd"),
    "column without a default": _case("target", _NEEDED, "changed", "odd"),
    "foreign key": _case("target", _REFERENCE, "changed", "odd"),
}


@pytest.fixture
def tables(alt_tables: Tables) -> Tables:
    return Tables(source=alt_tables.source, target=alt_tables.target)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_a_value_means_or_which_rows_there_are_may_change(
    case: Case, tables: Tables, tmp_path: Path
) -> None:
    (moment,) = case.moments
    ended = copy_and_check(case, moment, tables, tmp_path)
    if ended.error is not None and case.side == "source":
        assert ended.report is not None
        assert ended.report.next_id == 0  # what was read before is not what is there now


# -- triggers that fire for a replica alone

_REPLICA = {"options": "-c session_replication_role=replica"}
_FIRES = "ALTER TABLE alt ENABLE REPLICA TRIGGER odd"


def test_a_trigger_that_fires_for_a_replica_is_warned_of(tables: Tables) -> None:
    make(tables, target=f"{TRIGGER}; {_FIRES}")
    ended = run_copy(pool_of(tables, **_REPLICA), batch_size=BATCH, call_timeout=10)
    assert ended.report is not None, ended.message
    assert any("odd" in warning for warning in ended.report.warnings), ended.report.warnings


def test_a_trigger_that_comes_to_fire_for_a_replica_ends_the_copy(
    tables: Tables, tmp_path: Path
) -> None:
    make(tables, target=TRIGGER)
    before = rows_in(tables, "source")
    alteration = Alteration(side="target", sql=_FIRES, call="save_rows", number=5, moment="before")
    pool = altering(tables, alteration, tmp_path, **_REPLICA)
    ended = run_copy(pool, batch_size=BATCH, call_timeout=10)
    check_changed(ended, "target", "odd")
    check_claim(ended, tables, before)
