"""The result as tables for the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from bench.soak.measures import LATE_CALL, LATE_COPY

_SPREADS = {
    "kill overshoot": f"a killed call's limit (99 % within {LATE_CALL})",
    "copy overshoot": f"a whole copy's limit (all within {LATE_COPY})",
    "retry late": "a retry's due moment to its call",
    "stopped in": "a signal to the command's end",
    "processes gone in": "a copy's end to its last process's",
    "sessions gone in": "that, faults lifted, to its last session's",
}

_MOST_NOTES = 20
"""The first ones tell most, and all of them are in the JSON."""


def show(result: dict[str, Any], console: Console) -> None:
    """Print the tables."""
    faults = Table("fault", "number", title=f"{sum(result['faults'].values())} faults")
    copies = Table("copy ended", "number", title=f"{sum(result['copies'].values())} copies")
    for table, counts in ((faults, result["faults"]), (copies, result["copies"])):
        table.columns[1].justify = "right"
        for name, count in counts.items():
            table.add_row(name, f"{count:,}")
    seconds = Table("seconds from", "times", "median", "99th percentile", "longest")
    for name, spread in result["seconds"].items():
        values = (f"{spread[column]:.3f}" for column in ("median", "p99", "longest"))
        seconds.add_row(_SPREADS[name], f"{spread['count']:,}", *values)
    for column in seconds.columns[1:]:
        column.justify = "right"
    sums = Table("over all copies", "number")
    sums.columns[1].justify = "right"
    for name, count in result["counts"].items():
        sums.add_row(name, f"{count:,}")
    sums.add_row("next_id checked, row by row", f"{result['next_ids_checked']:,}")
    sums.add_section()
    for name, count in result["wrong"].items():
        sums.add_row(name, f"{count:,}", style="bold red" if count else "bold")
    for table in (faults, copies, seconds, sums):
        console.print(table)
    for note in result["notes"][:_MOST_NOTES]:
        console.print(note, style="red", markup=False, highlight=False)
