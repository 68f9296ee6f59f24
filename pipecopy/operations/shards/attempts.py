"""The attempts of a run's shards: given to the engine, the biggest first, and again if one is lost.

Nothing is asked of the engine but to run each task at least once: the ledger sees to the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_all
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from pipecopy.config import Config
from pipecopy.errors import FullCopyTimeoutError, StoppedError, WorkerCrashedError
from pipecopy.events import (
    Event,
    Happened,
    Observer,
    ShardEnded,
    ShardOutcome,
    ShardProgress,
    ShardStarted,
)
from pipecopy.operations.parts import left_for_parts, left_to_hear, warn_once
from pipecopy.operations.shards.engine import Engine
from pipecopy.operations.shards.outcomes import ending, is_loss, result_of, text_of
from pipecopy.operations.shards.shard import InProcess, ShardResult, ShardTask, run_shard
from pipecopy.operations.shards.tally import Tally
from pipecopy.operations.shards.watch import LOOK, Watch
from pipecopy.shard import Shard
from pipecopy.sharded import ShardedReport
from pipecopy.supervisor.endpoints import IdleEndpoints
from pipecopy.supervisor.run import Run
from pipecopy.supervisor.state import CutShortError
from pipecopy.units import seconds_text
from pipecopy.workers.script import pickle_pool

_IN_FLIGHT = "the batches in flight"
_LEFT_OUT = (
    "a shard that another process copied had more events than travel with its result: logs, metrics"
    " and the page lack some; smaller shards, or bigger batches (`batch_size`), have fewer"
)


@dataclass(eq=False)
class _Attempt:
    """An attempt of a shard: it waits for its turn, or is under way."""

    shard: int
    number: int
    """1 for the first of this run."""
    due: float = 0.0
    """When it may begin, by the run's clock."""
    outcome: Future[ShardResult] = field(default_factory=Future)
    """It is the engine's once the attempt was given to that."""

    @property
    def has_ended(self) -> bool:
        return self.outcome.done()


