"""What a command says on standard error beside the events of its run: for people, or as JSON."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, NamedTuple

from pipecopy.errors import PipecopyError
from pipecopy.observers.display import stamped
from pipecopy.observers.text import INFO, WARNING, one_line, printable
from pipecopy.redact import redact
from pipecopy.report import Report
from pipecopy.units import counted


class Said(NamedTuple):
    """One thing that is said."""

    text: str
    event: str
    """What it is, for JSON."""
    level: int = INFO
    timed: bool = True
    """It is about a run: a line for people begins with the time."""


def warned(message: str) -> Said:
    return Said(f"warning: {one_line(message)}", "warned", WARNING)


def lines_of(
    said: Iterable[Said],
    *,
    as_json: bool,
    report: Report | None = None,
    exit_code: int | None = None,
    error: BaseException | None = None,
    outcome: str | None = None,
    shard: int | None = None,
) -> tuple[str, ...]:
    """Return the lines, without their ends.

    JSON has what the report and the error tell. `outcome` stands for what no report knows, and
    `shard` is the one that the command was to copy.
    """
    if not as_json:
        texts = ((printable(redact(each.text)), each.timed) for each in said)
        return tuple(stamped(text) if timed else text for text, timed in texts)
    from pipecopy.observers import log  # noqa: PLC0415 - for JSON alone

    whole: dict[str, Any] = {} if report is None else log.fields_of_report(report)
    if isinstance(error, PipecopyError):
        whole |= log.fields_of_error(error)
    whole |= {"shard": shard, "host": None if shard is None else os.uname().nodename}
    of_run = {name: whole.get(name) for name in ("run", "table", "shard", "host")}
    whole |= {"exit_code": exit_code} | ({} if outcome is None else {"outcome": outcome})
    return tuple(
        log.json_line(
            each.level, each.event, each.text, **(whole if each.event in _LAST else of_run)
        )
        for each in said
    )


_LAST = ("run_ended", "error")
"""What has the figures of the run, and the exit code."""


def dropped(count: int, *, as_json: bool) -> str:
    """Return the line that stands for lines that nobody took in time."""
    text = f"warning: {counted(count, 'line')} left out here: standard error did not take them"
    (line,) = lines_of([Said(text, "lines_dropped", WARNING)], as_json=as_json)
    return f"{line}\n"
