"""Both tables are looked at, and each side is told of the other's, before anything else."""

from __future__ import annotations

from typing import Any

from pipecopy.contracts import Fit
from pipecopy.errors import TableMismatchError
from pipecopy.supervisor.endpoints import Endpoint
from pipecopy.supervisor.run import Run
from pipecopy.tables import differences, warnings_of


def fit(run: Run[Any]) -> tuple[Any, Any]:
    """See that the two tables fit together; a side that offers `meet` says so for its types.

    Returns what the two sides say of their tables, None where one says nothing.

    Raises TableMismatchError with all that does not fit, and what `Run.call` raises.
    """
    source, target = run.source, run.target
    of_source = run.call(source, "describe") if "describe" in source.offers else None
    if "create" in target.offers and of_source is not None:
        created = run.call(target, "create", of_source)
        if created:
            run.warn(f"target: {created}")
    of_target = run.call(target, "describe") if "describe" in target.offers else None
    meets = "meet" in target.offers
    found = [*differences(of_source, of_target, types=not meets)]
    warnings = [*warnings_of(of_source, of_target)]
    if not found and of_source is not None and of_target is not None:
        for endpoint, other in ((target, of_source), (source, of_target)):
            met = _met(run, endpoint, other)
            found += met.problems
            warnings += met.warnings
    if found:
        raise TableMismatchError(
            f"the tables of {source} and {target} do not fit together: {_as_text(found)}",
            differences=tuple(found),
        )
    for warning in warnings:
        run.warn(warning)
    return of_source, of_target


def _as_text(sentences: list[str]) -> str:
    """Return them one after the other; some end with the SQL of what to do."""
    *others, last = sentences
    return " ".join([*(f"{one}." if one[-1] not in ".;" else one for one in others), last])


def _met(run: Run[Any], endpoint: Endpoint, other: object) -> Fit:
    """Tell one side of the other's table, in this worker and in all that replace it."""
    if "meet" not in endpoint.offers:
        return Fit()
    endpoint.know(other=other)
    met: Fit = run.call(endpoint, "meet", other)
    return met
