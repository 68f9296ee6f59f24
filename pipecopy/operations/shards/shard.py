"""One shard: the copy of a range of ids, in a process of any engine.

What it is given can be pickled by the standard pickle, so any `concurrent.futures.Executor` can
run it anywhere. It claims its shard in the ledger, and goes on where the attempt before it ended.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pipecopy.config import Config
from pipecopy.contracts import ConnectionPool, Side
from pipecopy.errors import DatabaseError, PipecopyError, StoppedError, WorkerCrashedError
from pipecopy.events import CallEnded, CallStarted, Event, Measured, Observer, RangeKnown
from pipecopy.operations.copy import copy_batches
from pipecopy.operations.fit import fit
from pipecopy.operations.parts import by_plan, new_part
from pipecopy.report import CopyReport
from pipecopy.shard import Shard
from pipecopy.supervisor.endpoints import IdleEndpoints
from pipecopy.supervisor.notifier import Quick
from pipecopy.supervisor.run import Run
from pipecopy.supervisor.state import CutShortError
from pipecopy.supervisor.supervise import supervise
from pipecopy.workers.script import load_pool

_LAST_WORDS = 1.0
"""Seconds in which an attempt that failed writes its error into the ledger."""


class InProcess:
    """What an attempt shares with the run that started it, if that is the same process.

    It travels without any of it: then events come with the result, and the ledger stops it.
    """

    def __init__(
        self,
        *,
        pool: ConnectionPool | None = None,
        observer: Observer | None = None,
        stop: threading.Event | None = None,
        abort: threading.Event | None = None,
        left: Callable[[], float] | None = None,
        idle: IdleEndpoints | None = None,
    ) -> None:
        self.pool = pool
        self.observer = observer
        self.stop = stop
        self.abort = abort
        self.left = left
        """Returns the seconds that are left of the whole run."""
        self.idle = idle

    def __reduce__(self) -> tuple[Any, ...]:
        return (InProcess, ())


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """One attempt of one shard, for an engine."""

    pool: bytes = field(repr=False)  # it may hold passwords
    """Pickled by dill; empty if the task does not leave this process, where `here` has it."""
    from_name: str = field(repr=False)
    to_name: str = field(repr=False)
    config: Config
    """`full_copy_timeout` is what is left of the whole run."""
    ends: float | None = None
    """When the run ends, by the target's clock: the task may have waited for its turn since."""
    run: str
    number: int
    table: str | None
    """The source's, as the pool was told it."""
    known: Mapping[Side, Mapping[str, Any]] = field(repr=False)
    """What the plan has found: see `supervise`."""
    claims: range | None = None
    """The numbers by which this run may claim the shard; None for any. An engine may run the task
    again, time and again, and tell nobody."""
    stopped: bool = False
    """A shard whose run was stopped is copied all the same."""
    most_events: int = 10_000
    """So many travel with the result."""
    here: InProcess = field(default_factory=InProcess, repr=False)

    def own(self, event: Event) -> Event:
        """Return an event of the attempt, which this process makes, with what it is about."""
        host = os.uname().nodename
        return replace(event, shard=self.number, host=host, table=self.table)


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """How an attempt ended."""

    host: str
    report: CopyReport | None
    """None if it did not begin."""
    shard: Shard | None
    """As it was claimed; None if it was not."""
    error: PipecopyError | None = None
    events: tuple[Event, ...] = ()
    """Those that nobody was told of while it ran."""
    left_out: int = 0
    """How many more there were."""


def run_shard(task: ShardTask) -> ShardResult:
    """Copy the shard, within the limits of the task; never raises what a copy raises."""
    attempt = ShardAttempt(task)
    events: list[Event] = []
    left_out = 0

    def observe(event: Event) -> None:
        nonlocal left_out
        event = task.own(event)
        if task.here.observer is not None:
            task.here.observer(event)
        elif _travels(event) and len(events) < task.most_events:
            events.append(event)
        elif _travels(event):
            left_out += 1

    report, error = None, None
    try:
        report = attempt.run(Quick(observe))  # the run has a thread for its observer
    except PipecopyError as failed:
        report, error = failed.report, failed
        error.report = None  # it is beside it
    host = os.uname().nodename
    return ShardResult(
        host=host,
        report=report,
        shard=attempt.claimed,
        error=error,
        events=tuple(events),
        left_out=left_out,
    )


