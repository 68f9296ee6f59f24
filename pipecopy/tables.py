"""Whether the two tables fit together, from the two sides' descriptions."""

from __future__ import annotations

from typing import Any

from pipecopy.contracts import TableDescription


def differences(source: Any, target: Any) -> tuple[str, ...]:
    """Return one sentence for each reason not to copy; a side that tells nothing is None."""
    problems = [*_problems("source", source), *_problems("target", target)]
    if isinstance(source, TableDescription) and isinstance(target, TableDescription):
        problems += _column_differences(source, target)
        if source.identity is not None and source.identity == target.identity:
            problems.append(f"source and target are the same table, {source.table}")
    elif source is not None and target is not None and source != target:
        problems.append(f"the source's table is {source!r}, the target's is {target!r}")
    return tuple(problems)


def warnings_of(source: Any, target: Any) -> tuple[str, ...]:
    """Return what both sides warn of."""
    return tuple(
        f"{side}: {warning}"
        for side, table in (("source", source), ("target", target))
        if isinstance(table, TableDescription)
        for warning in table.warnings
    )


def _problems(side: str, table: Any) -> list[str]:
    if not isinstance(table, TableDescription):
        return []
    return [f"{side}: {problem}" for problem in table.problems]


def _column_differences(source: TableDescription, target: TableDescription) -> list[str]:
    if not source.columns or not target.columns:
        return []  # the side without columns has said why
    of_source = {column.name: column.type for column in source.columns}
    of_target = {column.name: column.type for column in target.columns}
    missing = [
        f'the target {target.table} has no column "{name}" ({type_} in the source)'
        for name, type_ in of_source.items()
        if name not in of_target
    ]
    surplus = [
        f'the source {source.table} has no column "{name}" ({type_} in the target)'
        for name, type_ in of_target.items()
        if name not in of_source
    ]
    differing = [
        f'column "{name}" is {type_} in the source and {of_target[name]} in the target'
        for name, type_ in of_source.items()
        if of_target.get(name, type_) != type_
    ]
    return [*missing, *surplus, *differing]
