"""A verification with limits that fit a test."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pipecopy import ConnectionPool, Observer, VerifyReport, verify_tables
from tests.support.copies import CONFIG

Found = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def verify(
    pool: ConnectionPool,
    *,
    observer: Observer | None = None,
    repair: bool = False,
    delete_surplus: bool = False,
    from_id: int = 0,
    to_id: int | None = None,
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
    )


def found(report: VerifyReport) -> Found:
    """Return the ids of a report that lists all of them: missing, surplus, differing."""
    counts = (report.missing, report.surplus, report.differing)
    listed = (report.missing_ids, report.surplus_ids, report.differing_ids)
    assert counts == tuple(len(ids) for ids in listed)
    return listed
