"""What is measured: numbers by name, and how late things were; shown as tables."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.soak.copies import Ended
from pipecopy.events import CallEnded, CallStarted, WorkerKilled
from tests.support.checks import LATE_CALL, LATE_COPY, SHORTEST_START

_SPREADS = {
    "kill overshoot": f"a killed call's limit (99 % within {LATE_CALL})",
    "copy overshoot": f"a whole copy's limit (all within {LATE_COPY})",
    "retry late": "a retry's due moment to its call",
    "stopped in": "a signal to the command's end",
    "processes gone in": "a copy's end to its last process's",
    "sessions gone in": "that, faults lifted, to its last session's",
}

_MOST_NOTES = 20
"""The first ones say most; all of them are in the JSON."""


@dataclass
class Measures:
    """All that the soak has seen so far."""

    faults: Counter[str] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    """Sums over all reports: calls, kills, retries and so on."""
    late_kills: list[float] = field(default_factory=list)
    """Seconds by which each call that was killed at its limit overshot it."""
    late_copies: list[float] = field(default_factory=list)
    """Likewise for each copy that reached the whole copy's limit."""
    late_retries: list[float] = field(default_factory=list)
    """Seconds from the moment at which a retry was due to its call's start."""
    stop_seconds: list[float] = field(default_factory=list)
    """From a signal that stops the command to its end."""
    process_seconds: list[float] = field(default_factory=list)
    """From a copy's end until its last process was gone."""
    session_seconds: list[float] = field(default_factory=list)
    """From a copy's end, and that of its faults, until its last server session was gone."""
    next_ids: int = 0
    """How many copies' `next_id` was checked, row by row."""
    wrong: Counter[str] = field(default_factory=Counter)
    """What must not be: hangs, leftovers, rows lost …"""
    notes: list[str] = field(default_factory=list)
    """One line for each of these."""

    def report(self, what: str, note: str, count: int = 1) -> None:
        """Count what must not be."""
        self.wrong[what] += count
        self.notes.append(f"{what}: {note}")

    def add(self, ended: Ended) -> None:
        """Count a copy, and measure how late its calls were."""
        self.copies[ended.outcome] += 1
        if ended.unexpected:
            self.report("unexpected ends", ended.unexpected)
        if ended.report is not None:
            for name in ("calls", "timeouts", "kills", "retries", "batches", "rows"):
                self.counts[name] += ended.report[name]
        self._add_calls(ended)

    def _add_calls(self, ended: Ended) -> None:
        started: dict[str, tuple[float, CallStarted]] = {}
        timed_out: dict[str, float] = {}
        killed: set[str] = set()
        for seen in ended.seen:
            event = seen.event
            if isinstance(event, CallStarted):
                side = event.where.side
                started[side] = (seen.at, event)
                if side in timed_out and event.where.attempt > 1:
                    due = timed_out[side] + ended.config.retries_delay
                    self.late_retries.append(max(0.0, seen.at - due))
                timed_out.pop(side, None)
            elif isinstance(event, WorkerKilled) and event.hang is not None:
                killed.add(event.where.side)
            elif isinstance(event, CallEnded):
                side = event.where.side
                if event.outcome == "timed out":
                    timed_out[side] = seen.at
                start = started.pop(side, None)
                limit = max(ended.config.call_timeout, SHORTEST_START)
                seconds = event.seconds
                if start is not None:
                    limit = start[1].limit
                    # as the observer saw it, too, which is not the supervisor's own word for it
                    seconds = max(seconds, seen.at - start[0])
                if side in killed or seconds > limit:
                    self.late_kills.append(max(0.0, seconds - limit))
                killed.discard(side)

    @property
    def clean(self) -> bool:
        """Nothing is wrong."""
        return not +self.wrong and percentile(self.late_kills, 99) <= LATE_CALL

    def to_dict(self) -> dict[str, Any]:
        """Return it all as values that `json.dumps` takes."""
        spreads = {
            "kill overshoot": self.late_kills,
            "copy overshoot": self.late_copies,
            "retry late": self.late_retries,
            "stopped in": self.stop_seconds,
            "processes gone in": self.process_seconds,
            "sessions gone in": self.session_seconds,
        }
        return {
            "clean": self.clean,
            "faults": dict(sorted(self.faults.items())),
            "copies": dict(self.copies.most_common()),
            "counts": dict(self.counts),
            "next_ids_checked": self.next_ids,
            "seconds": {name: spread(values) for name, values in spreads.items()},
            "wrong": {name: self.wrong[name] for name in WRONG} | dict(self.wrong),
            "notes": self.notes,
        }


WRONG = (
    "hangs",
    "leftovers",
    "false next_id",
    "unexpected ends",
    "rows lost",
    "rows doubled",
    "rows differing",
)
"""What is shown even if it is 0."""


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the smallest value that so many percent do not exceed; 0 if there is none."""
    if not values:
        return 0.0
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return how many there are, and the middle, the 99th percentile and the longest."""
    return {
        "count": len(values),
        "median": round(median(values), 4) if values else 0.0,
        "p99": round(percentile(values, 99), 4),
        "longest": round(max(values, default=0.0), 4),
    }


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