class Attempts:
    """All of one run, which begin when `drive` is called."""

    def __init__(
        self,
        run: Run[ShardedReport],
        tally: Tally,
        names: tuple[str, str],
        engine: Engine,
        *,
        jobs: int,
        retries: int,
        observer: Observer,
        stop: threading.Event | None,
        target_time: float | None,
    ) -> None:
        """`stop` is that of the run; `observer` is called in any thread.

        `target_time` is the time now by the target's clock. Without it, attempts elsewhere go by
        what was left when they were given to the engine.
        """
        self._run, self._tally, self._names = run, tally, names
        self._engine, self._jobs, self._retries, self._observer = engine, jobs, retries, observer
        self._ends = None if target_time is None else target_time + self._left()
        self._stop, self._abort = stop, threading.Event()
        """For what runs in this process."""
        self._told = False
        """What runs elsewhere was told of the stop."""
        self._idle = IdleEndpoints(most=jobs)
        self._here: set[int] = set()
        """The shards whose events come while they run: in this process."""
        not_done = [shard for shard in tally.shards.values() if shard.state != "done"]
        self._waiting: list[_Attempt] = []
        self._claims: dict[int, range] = {}
        """The numbers by which this run may claim each shard: the engine may run a task again."""
        self._wait_for(not_done)
        self._under_way: list[_Attempt] = []
        self._silent: list[_Attempt] = []
        """They run, perhaps, on a host that is frozen."""
        self._watch = Watch(run, failures=retries)

    def drive(self) -> None:
        """Copy all shards. Raises what ends the run."""
        run = self._run
        with run.unit(_IN_FLIGHT):
            while self._under_way or (self._waiting and not self._is_stopping):
                if not self._is_stopping:
                    self._begin()
                elif run.stopping and not self._told:
                    self._stop_elsewhere()
                self._pause()
                for attempt in [each for each in self._under_way if each.has_ended]:
                    self._under_way.remove(attempt)
                    self._ended(attempt)
                self._look()
        if not self._tally.is_done:
            raise CutShortError

    def begin_again(self, lost: Sequence[Shard]) -> None:
        """Have shards run again that were done, and whose target has lost what they had saved."""
        run = self._run
        run.warn(
            f"{run.target} has lost rows that were saved, as after a failover:"
            f" {_shards(len(lost))} done once more"
        )
        run.call(run.target, "open_shards", run.report.run_id)
        self._tally.heard(lost)
        self._tally.again += len(lost)
        run.update(**self._tally.fields())
        self._wait_for(lost)

    def abort(self) -> None:
        """Have all attempts end at once, as far as they can be told."""
        self._abort.set()
        self._cancel([*self._under_way, *self._silent])

    def wait(self, seconds: float) -> None:
        """Wait for the end of those of this process, and take note of how far they came."""
        here = [each for each in self._under_way if self._is_here(each)]
        wait_for_all([each.outcome for each in here], seconds)
        for attempt in here:
            if attempt.has_ended:
                result, _ = result_of(attempt.outcome)
                self._take(attempt, result)

    def release(self) -> None:
        """Give back what the attempts had."""
        self._abort.set()
        self._engine.end()
        self._idle.dismiss()

    # -- one attempt

    def _wait_for(self, shards: Collection[Shard]) -> None:
        self._claims = {
            shard.shard: range(shard.attempt + 1, shard.attempt + 2 + self._retries)
            for shard in shards
        }
        self._waiting = [_Attempt(shard.shard, 1) for shard in shards]
        self._waiting.sort(key=self._turn)

    def _turn(self, attempt: _Attempt) -> float:
        """Return what is least for the biggest shard, which comes first."""
        return -self._tally.size(self._tally.shards[attempt.shard])

    def _begin(self) -> None:
        """Give attempts to the engine whose turn it is."""
        now, tables = self._run.clock.now(), self._tally.waiting_tables()
        for attempt in [each for each in self._waiting if each.due <= now]:
            if tables and self._tally.shards[attempt.shard].table in tables:
                continue
            if len(self._under_way) >= self._jobs:
                return
            self._waiting.remove(attempt)
            self._under_way.append(attempt)
            self._submit(attempt)

    def _submit(self, attempt: _Attempt) -> None:
        run, shard = self._run, self._tally.shards[attempt.shard]
        table, plan = self._tally.table_of(shard)
        task = ShardTask(
            pool=b"" if self._engine.is_here else pickle_pool(table.pool),
            from_name=self._names[0],
            to_name=self._names[1],
            config=self._config(table.config),
            ends=self._ends,
            run=run.report.run_id,
            number=shard.shard,
            table=table.name,
            known=plan.known,
            claims=self._claims[shard.shard],
            here=InProcess(
                pool=table.pool,
                observer=self._observe,
                stop=self._stop,
                abort=self._abort,
                left=self._left,
                idle=self._idle,
            ),
        )
        self._here.discard(shard.shard)
        self._watch.forget(shard.shard)
        attempt.outcome = self._engine.submit(run_shard, task)
        self._tell(ShardStarted, shard, first=shard.first, last=shard.last, attempt=attempt.number)

    def _config(self, config: Config) -> Config:
        """Return the limits of an attempt that begins now; the rates are of all together."""
        return replace(
            config,
            settle=0,
            wait=False,
            full_copy_timeout=max(0.001, self._left()),
            max_rate_bytes=_part(config.max_rate_bytes, self._jobs),
            max_rate_rows=_part(config.max_rate_rows, self._jobs),
        )

    def _ended(self, attempt: _Attempt) -> None:
        """Take note of how an attempt that was submitted has ended. Raises what ends the run."""
        result, error = result_of(attempt.outcome)
        self._take(attempt, result)
        if error is None:
            shard = self._tally.shards[attempt.shard]
            self._tally.set(shard.shard, state="done", next_id=shard.last + 1)
            self._tell_end(attempt, "done")
        elif self._is_stopping and _is_of_a_stop(error):
            self._tell_end(attempt, "stopped", text_of(error))
        elif self._may_go_on(error):
            self._lost(attempt, error)
        else:
            self._fail(attempt, error)

    def _take(self, attempt: _Attempt, result: ShardResult | None) -> None:
        """Take note of how far an attempt came, of whose end is known."""
        if result is None:
            return
        for event in result.events:
            self._observer(event)
        if result.left_out:
            warn_once(self._run, [_LEFT_OUT])
        self._tally.set(attempt.shard, host=result.host)
        if result.report is None:
            return
        if result.shard is not None:
            self._tally.ended(attempt.shard, result.shard, result.report)
        warn_once(self._run, result.report.warnings)

    def _may_go_on(self, error: BaseException) -> bool:
        """Tell whether it is no error of the run: to run the shard again may help."""
        if isinstance(error, FullCopyTimeoutError):  # this process was stopped, the shard's was not
            return self._left() > LOOK
        return _is_of_a_stop(error)

    def _lost(self, attempt: _Attempt, error: BaseException) -> None:
        """Have the shard run again, or raise the error if that was done too often."""
        if self._count(attempt) > self._retries:
            self._fail(attempt, error)
        self._tally.again += 1
        self._tell_end(attempt, "lost", text_of(error), again=True)
        table, _ = self._tally.table_of(self._tally.shards[attempt.shard])
        due = self._run.clock.now() + table.config.retries_delay
        self._waiting.append(_Attempt(attempt.shard, attempt.number + 1, due))
        self._waiting.sort(key=self._turn)

    def _fail(self, attempt: _Attempt, error: BaseException) -> NoReturn:
        self._tell_end(attempt, "failed", text_of(error))
        shard = self._tally.shards[attempt.shard]
        table, _ = self._tally.table_of(shard)
        raise ending(self._run, shard, table.name, self._count(attempt), error)

    def _count(self, attempt: _Attempt) -> int:
        """Return how often the shard was given to the engine, or claimed if that is more."""
        claimed = self._tally.shards[attempt.shard].attempt + 1 - self._claims[attempt.shard].start
        return max(attempt.number, claimed)

    def _tell_end(
        self, attempt: _Attempt, outcome: ShardOutcome, detail: str = "", *, again: bool = False
    ) -> None:
        self._run.update(**self._tally.fields())
        shard = self._tally.shards[attempt.shard]
        self._tell(
            ShardEnded,
            shard,
            host=shard.host,
            outcome=outcome,
            rows=shard.rows,
            detail=detail,
            attempt=attempt.number,
            again=again,
        )

    def _tell(self, kind: type[Happened], shard: Shard, **fields: Any) -> None:
        """Tell the observer what happened to the shard, which is so far."""
        table, _ = self._tally.table_of(shard)
        fields |= {"shard": shard.shard, "table": table.name, "next_id": shard.next_id}
        event: Any = kind(**fields)
        self._run.notify(event)

    # -- all of them

    def _left(self) -> float:
        """Return the seconds that are left for attempts; in any thread."""
        return left_for_parts(self._run)

    def _pause(self) -> None:
        """Wait for news, or for the next thing to do. Raises FullCopyTimeoutError."""
        run, left = self._run, left_to_hear(self._run)
        if left <= 0:
            raise run.full_copy_timeout()
        now = run.clock.now()
        due = [each.due - now for each in self._waiting if each.due > now]
        run.pause(min([LOOK, left, *due]), lambda: any(each.has_ended for each in self._under_way))

    @property
    def _is_stopping(self) -> bool:
        return self._run.stopping or (self._stop is not None and self._stop.is_set())

    def _stop_elsewhere(self) -> None:
        """Let each attempt save the batch in flight, and nothing more."""
        self._told = True
        run = self._run
        if not all(map(self._is_here, self._under_way)):
            self._cancel(self._under_way)  # those that have not begun
            run.call(run.target, "stop_shards", run.report.run_id, True)

    def _cancel(self, attempts: Sequence[_Attempt]) -> None:
        for attempt in attempts:
            self._engine.cancel(attempt.outcome)

    def _look(self) -> None:
        """Ask the ledger how far the shards are whose events do not come while they run."""
        elsewhere = [each for each in self._under_way if not self._is_here(each)]
        known = [self._tally.shards[each.shard] for each in elsewhere]
        for shard in self._watch.look(known):
            self._tally.heard([shard])
            self._run.update(**self._tally.fields())
            self._tell(ShardProgress, shard, host=shard.host, rows=shard.rows)
        for attempt in elsewhere:
            table, _ = self._tally.table_of(self._tally.shards[attempt.shard])
            silence = self._watch.silence(attempt.shard, table.config)
            if silence is not None:
                self._give_up(attempt, silence)

    def _give_up(self, attempt: _Attempt, silence: float) -> None:
        """Have the shard run again elsewhere: what the silent attempt saves from then on fails."""
        self._under_way.remove(attempt)
        self._silent.append(attempt)
        self._cancel([attempt])
        if self._tally.shards[attempt.shard].state == "done":  # the engine has lost the result
            self._tell_end(attempt, "done")
            return
        host = self._tally.shards[attempt.shard].host or "its host"
        self._lost(
            attempt,
            WorkerCrashedError(
                f"nothing was heard of {host} for {seconds_text(round(silence))}", lost=True
            ),
        )

    def _is_here(self, attempt: _Attempt) -> bool:
        return self._engine.is_here or attempt.shard in self._here

    def _observe(self, event: Event) -> None:
        """Take an event of an attempt in this process; in any thread."""
        if event.shard is not None:
            self._here.add(event.shard)
        self._observer(event)


def _is_of_a_stop(error: BaseException) -> bool:
    """Tell whether it is no error of its own: a stop brings it about as well as a loss."""
    return isinstance(error, StoppedError) or is_loss(error)


def _shards(count: int) -> str:
    return "1 shard is" if count == 1 else f"{count} shards are"


def _part(rate: float | None, jobs: int) -> float | None:
    return None if rate is None else rate / jobs
