"""The attempts of one call: begun, killed at their limit, and begun again on timeouts alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Any

from pipecopy.errors import DatabaseError, FullCopyTimeoutError
from pipecopy.events import (
    CallEnded,
    CallOutcome,
    CallStarted,
    DriverOutput,
    Hang,
    RetryScheduled,
    Where,
    WorkerKilled,
)
from pipecopy.redact import redact
from pipecopy.supervisor import failures
from pipecopy.supervisor.endpoints import Endpoint
from pipecopy.supervisor.state import CutShortError, State
from pipecopy.units import seconds_text
from pipecopy.workers.messages import Crashed, Outcome, Raised, Returned, Task
from pipecopy.workers.worker import Worker

_START_TIMEOUT = 5.0
"""Seconds that a worker gets to start, if a call gets less: 0.03 for one of the package's own
(measured), but a script that it has to import may take seconds."""

_HANGS = 0.5
"""The share of its own limit after which a call that the whole copy's limit ends may be stuck."""

KeyRange = tuple[int, int]


class _Phase(Enum):
    WAITING = auto()  # for the delay before a retry to pass
    STARTING = auto()  # for the worker to be ready
    RUNNING = auto()
    DONE = auto()


class Call:
    """One call on one side. `advance` takes it as far as it can go now; it waits only for a kill.

    Raises, from `advance`: CallTimeoutError, FullCopyTimeoutError, DatabaseError,
    WorkerCrashedError, ConfigError (the script has no guard), HostError, CutShortError.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        task: Task,
        state: State[Any],
        *,
        key_range: KeyRange | None = None,
        rows: int | None = None,
        limit: float | None = None,
        retry: bool = True,
        is_save: bool = False,
        on_return: Callable[[Any], None] | None = None,
    ) -> None:
        """Begin with the first attempt.

        The call is about `rows` rows at most of the ids in `key_range`; None for all of them.
        `limit`, in seconds, stands in for the call's own limit, and is then not cut to what is left
        of the whole copy; `on_return` is called with what the call has returned, as soon as it has.
        A run that is asked to stop waits for a save that is under way.
        """
        self.endpoint = endpoint
        self.is_save = is_save
        self.task = task
        self.key_range = key_range
        self._rows = rows
        self._state = state
        self._limit = state.config.call_timeout if limit is None else limit
        self._bounded_by_copy = limit is None
        self._retries = state.config.max_retries if retry else 0
        self._on_return = on_return
        self._was_shortened = False
        self._phase = _Phase.STARTING
        self._attempt = 1
        self._began = state.clock.now()
        self._lasts = self._until(self._start_limit)
        """Seconds that the present phase may last."""
        self.value: Any = None
        self.seconds = 0.0
        """How long the attempt took that ended last."""
        endpoint.ensure_worker()

    @property
    def done(self) -> bool:
        """The call has returned, and `value` is what."""
        return self._phase is _Phase.DONE

    @property
    def was_retried(self) -> bool:
        """An attempt has timed out, and another one has begun."""
        return self._attempt > 1

    @property
    def waits_for_retry(self) -> bool:
        """The delay before another attempt passes: nothing is under way."""
        return self._phase is _Phase.WAITING

    @property
    def due(self) -> float:
        """When `advance` has to be called next, unless there is news before."""
        return self._began + self._lasts

    @property
    def pidfds(self) -> Iterator[int]:
        """The processes whose end would be news."""
        worker = self.endpoint.worker
        if self._phase is not _Phase.WAITING and worker is not None and worker.pidfd is not None:
            yield worker.pidfd

    @property
    def _start_limit(self) -> float:
        limit = max(self._state.config.call_timeout, _START_TIMEOUT)
        return limit if self._bounded_by_copy else min(limit, self._limit)

    @property
    def _where(self) -> Where:
        return Where(
            side=self.endpoint.side,
            dbname=self.endpoint.dbname,
            call=self.task.call,
            key_range=self.key_range,
            rows=self._rows,
            attempt=self._attempt,
        )

    def _until(self, limit: float) -> float:
        """Return the limit, or the seconds that are left of the whole copy."""
        if not self._bounded_by_copy:
            return limit
        return min(limit, self._state.left)

    def _enter(self, phase: _Phase, lasts: float) -> None:
        self._phase = phase
        self._began = self._state.clock.now()
        self._lasts = lasts

    def advance(self) -> None:
        """Go on as far as is possible now."""
        if self._phase is _Phase.WAITING and self._state.clock.now() >= self.due:
            self._attempt += 1
            self._enter(_Phase.STARTING, self._until(self._start_limit))
        if self._phase is _Phase.STARTING:
            self._await_start()
        if self._phase is _Phase.RUNNING:
            self._await_outcome()

    def _await_start(self) -> None:
        worker = self.endpoint.ensure_worker()
        started = worker.started()
        if isinstance(started, Crashed):
            self._crashed(started, "while it started")
        elif started:
            self._begin(worker)
        elif self._state.clock.now() >= self.due:
            self._at_limit(
                "its worker, which imports the script that starts the copy, had not started after",
                self._start_limit,
            )

    def _begin(self, worker: Worker) -> None:
        limit = self._until(self._limit)
        self._was_shortened = limit < self._limit
        self._state.count("calls")
        self._enter(_Phase.RUNNING, limit)
        worker.begin(self.task)
        self._state.notify(CallStarted(where=self._where, limit=limit))

    def _await_outcome(self) -> None:
        worker = self.endpoint.ensure_worker()
        # the time first: an outcome that is there when the limit is reached counts
        late = self._state.clock.now() >= self.due
        outcome = worker.outcome()
        if outcome is not None:
            self._pass_on_output(worker)
            self._take(outcome)
        elif late:
            self._at_limit("killed after", self._limit)

    def _pass_on_output(self, worker: Worker) -> None:
        output = worker.new_output()
        if output:
            side, dbname = self.endpoint.side, self.endpoint.dbname
            self._state.notify(DriverOutput(side=side, dbname=dbname, text=redact(output)))

    def _take(self, outcome: Outcome) -> None:
        if isinstance(outcome, Returned):
            self.endpoint.returned(self.task.call, outcome.value, outcome.position)
            self.value = outcome.value
            self._ended("returned")
            if self._on_return is not None:
                self._on_return(self.value)
        elif isinstance(outcome, Raised):
            self.endpoint.connected = outcome.connected
            self.endpoint.left_session &= not outcome.connected
            self._raised(outcome)
        else:
            self._crashed(outcome, "in the call")

    def _raised(self, raised: Raised) -> None:
        said = redact(str(raised))
        if raised.reason == "timed out":
            self._timed_out(said, remedy=raised.remedy)
            return
        self._ended("raised", said)
        self._note_saved_rows(raised)
        raise failures.of_raised(raised, self._where)

    def _crashed(self, crashed: Crashed, when: str) -> None:
        self.endpoint.kill()
        told = failures.last_words(crashed)
        self._ended("crashed", f"{crashed}{f': {crashed.refusal}' if crashed.refusal else told}")
        raise failures.of_crash(crashed, when, self._where)

    def _at_limit(self, verdict: str, full_limit: float) -> None:
        """Kill the worker, whose limit is reached: the call's own, or the whole copy's."""
        told, hangs = seconds_text(self._lasts), self._lasts >= full_limit * _HANGS
        hang = self.endpoint.ensure_worker().find_hang() if hangs else None
        self._kill_at_limit(hang)
        seen = f" while {hang}" if hang is not None else ""
        if self._lasts < full_limit:
            under_way = f"which had run for {told} of its {seconds_text(full_limit)}"
            if self._phase is _Phase.STARTING:
                under_way = f"whose worker had been starting for {told}"
            if hang is not None:
                under_way += f" and was {hang}"
            self._ended("cut short", f"the whole {self._state.what} reached its limit{seen}")
            raise self._full_copy_timeout(under_way)
        self._timed_out(f"{verdict} {told}{seen}", killed=True)

    def _kill_at_limit(self, hang: Hang | None) -> None:
        worker = self.endpoint.ensure_worker()
        seconds = self._state.clock.now() - self._began
        died = self._kill()
        self._state.count("kills")
        self._state.notify(
            WorkerKilled(
                where=self._where, pid=worker.pid, seconds=seconds, abandoned=not died, hang=hang
            )
        )

    def _kill(self) -> bool:
        """Kill the worker; warn and return False if it had to be left behind."""
        worker = self.endpoint.ensure_worker()
        self._pass_on_output(worker)
        died = self.endpoint.kill()
        if not died:
            self._state.warn(
                f"a worker of {self.endpoint} (pid {worker.pid}) did not die of SIGKILL in time"
                f" (it is {worker.state()}): it was left behind, and ends when the kernel lets it"
            )
        return died

    def cut_short(self) -> None:
        """Kill the worker if the call is under way: the copy ends for another reason."""
        if self._phase is not _Phase.RUNNING:
            return  # the worker has not been told of the call
        outcome = self.endpoint.ensure_worker().outcome()
        if isinstance(outcome, Returned):  # it came in time, and counts
            self._take(outcome)
            return
        if isinstance(outcome, Raised):
            self._note_saved_rows(outcome)
        self._kill()
        self._ended("cut short", f"the {self._state.what} ended")

    def _note_saved_rows(self, raised: Raised) -> None:
        """Note whether what was saved still is what the two tables have in common.

        What a source that failed over has lost is in the target all the same.
        """
        if self.endpoint.side == "target" or raised.reason == "table changed":
            self.endpoint.saved_rows_stand &= raised.saved_rows_stand

    def _timed_out(self, how: str, *, killed: bool = False, remedy: str | None = None) -> None:
        self._state.count("timeouts")
        self._ended("timed out", how)
        if self._attempt > self._retries:
            if self._was_shortened:
                raise self._full_copy_timeout(f"which timed out: {how}")
            raise failures.of_timeouts(how, self._where, remedy)
        if self._state.stopping:
            raise CutShortError
        delay = self._state.config.retries_delay
        self._enter(_Phase.WAITING, delay)
        if self.due >= self._state.deadline:
            raise self._full_copy_timeout(
                f"which timed out: {how}, and a retry in {seconds_text(delay)} would begin too late"
            )
        self.endpoint.ensure_worker()  # now: it starts while the delay passes
        self._state.count("retries")
        reason = "" if killed else how
        self._state.notify(RetryScheduled(where=self._where, delay=delay, reason=reason))

    def _full_copy_timeout(self, how: str) -> FullCopyTimeoutError:
        where = f" in attempt {self._attempt} of {self._where}, {how}"
        return self._state.full_copy_timeout(where, **failures.attributes(self._where))

    def wrong_value(self, expected: str) -> DatabaseError:
        """Return the error of a call that returned something other than expected."""
        message = f"{self._where} did not return {expected}"
        return DatabaseError(message, **failures.attributes(self._where))

    def _ended(self, outcome: CallOutcome, detail: str = "") -> None:
        self._phase = _Phase.DONE
        self.seconds = self._state.clock.now() - self._began
        self._state.notify(
            CallEnded(where=self._where, outcome=outcome, seconds=self.seconds, detail=detail)
        )
