"""Which tables fit together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from pipecopy.contracts import Column, TableDescription
from pipecopy.errors import DatabaseError, TableMismatchError
from pipecopy.finding import Finding, problem
from pipecopy.operations.fit import between
from tests.support.drivers import RecordingDatabase, RecordingPool
from tests.support.runs import check, copy, lines, warnings

KEY = Column(name="id", type="bigint")


def table(
    *columns: Column, identity: str | None = None, replicates: bool | None = None
) -> TableDescription:
    return TableDescription(
        table="t",
        key="id",
        columns=(KEY, *columns),
        identity=identity,
        replicates=replicates,
        timeline=2,
    )


STANDBY, LONELY, FOLLOWED = (
    replace(table(identity="1/2/3/", replicates=True), timeline=1),
    table(identity="1/2/3/x", replicates=False),
    table(identity="1/2/3/x", replicates=True),
)


def column(type_: str, generated: str | None = None) -> Column:
    return Column(name="c", type=type_, generated=generated)


DOUBLE = column("integer", "(a * 2)")
TRIPLE = column("integer", "(a * 3)")


@pytest.mark.parametrize(
    ("source", "target", "refused", "warned"),
    [
        (table(), table(), False, False),
        (table(column("text")), table(column("text")), False, False),
        (table(column("text")), table(column("json")), True, False),
        (table(column("text")), table(), True, False),
        (table(), table(column("text")), True, False),
        (table(DOUBLE), table(DOUBLE), False, False),
        (table(DOUBLE), table(TRIPLE), False, True),
        (table(DOUBLE), table(), False, True),
        (table(), table(DOUBLE), False, False),
        (table(DOUBLE), table(column("integer")), True, False),
        (table(column("integer")), table(DOUBLE), True, False),
        (table(identity="1/2/3/x"), table(identity="1/2/3/x"), True, False),
        (table(identity="1/2/3/x"), table(identity="1/2/3/y"), False, False),
        (table(identity="1/2/3/"), table(identity="1/2/3/y"), True, False),
        (table(identity="1/2/3/x"), table(identity="1/2/3/"), True, False),
        (STANDBY, LONELY, False, False),
        (STANDBY, FOLLOWED, True, False),
        (replace(STANDBY, replicates=None), LONELY, True, False),
        (replace(STANDBY, timeline=2), LONELY, True, False),
        (replace(STANDBY, timeline=None), LONELY, True, False),
        (LONELY, STANDBY, False, False),
        (LONELY, FOLLOWED, True, False),
        (table(identity="/2/3/x"), LONELY, True, False),
        (table(identity="/2/3/y"), LONELY, False, False),
        (table(identity="/2/3/"), LONELY, True, False),
        (table(identity="1/2/33/"), table(identity="1/2/3/"), False, False),
        (table(), None, False, False),
        ({"a": 1}, {"a": 1}, False, False),
        ({"a": 1}, {"a": 2}, True, False),
    ],
)
def test_fits(source: object, target: object, refused: bool, warned: bool) -> None:  # noqa: FBT001 - a table's cells
    found = [*between(source, target)]
    assert bool(lines(found, "problem")) == refused
    assert bool(lines(found, "warning")) == warned


# -- a driver of a user's own


@dataclass(frozen=True)
class _TellingPool(RecordingPool):
    """Opens databases that answer what they are told to, in the target."""

    meets: Any = ()
    surveys: Any = ()

    def connect(self, dbname: str) -> _TellingDatabase:
        return _TellingDatabase(self, dbname)


class _TellingDatabase(RecordingDatabase):
    _pool: _TellingPool

    def describe(self) -> TableDescription:
        return table()

    def meet(self, other: Any) -> Any:  # noqa: ARG002 - whatever it is
        return self._pool.meets if self._side == "target" else ()

    def survey(self, min_id: int, max_id: int | None, other: Any) -> Any:  # noqa: ARG002 - the same
        return {"findings": self._pool.surveys if self._side == "target" else ()}


REASON = problem("too hot", "cool it", what="weather")
NO_FINDINGS = [
    "too hot",
    ["too hot"],
    REASON,
    {"too hot"},
    [{"what": "weather", "mark": "problem", "message": "too hot"}],
    [replace(REASON, mark="Problem")],  # type: ignore[arg-type] # a driver is not checked by mypy
]


def test_a_problem_that_a_driver_finds_is_one(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create([1])
    for found in ([REASON], (REASON,)):
        pool = _TellingPool(sqlite_pool.folder, meets=found)
        with pytest.raises(TableMismatchError, match=r"too hot; cool it"):
            copy(pool)
        assert [each.message for each in check(pool).problems] == ["too hot"]
        pool = _TellingPool(sqlite_pool.folder, surveys=found)
        assert [each.message for each in check(pool).problems] == ["too hot"]


@pytest.mark.parametrize("answer", NO_FINDINGS, ids=str)
def test_what_is_no_finding_is_named(
    sqlite_pool: RecordingPool, answer: str | Finding | list[Any]
) -> None:
    """It may have been meant as a problem."""
    sqlite_pool.create([1])
    with pytest.raises(DatabaseError, match=r"meet .* returned .*, not a list of findings"):
        copy(_TellingPool(sqlite_pool.folder, meets=answer))
    (found,) = check(_TellingPool(sqlite_pool.folder, meets=answer)).problems
    # what a copy does not ask keeps none from starting
    (seen,) = warnings(check(_TellingPool(sqlite_pool.folder, surveys=answer)))
    assert found.side == seen.side == "target"
    assert "not a list of findings" in found.message
    assert "not a list of findings" in seen.message
