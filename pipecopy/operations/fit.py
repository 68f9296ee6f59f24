"""Both tables are looked at, and each side is told of the other's, before anything else."""

from __future__ import annotations

from typing import Any

from pipecopy.contracts import Fit
from pipecopy.errors import TableMismatchError
from pipecopy.supervisor.seat import Seat
from pipecopy.supervisor.story import Stage
from pipecopy.tables import differences, warnings_of
from pipecopy.workers import Task


def fit_tables(stage: Stage) -> tuple[Any, Any]:
    """See that the two tables fit together; a side that offers `meet` says so for its types.

    Returns what the two sides say of their tables, None where one says nothing.

    Raises TableMismatchError with all that does not fit, and what `Stage.call` raises.
    """
    source, target = stage.source, stage.target
    of_source = stage.call(source, Task("describe")) if "describe" in source.offers else None
    if "create" in target.offers and of_source is not None:
        created = stage.call(target, Task("create", (of_source,)))
        if created:
            stage.run.warn(f"target: {created}")
    of_target = stage.call(target, Task("describe")) if "describe" in target.offers else None
    meets = "meet" in target.offers
    found = [*differences(of_source, of_target, types=not meets)]
    warnings = [*warnings_of(of_source, of_target)]
    if not found and of_source is not None and of_target is not None:
        for seat, other in ((target, of_source), (source, of_target)):
            fit = _met(stage, seat, other)
            found += fit.problems
            warnings += fit.warnings
    if found:
        raise TableMismatchError(
            f"the tables of {source} and {target} do not fit together: {_as_text(found)}",
            differences=tuple(found),
        )
    for warning in warnings:
        stage.run.warn(warning)
    return of_source, of_target


def _as_text(sentences: list[str]) -> str:
    """Return them one after the other; some end with the SQL of what to do."""
    *others, last = sentences
    return " ".join([*(f"{one}." if one[-1] not in ".;" else one for one in others), last])


def _met(stage: Stage, seat: Seat, other: object) -> Fit:
    """Tell one side of the other's table, in this worker and in all that replace it."""
    if "meet" not in seat.offers:
        return Fit()
    seat.other = other
    fit: Fit = stage.call(seat, Task("meet", (other,)))
    return fit
