"""How the target's columns fit the source's, where the types of one name differ."""

from __future__ import annotations

from typing import Any

from pipecopy.contracts import Fit, TableDescription
from pipecopy.postgres.casts import conversion
from pipecopy.postgres.connection import Line
from pipecopy.postgres.definition import source_types
from pipecopy.postgres.schema import TypeShape, find_shapes
from pipecopy.postgres.table import Table
from pipecopy.tables import CHANGE_A_TYPE, is_generated


def differing(table: Table, other: Any) -> tuple[str, ...]:
    """Return the copied columns whose type is another one in the other side's table."""
    if not isinstance(other, TableDescription):
        return ()
    there = {column.name: column.type for column in other.columns}
    return tuple(
        column.name
        for column in table.described()
        if there.get(column.name, column.type) != column.type
        and not (is_generated(column.type) and is_generated(there[column.name]))
    )


def fit(line: Line, table: Table, source: Any) -> Fit:
    """Judge, on the target, each column whose type differs from the source's."""
    names = differing(table, source)
    if not names:
        return Fit()
    of_source = source_types(source)
    here = find_shapes(line, table.oid)
    types_there = {column.name: column.type for column in source.columns}
    types_here = {column.name: column.type for column in table.described()}
    problems: list[str] = []
    warnings: list[str] = []
    for name in names:
        sentence = (
            f'column "{name}" is {types_there[name]} in the source'
            f" and {types_here[name]} in the target"
        )
        if is_generated(types_there[name]) or is_generated(types_here[name]):
            problems.append(sentence)
        elif name not in of_source:
            problems.append(sentence)  # another driver's, which has told no more
        else:
            _judge(sentence, of_source[name], here[name], problems, warnings)
    return Fit(problems=tuple(problems), warnings=tuple(warnings))


def _judge(
    sentence: str,
    source: TypeShape,
    target: TypeShape,
    problems: list[str],
    warnings: list[str],
) -> None:
    found = conversion(source, target)
    if not found.works:
        problems.append(f"{sentence}, as which it can't be read{CHANGE_A_TYPE}")
    elif found.losses:
        warnings.append(f"{sentence}: {', and '.join(found.losses)}")