def _travels(event: Event) -> bool:
    """Tell whether the event goes with the result: one of each call would be too much."""
    match event:
        case CallEnded(outcome="returned", where=where):
            return where.attempt > 1
        case CallStarted() | Measured():
            return False
    return True


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


class ShardAttempt:
    """One attempt of a shard, in this process."""

    def __init__(self, task: ShardTask) -> None:
        self._task = task
        self.claimed: Shard | None = None
        """The shard as it was claimed; None before that."""

    def run(
        self,
        observer: Observer | None,
        *,
        then: Callable[[Run[CopyReport]], None] = lambda _: None,
    ) -> CopyReport:
        """Copy the shard; `then` is called, in the same sessions, once it is done.

        Raises what a copy raises.
        """
        task = self._task
        pool = task.here.pool
        if pool is None:
            pool = load_pool(task.pool, in_worker=False)
        config = task.config
        if task.here.left is not None:  # it may have waited for its turn
            config = replace(config, full_copy_timeout=max(0.001, task.here.left()))
        report = CopyReport.of(pool, task.from_name, task.to_name)
        with by_plan(task.run):
            return supervise(
                partial(self._copy, then=then),
                replace(report, run_id=task.run),
                config,
                pool,
                (task.from_name, task.to_name),
                mode="copy",
                writes=True,
                observer=observer,
                stop=task.here.stop,
                abort=task.here.abort,
                part=new_part("shard", task.number),
                known=task.known,
                idle=task.here.idle,
            )

    def _copy(self, run: Run[CopyReport], then: Callable[[Run[CopyReport]], None]) -> None:
        run.connect()
        fit(run)
        run.pace.begin()
        shard = self._claim(run)
        if shard.state == "done":  # by an attempt whose end nobody was told of
            return
        if shard.state != "running":
            raise StoppedError(f"shard {shard.shard} of run {shard.run} was stopped")
        self._refuse_further_claim(shard)
        run.notify(RangeKnown(first_id=shard.next_id, max_id=shard.last))
        try:
            copy_batches(run, shard.next_id, shard.last)
        except (PipecopyError, CutShortError) as error:
            self._say_failed(run, error)
            raise
        with run.last_steps():
            run.call(run.target, "end_shard", "done", None)
            then(run)

    def _claim(self, run: Run[CopyReport]) -> Shard:
        shard: Shard = run.call(run.target, "claim_shard", self._task.number, self._task.stopped)
        self.claimed = shard
        run.source.claimed(shard.attempt)
        if self._task.ends is not None:
            run.shorten(self._task.ends - shard.read_at)
        run.update(first_id=shard.next_id, next_id=shard.next_id, max_id=shard.last)
        return shard

    def _refuse_further_claim(self, shard: Shard) -> None:
        """Raise WorkerCrashedError if the run has claimed the shard as often as it may."""
        claims = self._task.claims
        if claims is not None and shard.attempt >= claims.stop:
            raise WorkerCrashedError(
                f"it was claimed {_times(shard.attempt - claims.start)}, and lost each time",
                lost=True,
                remedy="see in the logs of the engine and of its hosts why, or allow more attempts"
                " (`shard_retries`)",
            )

    def _say_failed(self, run: Run[CopyReport], error: Exception) -> None:
        """Write into the ledger how the attempt ended, if the target still answers."""
        limit = min(_LAST_WORDS, run.config.call_timeout, run.left)
        is_lost = isinstance(error, DatabaseError) and error.lost
        may_answer = run.target.connected or isinstance(error, WorkerCrashedError)
        if limit <= 0 or is_lost or not may_answer:
            return
        stopped = isinstance(error, CutShortError | StoppedError)
        state, said = ("stopped", None) if stopped else ("failed", str(error))
        run.cut_short()
        with run.last_steps(), suppress(PipecopyError, CutShortError):
            run.call(run.target, "end_shard", state, said, limit=limit, retry=False)
