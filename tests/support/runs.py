"""A copy, a check and a verification with limits that fit a test."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Any

from pipecopy import (
    CheckReport,
    Config,
    ConnectionPool,
    CopyReport,
    Observer,
    VerifyReport,
    check_copy,
    copy_table,
    verify_tables,
)
from pipecopy.contracts import TableDescription
from pipecopy.finding import Finding, Mark
from pipecopy.operations.fit import fit
from pipecopy.operations.split import Piece
from pipecopy.operations.split import split as split_ids
from pipecopy.supervisor.run import Run
from pipecopy.supervisor.supervise import supervise
from tests.support.databases import TemporaryDatabase

CONFIG = Config(
    batch_size=10, max_retries=0, retries_delay=0.1, call_timeout=10, full_copy_timeout=30
)


def copy(
    pool: ConnectionPool,
    *,
    observer: Observer | None = None,
    resume: bool = False,
    from_id: int = 0,
    to_id: int | None = None,
    stop: threading.Event | None = None,
    **limits: Any,
) -> CopyReport:
    """Copy from `source` to `target`."""
    return copy_table(
        replace(CONFIG, **limits),
        pool,
        "source",
        "target",
        observer=observer,
        resume=resume,
        from_id=from_id,
        to_id=to_id,
        stop=stop,
    )


def check(
    pool: ConnectionPool,
    *,
    observer: Observer | None = None,
    resume: bool = False,
    from_id: int = 0,
    to_id: int | None = None,
    stop: threading.Event | None = None,
    **limits: Any,
) -> CheckReport:
    """Check a copy from `source` to `target`."""
    return check_copy(
        replace(CONFIG, **limits),
        pool,
        "source",
        "target",
        observer=observer,
        resume=resume,
        from_id=from_id,
        to_id=to_id,
        stop=stop,
    )


def only_problem(report: CheckReport) -> Finding:
    """Return the problem of a report that has one."""
    (problem,) = report.problems
    assert not report.can_start
    return problem


def warnings(report: CheckReport) -> list[Finding]:
    return [item for item in report.items if item.mark == "warning"]


def lines(found: TableDescription | Iterable[Finding], mark: Mark) -> list[str]:
    """Return what was found of one kind, as a user reads it."""
    findings = found.findings if isinstance(found, TableDescription) else found
    return [str(finding) for finding in findings if finding.mark == mark]


def next_transaction(database: TemporaryDatabase) -> int:
    """Return the number that the server gives to the next transaction that writes."""
    return int(database.value("SELECT pg_snapshot_xmax(pg_current_snapshot())::text"))


Found = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def verify(
    pool: ConnectionPool,
    *,
    observer: Observer | None = None,
    repair: bool = False,
    delete_surplus: bool = False,
    from_id: int = 0,
    to_id: int | None = None,
    stop: threading.Event | None = None,
    jobs: int = 1,
    **limits: Any,
) -> VerifyReport:
    """Verify `target` by `source`."""
    return verify_tables(
        replace(CONFIG, **limits),
        pool,
        "source",
        "target",
        observer=observer,
        repair=repair,
        delete_surplus=delete_surplus,
        from_id=from_id,
        to_id=to_id,
        stop=stop,
        jobs=jobs,
    )


def found(report: VerifyReport) -> Found:
    """Return the ids of a report that lists all of them: missing, surplus, differing."""
    counts = (report.missing, report.surplus, report.differing)
    listed = (report.missing_ids, report.surplus_ids, report.differing_ids)
    assert counts == tuple(len(ids) for ids in listed)
    return listed


def split(
    pool: ConnectionPool,
    parts: int,
    *,
    first: int = 0,
    last: int | None = None,
    observer: Observer | None = None,
    **limits: Any,
) -> tuple[list[Piece], tuple[str, ...]]:
    """Split the ids of the source's table, and see that the parts are all of them, once.

    Returns them with the warnings that came of it.
    """
    found: list[Piece] = []
    before: list[str] = []

    def operation(run: Run[CopyReport]) -> None:
        run.connect()
        fit(run)
        before.extend(run.report.warnings)
        greatest = run.call(run.source, "get_max_id") if last is None else last
        found.extend(split_ids(run, first, greatest, parts))
        assert (found[0].first, found[-1].last) == (first, greatest)

    report = supervise(
        operation,
        CopyReport.of(pool, "source", "target"),
        replace(CONFIG, **limits),
        pool,
        ("source", "target"),
        mode="copy",
        writes=True,
        observer=observer,
    )
    assert len(found) <= max(parts, 1)
    assert all(part.first <= part.last for part in found)
    assert all(part.last + 1 == following.first for part, following in pairwise(found))
    return found, report.warnings[len(before) :]
