"""Which tables fit together."""

from __future__ import annotations

import pytest

from pipecopy.contracts import Column, TableDescription
from pipecopy.operations.fit import between
from tests.support.runs import lines

KEY = Column(name="id", type="bigint")


def table(*columns: Column, identity: str | None = None) -> TableDescription:
    return TableDescription(table="t", key="id", columns=(KEY, *columns), identity=identity)


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
