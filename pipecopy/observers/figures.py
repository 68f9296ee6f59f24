"""The figures of a run: their names, and what its events make of them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from pipecopy.events import (
    BatchSaved,
    CallEnded,
    CallStarted,
    CommandEnded,
    Event,
    Measured,
    Paused,
    PauseReason,
    RangeKnown,
    RangeVerified,
    Resumed,
    RetryScheduled,
    RunEnded,
    RunStarted,
    ShardEnded,
    ShardProgress,
    ShardsKnown,
    ShardStarted,
    Warned,
    Where,
    WorkerKilled,
)
from pipecopy.observers.pauses import Pauses
from pipecopy.observers.shards import STATES, Shards, Whole
from pipecopy.redact import redact
from pipecopy.report import CheckReport, CopyReport, Outcome, Report, VerifyReport

RUN = ("file", "mode", "source", "target", "table")
"""The labels that all figures have: the first one tells apart two runs with the same table."""
_CALL = ("side", "call")
BUCKETS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, math.inf)
"""Seconds of a call: each bucket has those that took no longer, and longer than the one before."""
_OF_SHARDS = (ShardsKnown, ShardStarted, ShardProgress, ShardEnded, BatchSaved, RangeVerified)
"""What changes how far they are."""
_OUTCOMES = ("running", *get_args(Outcome))


@dataclass(frozen=True)
class Figure:
    """One figure of a run, by the name without the prefix and the suffix `_total`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """The name as it stands in the file."""
        return f"pipecopy_{self.name}{'_total' if self.kind == 'counter' else ''}"


FIGURES = (
    Figure("run_info", "gauge", "Always 1; the labels name the run.", ("run_id", "target_table")),
    Figure(
        "run_outcome",
        "gauge",
        "1 for the outcome of the run, which may be running; 0 for the others.",
        ("outcome",),
    ),
    Figure("exit_code", "gauge", "The exit code of the command, once it is known."),
    Figure("run_start_timestamp_seconds", "gauge", "When the run began."),
    Figure("run_seconds", "gauge", "How long the run has taken."),
    Figure("run_limit_seconds", "gauge", "How long the run may take."),
    Figure("call_limit_seconds", "gauge", "How long one call may take."),
    Figure(
        "last_success_timestamp_seconds",
        "gauge",
        "When a run last ended with exit code 0; kept when a run fails.",
    ),
    Figure("first_id", "gauge", "The first id to copy or compare."),
    Figure("max_id", "gauge", "The last id to copy or compare."),
    Figure("next_id", "gauge", "All ids below this are done."),
    Figure("rows", "counter", "Rows copied or compared."),
    Figure(
        "rows_written", "counter", "Rows by what the target did with them, if known.", ("change",)
    ),
    Figure("bytes", "counter", "Bytes copied."),
    Figure("batches", "counter", "Batches copied."),
    Figure("ranges", "counter", "Ranges of ids compared."),
    Figure("differences", "counter", "Ids that differ, by kind.", ("kind",)),
    Figure("repairs", "counter", "Ids repaired or deleted; known at the end.", ("action",)),
    Figure("differences_left", "gauge", "Ids that still differ at the end."),
    Figure("findings", "gauge", "What a check found, by mark.", ("mark",)),
    Figure("calls", "counter", "Attempts of calls that were started.", _CALL),
    Figure("call_seconds", "histogram", "How long attempts of calls took.", (*_CALL, "outcome")),
    Figure("timeouts", "counter", "Attempts that timed out.", _CALL),
    Figure("kills", "counter", "Workers killed at a limit.", _CALL),
    Figure("retries", "counter", "Retries of calls that timed out.", _CALL),
    Figure("paused", "gauge", "1 while the run is paused for this reason.", ("reason",)),
    Figure("pause_seconds", "counter", "How long the run was paused.", ("reason",)),
    Figure(
        "lag_seconds",
        "gauge",
        "How far the slowest standby of this side, or the side itself, is behind.",
        ("side",),
    ),
    Figure("active_sessions", "gauge", "Active sessions on this side.", ("side",)),
    Figure("shards", "gauge", "Shards of the run, by what becomes of them.", ("state",)),
    Figure("shards_again", "counter", "Attempts of shards that were lost, and run again."),
    Figure("jobs", "gauge", "How many shards may be copied at once."),
    Figure("estimated_rows", "gauge", "Rows that all shards have, as the plan estimated them."),
    Figure("warnings", "counter", "Warnings in the report."),
)


