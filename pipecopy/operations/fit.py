"""Whether the two tables match, before anything else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pipecopy.contracts import Column, Side, TableDescription
from pipecopy.errors import TableMismatchError
from pipecopy.finding import (
    Finding,
    as_written,
    did_you_mean,
    leaving_out,
    problem,
    warning,
)
from pipecopy.supervisor.call import Call
from pipecopy.supervisor.endpoints import Endpoint
from pipecopy.supervisor.run import Run


def fit(run: Run[Any]) -> tuple[Any, Any]:
    """See that the two tables match; a side that offers `meet` says so for its types.

    Returns what the two sides say of their tables, None if one says nothing.

    Raises TableMismatchError with all that does not fit, and what `Run.call` raises.
    """
    target = run.target
    created, of_source, of_target = _described(run)
    findings = [
        *created,
        *own("source", of_source),
        *own("target", of_target),
        *between(of_source, of_target, types="meet" not in target.offers),
    ]
    if not _problems(findings) and of_source is not None and of_target is not None:
        findings += _met(run, of_source, of_target)
    refuse(run, findings)
    for found in findings:
        if found.mark == "warning":
            run.warn(said_of(run, found))
    return of_source, of_target


def refuse(run: Run[Any], findings: Iterable[Finding]) -> None:
    """Raise TableMismatchError if there are problems among the findings, with all of them."""
    problems = _problems(findings)
    if problems:
        told = tuple(said_of(run, found) for found in problems)
        several = "".join(f"\n- {line}" for line in told)
        message = told[0] if len(told) == 1 else f"the two tables do not match:{several}"
        raise TableMismatchError(message, differences=told)


def said_of(run: Run[Any], found: Finding) -> str:
    """Return a finding as one line, with the database or the two that it is about."""
    about = {"source": f"{run.source}", "target": f"{run.target}"}
    return f"{about.get(str(found.side), f'{run.source} and {run.target}')}: {found}"


def too_narrow(target: Any, last_id: int) -> Iterator[Finding]:
    """Yield the problem that the target's key does not hold all ids up to the last one."""
    if not isinstance(target, TableDescription) or target.greatest_id is None:
        return
    if last_id > target.greatest_id:
        key = target.key.replace('"', '""')
        yield Finding(
            side="target",
            what="key",
            mark="problem",
            message=f'the key "{key}" of {target.table} ends at {target.greatest_id}, below the'
            f" last id {last_id}",
            remedy=f'ALTER TABLE {target.table} ALTER COLUMN "{key}" TYPE bigint;',
        )


def _described(run: Run[Any]) -> tuple[list[Finding], Any, Any]:
    """Return what the two sides say of their tables; one that is missing is created if asked.

    First of all what was found as it was created.
    """
    source, target = run.source, run.target
    if "create" not in target.offers:
        both = run.wait_both(_begin(run, source, "describe"), _begin(run, target, "describe"))
        return [], *both
    of_source = run.wait(_begin(run, source, "describe"))
    created: list[Finding] = []
    if of_source is not None:
        answer = run.call(target, "create", of_source)
        found = [warning(answer, what="create")] if isinstance(answer, str) else answer or ()
        created = [replace(each, side="target") for each in found]
    if _problems(created):  # which say why there is no table
        return created, of_source, None
    return created, of_source, run.wait(_begin(run, target, "describe"))


def _begin(run: Run[Any], endpoint: Endpoint, call: str, *args: object) -> Call | None:
    """Begin a call if the side offers it."""
    return run.begin(endpoint, call, *args) if call in endpoint.offers else None


def own(side: Side, table: Any) -> list[Finding]:
    """Return what one side says of its table; None is a side that tells nothing."""
    if not isinstance(table, TableDescription):
        return []
    return [replace(found, side=side) for found in table.findings]


def between(source: Any, target: Any, *, types: bool = True) -> Iterator[Finding]:
    """Yield what is found between the two sides' descriptions.

    Without `types`, columns of one name fit whatever their types: the target judges those itself.
    """
    yield from _not_left_out(source, target)
    if isinstance(source, TableDescription) and isinstance(target, TableDescription):
        if source.columns and target.columns:  # a side without columns has said why
            yield from _columns(source, target, types=types)
        if _may_be_one(source, target) and not (_is_standby(source) or _is_standby(target)):
            yield problem(
                f"source and target are the same table, {source.table}",
                "name another one",
                what="columns",
            )
        elif _may_be_one(source, target) and not (
            _receives_another(source, target) or _receives_another(target, source)
        ):
            yield problem(
                "one of the two servers is a standby, and may follow the other one: then source and"
                f" target are the same table, {source.table}",
                "name another one; if the standby follows another server, say so (`two_servers`)",
                what="columns",
            )
        yield from _generated(source, target)
    elif source is not None and target is not None and source != target:
        yield problem(
            f"the source's table is {source!r}, the target's is {target!r}", what="columns"
        )


