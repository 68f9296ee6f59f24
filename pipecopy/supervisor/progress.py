"""How far a run came, in words: for the errors of its limit, and for the command's last lines."""

from __future__ import annotations

import math

from pipecopy.config import MAX_SECONDS
from pipecopy.report import CopyReport, Report, VerifyReport
from pipecopy.sharded import ShardedReport
from pipecopy.units import counted, seconds_text

_ROUNDED = ((120, 1), (7200, 60), (math.inf, 600))
"""What lasts less than so many seconds is told to so many."""


def far(report: Report) -> str | None:
    """Return how far a run came that did not end well; None if it had not come to its ids."""
    if isinstance(report, ShardedReport):
        shards = f"{report.done} of {counted(report.shards, 'shard')} are done"
        return f"{shards}: {_rows(report)}" if report.shards else None
    if not isinstance(report, CopyReport | VerifyReport) or report.max_id is None:
        return None
    copies = isinstance(report, CopyReport)
    if isinstance(report, VerifyReport) and report.jobs > 1 and report.ranges:
        return _far_in_parts(report, report.max_id)
    if report.next_id <= report.first_id:
        if copies and report.rows:  # the server failed over, or the table changed
            rows = counted(report.rows, "row")
            return f"{rows} had been saved, and it is not known how many of them are still there"
        return "nothing was copied" if copies else "nothing was compared"
    ids = f"every id below {report.next_id} (of {report.max_id})"
    if report.next_id > report.max_id:
        ids = f"every id from {report.first_id} to {report.max_id}"
    elif report.first_id:
        ids = f"every id from {report.first_id} to {report.next_id - 1} (of {report.max_id})"
    done = "is in the target" if copies else "was compared"
    return f"{ids} {done}: {_rows(report)}"


def _far_in_parts(report: VerifyReport, max_id: int) -> str:
    """Return how far several ranges came that were compared at once."""
    first, next_id, others = report.first_id, report.next_id, ""
    if next_id <= first:
        return f"{_rows(report)} were compared, but not those from id {first} on"
    if next_id <= max_id:
        others = ", and others above"
    ids = f"every id from {first} to {next_id - 1} (of {max_id})"
    return f"{ids} was compared{others}: {_rows(report)}"


def _rows(report: CopyReport | VerifyReport) -> str:
    return f"{counted(report.rows, 'row')} in {seconds_text(report.seconds)}"


def rest(report: Report, seconds: float) -> str | None:
    """Return how long the rest would have taken, if what is done took so many seconds.

    By ids, since nobody knows the rows; None if nothing is done yet, or all is.
    """
    if not isinstance(report, CopyReport | VerifyReport) or report.max_id is None:
        return None
    if isinstance(report, ShardedReport) or (isinstance(report, VerifyReport) and report.jobs > 1):
        return None  # several are under way
    done, left = report.next_id - report.first_id, report.max_id + 1 - report.next_id
    if done <= 0 or left <= 0 or (lasts := seconds / done * left) > MAX_SECONDS:
        return None
    step = next(step for below, step in _ROUNDED if lasts < below)
    about = seconds_text(math.ceil(lasts / step) * step)
    return f"at this pace the rest would have taken about {about} more"
