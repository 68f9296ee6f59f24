"""Whether the two tables fit together, from the two sides' descriptions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pipecopy.contracts import HELP, Column, TableDescription

_GENERATED = " GENERATED ALWAYS AS ("
"""In the type of a column that the database computes, and nobody copies; the expression follows."""

CHANGE_A_TYPE = f"{HELP}change one of the two types, or leave it out (columns)"


def is_generated(type_: str) -> bool:
    """Tell whether a column of this type is computed by the database."""
    return _GENERATED in type_


def generated_alike(
    source: Iterable[Column], target: Iterable[Column]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the generated columns that can be compared, of one type on both sides, and the others.

    Whatever the expressions: what they call may differ where they do not, and the other way round.
    """
    here, there = (
        {c.name: c.type.partition(_GENERATED)[0] for c in columns if is_generated(c.type)}
        for columns in (source, target)
    )
    names = sorted(here.keys() | there.keys())
    alike = tuple(name for name in names if here.get(name) == there.get(name))
    return alike, tuple(name for name in names if name not in alike)


def differences(source: Any, target: Any, *, types: bool = True) -> tuple[str, ...]:
    """Return one sentence for each reason not to copy; a side that tells nothing is None.

    Without `types`, columns of one name fit whatever their types: the target judges those itself.
    """
    problems = [*_problems("source", source), *_problems("target", target)]
    if isinstance(source, TableDescription) and isinstance(target, TableDescription):
        problems += _column_differences(source, target, types=types)
        if _are_one(source.identity, target.identity):
            problems.append(
                f"source and target are the same table, {source.table}{HELP}name another one"
            )
    elif source is not None and target is not None and source != target:
        problems.append(f"the source's table is {source!r}, the target's is {target!r}")
    return tuple(problems)


def warnings_of(source: Any, target: Any) -> tuple[str, ...]:
    """Return what both sides warn of, and the generated columns that may differ."""
    told = tuple(
        f"{side}: {warning}"
        for side, table in (("source", source), ("target", target))
        if isinstance(table, TableDescription)
        for warning in table.warnings
    )
    if isinstance(source, TableDescription) and isinstance(target, TableDescription):
        return (*told, *_generated_differences(source, target))
    return told


def _are_one(source: str | None, target: str | None) -> bool:
    """Tell whether the tables are the same one; an identity that ends with / begins others."""
    if not source or not target:
        return False
    return source == target or any(
        one.endswith("/") and other.startswith(one)
        for one, other in ((source, target), (target, source))
    )


def _generated_differences(source: TableDescription, target: TableDescription) -> list[str]:
    of_target = {column.name: column.type for column in target.columns}
    found = []
    for column in source.columns:
        there = of_target.get(column.name)
        if _GENERATED not in column.type or there == column.type:
            continue
        if there is None:
            found.append(
                f'the column "{column.name}" of the source is not copied: it is {column.type},'
                f" and the target {target.table} has none of that name"
            )
        elif _GENERATED in there:
            found.append(
                f'the column "{column.name}" is not copied, each side computes its own: it is'
                f" {column.type} in the source and {there} in the target"
            )
    return found


def _problems(side: str, table: Any) -> list[str]:
    if not isinstance(table, TableDescription):
        return []
    return [f"{side}: {problem}" for problem in table.problems]


def _column_differences(
    source: TableDescription, target: TableDescription, *, types: bool
) -> list[str]:
    if not source.columns or not target.columns:
        return []  # the side without columns has said why
    of_source = {column.name: column.type for column in source.columns}
    of_target = {column.name: column.type for column in target.columns}
    missing = [
        f'the target {target.table} has no column "{name}" ({type_} in the source)'
        f"{HELP}add it there, or leave it out (columns)"
        for name, type_ in of_source.items()
        if name not in of_target and _GENERATED not in type_
    ]
    surplus = [
        f'the source {source.table} has no column "{name}" ({type_} in the target)'
        f"{HELP}drop it there, or leave it out (columns)"
        for name, type_ in of_target.items()
        if name not in of_source and _GENERATED not in type_
    ]
    differing = [
        f'column "{name}" is {type_} in the source and {of_target[name]} in the target'
        f"{CHANGE_A_TYPE}"
        for name, type_ in of_source.items()
        if of_target.get(name, type_) != type_
        and not (_GENERATED in type_ and _GENERATED in of_target[name])
    ]
    return [*missing, *surplus, *(differing if types else [])]
