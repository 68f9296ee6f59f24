"""A check with limits that fit a test, and what a test asks of its report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pipecopy import CheckReport, ConnectionPool, Observer, check_copy
from pipecopy.contracts import TableDescription
from pipecopy.report import Finding, Mark
from tests.support.copies import CONFIG
from tests.support.databases import TemporaryDatabase


def check(
    pool: ConnectionPool,
    *,
    observer: Observer | None = None,
    resume: bool = False,
    from_id: int = 0,
    to_id: int | None = None,
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
