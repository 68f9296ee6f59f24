"""What `--json` prints: one object, of one shape for every end of a command.

A command that a signal stops before it is parsed imports this as well, and nothing of a run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipecopy.cli.main import StoppedBySignal
from pipecopy.errors import PipecopyError
from pipecopy.redact import redact
from pipecopy.report import Report
from pipecopy.sharded import CheckedTables, PlanReport, RunsReport, ShardedReport, VerifiedTables

SCHEMA = 3
"""Raised whenever the shape changes."""
_REPORTS: dict[str | None, type[Report]] = {
    "copy": ShardedReport,  # whose own fields are null for a copy without shards
    "check": CheckedTables,  # whose `tables` are null for one
    "verify": VerifiedTables,
    "plan": PlanReport,
    "runs": RunsReport,
}
_JOBS = ("file", "looked_in", "jobs", "problems")
"""The fields of the command that has no run."""
_WHERE = ("side", "dbname", "call", "key_range", "attempts", "sqlstate", "errno", "limit")


def result(
    command: str | None,
    code: int,
    *,
    report: Report | None = None,
    error: BaseException | None = None,
) -> dict[str, Any]:
    """Return the object.

    `command` is the word on the command line, whose report gives the shape; None without one.
    """
    fields: tuple[str, ...] = _JOBS
    if command != "jobs":
        empty = _REPORTS.get(command, Report)(run_id="", source="", target="")
        fields = tuple(name for name in empty.to_dict() if name != "outcome")
    outcome = "stopped" if isinstance(error, StoppedBySignal) else "failed"
    return {
        "schema": SCHEMA,
        "command": command if command in {*_REPORTS, "jobs"} else None,
        "outcome": outcome,
        "exit_code": code,
        "error": None if error is None else _error(error),
        **dict.fromkeys(fields),
        **({} if report is None else report.to_dict()),
    }


def as_text(result: Mapping[str, Any]) -> str:
    """Return the object as one line."""
    return f"{json.dumps(result)}\n"


def _error(error: BaseException) -> dict[str, Any]:
    own = isinstance(error, PipecopyError)
    values = {name: getattr(error, name, None) if own else None for name in _WHERE}
    holder = getattr(error, "holder", None)
    return {
        "class": type(error).__name__,
        "message": redact(str(error)),
        **{name: redact(v) if isinstance(v, str) else v for name, v in values.items()},
        "holder": None if holder is None else asdict(holder),
    }