class Figures:
    """The figures of one run, as its events tell them."""

    def __init__(self, file: str, successes: dict[tuple[str, ...], float]) -> None:
        """Take the file's name, and when runs last succeeded: it is told if this one does."""
        self._file = file
        self._successes = successes
        self.run: tuple[str, ...] = ()
        """The values of the labels of the run; empty as long as there is none."""
        self._since = time.monotonic()
        self._has_ended = False
        self._whole = Whole()
        self._shards = Shards()
        self._pauses: dict[PauseReason, Pauses] = {
            reason: Pauses() for reason in get_args(PauseReason)
        }
        self.values: dict[str, dict[tuple[str, ...], float]] = {}
        """By the figure's name and the values of its own labels."""
        self.seconds: dict[tuple[str, ...], list[float]] = {}
        """The sum of the seconds, and how many there were in each bucket."""

    def now(self) -> None:
        """Take the time into account."""
        now = time.monotonic()
        if self.run and not self._has_ended:
            self._set("run_seconds", now - self._since)
        for reason, pauses in self._pauses.items():
            if pauses.under_way:
                self._set("pause_seconds", pauses.seconds_by(now), reason)

    def take(self, event: Event) -> None:
        """Take an event into account."""
        self._shards.take(event)
        if self._whole.has(event):
            self._take_of_run(event)
        elif isinstance(event, BatchSaved | RangeVerified):
            self._add_up(event)
        if self._shards.is_known and isinstance(event, _OF_SHARDS):
            self._take_of_shards()
        match event:
            case Warned():
                self._add("warnings", 1)
            case Paused() | Resumed() | ShardEnded():
                self._take_pause(event)
            case Measured(side=side, what="lag", value=value):
                self._set("lag_seconds", value, side)
            case Measured(side=side, value=value):
                self._set("active_sessions", value, side)
            case CallStarted() | CallEnded() | WorkerKilled() | RetryScheduled():
                self._take_of_call(event)

    def _take_of_run(self, event: Event) -> None:
        match event:
            case RunStarted():
                self._start(event)
            case RangeKnown(first_id=first_id, max_id=max_id):
                self._set("first_id", first_id)
                self._set("max_id", max_id)
                self._set("next_id", first_id)
            case BatchSaved(key_range=(_, next_id), rows=rows):
                self._set("next_id", next_id)
                self._add("rows", rows)
                self._add_up(event)
            case RangeVerified(key_range=(_, next_id), rows=rows):
                self._set("next_id", next_id)
                self._add("rows", rows)
                self._add_up(event)
            case ShardsKnown(jobs=jobs, estimated_rows=rows):
                self._set("jobs", jobs)
                self._set("shards_again", 0)
                if rows is not None:
                    self._set("estimated_rows", rows)
            case RunEnded(report=report, at=at):
                self._end(report, at)
            case CommandEnded(report=report, at=at, exit_code=code) if self.run:
                if not (self._has_ended or report is None):
                    self._end(report, at)
                self._set("exit_code", code)

    def _start(self, event: RunStarted) -> None:
        names = (event.source, event.target, event.table or "")
        self.run = (self._file, event.mode, *map(redact, names))
        self._set("run_info", 1, event.run_id, redact(event.target_table or ""))
        self._set_outcome("running")
        self._set("run_start_timestamp_seconds", event.at)
        self._set("run_limit_seconds", event.config.full_copy_timeout)
        self._set("call_limit_seconds", event.config.call_timeout)
        if (success := self._successes.get(self.run)) is not None:
            self._set("last_success_timestamp_seconds", success)
        zeros = {"copy": ("rows", "bytes", "batches"), "verify": ("rows", "ranges"), "check": ()}
        for name in ("warnings", *zeros[event.mode]):
            self._add(name, 0)
        for reason in get_args(PauseReason):
            self._set("paused", 0, reason)
            self._add("pause_seconds", 0, reason)

    def _add_up(self, event: BatchSaved | RangeVerified) -> None:
        """Add what adds up over shards."""
        match event:
            case BatchSaved(rows=rows, bytes=size):
                self._add("bytes", size)
                self._add("batches", rows > 0)
                self._add_each("rows_written", event, ("inserted", "updated", "unchanged"))
            case RangeVerified():
                self._add("ranges", 1)
                self._add_each("differences", event, ("missing", "surplus", "differing"))

    def _take_of_shards(self) -> None:
        self._set("rows", self._shards.rows)
        self._set("shards_again", self._shards.again)
        for state in STATES:
            self._set("shards", self._shards.states[state], state)

    def _take_pause(self, event: Paused | Resumed | ShardEnded) -> None:
        """Count the time in which the run is paused, or one of its shards at least."""
        now, who = time.monotonic(), (event.shard, event.host)
        match event:
            case Paused(reason=reason, seconds=seconds):
                self._pauses[reason].under_way.setdefault(who, now - seconds)
            case Resumed(reason=reason, seconds=seconds, at=at):
                self._pauses[reason].end(who, at, seconds, now)
                self._set("pause_seconds", self._pauses[reason].seconds, reason)
            case ShardEnded():  # one that was lost tells no end of what it waited for
                for pauses in self._pauses.values():
                    pauses.under_way.pop(who, None)
        for each, pauses in self._pauses.items():
            self._set("paused", bool(pauses.under_way), each)

    def _take_of_call(self, event: CallStarted | CallEnded | WorkerKilled | RetryScheduled) -> None:
        match event:
            case CallStarted(where=where):
                self._count("calls", where)
            case CallEnded():
                self._end_call(event)
            case WorkerKilled(where=where):
                self._count("kills", where)
            case RetryScheduled(where=where):
                self._count("retries", where)

    def _end_call(self, event: CallEnded) -> None:
        key = (event.where.side, event.where.call, event.outcome)
        seconds, *buckets = self.seconds.get(key, [0.0] * (1 + len(BUCKETS)))
        found = next(i for i, most in enumerate(BUCKETS) if event.seconds <= most)
        buckets[found] += 1
        self.seconds[key] = [seconds + event.seconds, *buckets]
        if event.outcome == "timed out":
            self._count("timeouts", event.where)

    def _end(self, report: Report, at: float) -> None:
        self.now()
        self._has_ended = True
        for reason, pauses in self._pauses.items():
            pauses.under_way.clear()
            self._set("paused", 0, reason)
        self._set_outcome(report.outcome)
        self._set("run_seconds", report.seconds)
        self._set("warnings", len(report.warnings))
        self._take_report(report)
        if _succeeded(report):
            self._successes[self.run] = at
            self._set("last_success_timestamp_seconds", at)

    def _take_report(self, report: Report) -> None:
        """Take what the report has beyond the events."""
        match report:
            case CopyReport():
                # of shards, there is no id below which all is done
                ids = () if self._shards.is_known else ("first_id", "next_id")
                for name in ("rows", "bytes", "batches", *ids):
                    self._set(name, getattr(report, name))
            case VerifyReport():
                for name in ("rows", "ranges", "first_id", "next_id"):
                    self._set(name, getattr(report, name))
                for kind in ("missing", "surplus", "differing", "not_comparable"):
                    self._set("differences", getattr(report, kind), kind)
                for action in ("repaired", "deleted"):
                    self._set("repairs", getattr(report, action), action)
                self._set("differences_left", report.left)
            case CheckReport():
                marks = [item.mark for item in report.items]
                for mark in ("ok", "warning", "problem"):
                    self._set("findings", marks.count(mark), mark)

    def _set_outcome(self, now: str) -> None:
        for outcome in _OUTCOMES:
            self._set("run_outcome", outcome == now, outcome)

    def _count(self, name: str, where: Where) -> None:
        for each in ("calls", "timeouts", "kills", "retries"):  # those of 0 as well: for increase()
            self._add(each, each == name, where.side, where.call)

    def _add_each(self, name: str, event: Event, fields: Sequence[str]) -> None:
        """Add the fields of the event that are known, each by its name as the label."""
        for field in fields:
            if (value := getattr(event, field)) is not None:
                self._add(name, value, field)

    def _add(self, name: str, value: float, *labels: str) -> None:
        self._set(name, self.values.get(name, {}).get(labels, 0) + value, *labels)

    def _set(self, name: str, value: float, *labels: str) -> None:
        self.values.setdefault(name, {})[labels] = value


def _succeeded(report: Report) -> bool:
    match report:
        case VerifyReport():
            return report.equal
        case CheckReport():
            return report.can_start
    return report.outcome == "complete"