def _columns(
    source: TableDescription, target: TableDescription, *, types: bool
) -> Iterator[Finding]:
    of_source, of_target = source.by_name, target.by_name
    missing, surplus = _only_in(of_source, of_target), _only_in(of_target, of_source)
    leave_out = leaving_out(*missing, *surplus)
    for name, column in missing.items():
        yield problem(
            f'the target {target.table} has no column "{name}" ({column} in the source)',
            f"add it there, or {leave_out}",
            what="columns",
        )
    for name, column in surplus.items():
        remedy = f"{leave_out}, or drop it there"
        if column.needs_value:
            remedy = f"give it a default or allow NULL in it, and {leave_out}; or drop it there"
        yield problem(
            f'the source {source.table} has no column "{name}" ({column} in the target)',
            remedy,
            what="columns",
        )
    for name, column in of_source.items():
        there = of_target.get(name, column)
        if types and not column.agrees(there):
            yield problem(
                f'column "{name}" is {column} in the source and {there} in the target',
                f"change one of the two types, or {leaving_out(name)}",
                what="columns",
            )


def _only_in(these: Mapping[str, Column], others: Mapping[str, Column]) -> dict[str, Column]:
    """Return the columns to be copied that the others lack."""
    return {
        name: column
        for name, column in these.items()
        if name not in others and column.generated is None
    }


def _not_left_out(*tables: Any) -> Iterator[Finding]:
    """Refuse a name to be left out that no table has: a typo would be copied."""
    known = [table for table in tables if isinstance(table, TableDescription) and table.columns]
    columns = dict.fromkeys(column.name for table in known for column in table.columns)
    for name in known[0].not_found if known else ():
        if all(name in table.not_found for table in known):
            yield problem(
                f"there is no column {name} to be left out",
                f"fix the name{did_you_mean(name, columns, as_written)}",
                what="columns",
            )


def _generated(source: TableDescription, target: TableDescription) -> Iterator[Finding]:
    """Warn of the generated columns that may differ."""
    of_target = target.by_name
    for name, column in source.by_name.items():
        there = of_target.get(name)
        if column.generated is None:
            continue
        if there is None:
            yield warning(
                f'the column "{name}" of the source is not copied: it is {column}, and the target'
                f" {target.table} has none of that name",
                what="columns",
            )
        elif there != column and there.generated is not None:
            yield warning(
                f'the column "{name}" is not copied, each side computes its own: it is {column} in'
                f" the source and {there} in the target",
                what="columns",
            )


def _may_be_one(source: TableDescription, target: TableDescription) -> bool:
    """Tell whether the two may be the same table, by all that is known of both."""
    if not source.identity or not target.identity:
        return False
    parts, others = source.identity.split("/"), target.identity.split("/")
    return len(parts) == len(others) and all(
        part == other or not part or not other for part, other in zip(parts, others, strict=True)
    )


def _is_standby(table: TableDescription) -> bool:
    return bool(table.identity and table.identity.endswith("/"))


def _receives_another(standby: TableDescription, server: TableDescription) -> bool:
    """Tell whether the one is a standby that certainly follows another server.

    By the timeline as well: a connection that broke is seen by one end alone at first, and a log
    may come by an archive and another standby.
    """
    if not _is_standby(standby) or None in {standby.timeline, server.timeline}:
        return False
    receives_and_sends = (standby.replicates, server.replicates)
    return receives_and_sends == (True, False) and standby.timeline != server.timeline


def _problems(findings: Iterable[Finding]) -> list[Finding]:
    return [found for found in findings if found.mark == "problem"]


def _met(run: Run[Any], of_source: object, of_target: object) -> list[Finding]:
    """Tell each side of the other's table, in this worker and in all that replace it."""
    for endpoint, other in ((run.source, of_target), (run.target, of_source)):
        if "meet" in endpoint.offers:
            endpoint.know(other=other)
    by_source, by_target = run.wait_both(
        _begin(run, run.source, "meet", of_target), _begin(run, run.target, "meet", of_source)
    )
    return [*(by_target or ()), *(by_source or ())]
