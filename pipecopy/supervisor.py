"""copy_table: the whole story on one page.

The copy runs in a thread of its own, which never waits without a limit; the calling thread only
waits for that one, so that an exception raised in it at any moment, such as KeyboardInterrupt,
leaves nothing half done, and nothing that is stuck can keep it past the whole copy's limit.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

from pipecopy.batches import Batches
from pipecopy.calls import Calls, StoppedError
from pipecopy.clock import TICK, Clock, Flag, Wakeup
from pipecopy.config import Config
from pipecopy.contracts import ConnectionPool
from pipecopy.crew import Crew
from pipecopy.errors import (
    CallTimeoutError,
    ConfigError,
    FullCopyTimeoutError,
    PipecopyError,
    TableMismatchError,
)
from pipecopy.events import CopyEnded, CopyStarted, Observer, RangeKnown
from pipecopy.notifier import Notifier
from pipecopy.redact import redact, secrets_in
from pipecopy.report import CopyReport, Outcome
from pipecopy.run import Run
from pipecopy.seat import Seat
from pipecopy.tables import differences, warnings_of
from pipecopy.tally import Tally
from pipecopy.workers import (
    Connected,
    Task,
    in_importing_worker,
    leave_unguarded_script,
)

_GRACE = 0.2
"""Seconds past the whole copy's limit after which the caller no longer waits for the clean-up."""
_HELD_UP = 2 * TICK
"""Seconds between two looks of the calling thread after which it may have been a standstill."""
_LAST_CLOSE = 0.1
"""Seconds that `close` gets on each side once the whole copy's limit has struck (SPEC, rule 5)."""
_STOP_CLOSE = 1.0
"""Seconds that it gets after an exception in the calling thread, such as KeyboardInterrupt."""
_OBSERVER_LAST = 1.0
"""Seconds that the observer gets for the events that are left, within the whole copy's limit."""
_OBSERVER_LEAST = 0.03


def copy_table(
    config: Config,
    pool: ConnectionPool,
    from_name: str,
    to_name: str,
    *,
    observer: Observer | None = None,
) -> CopyReport:
    """Copy the table from the database `from_name` to `to_name`, in batches in the order of ids.

    Args:
        config: the limits; `full_copy_timeout` is kept to within 0.25 s, whatever is stuck.
        pool: opens databases by name, in worker processes; it travels there pickled with dill.
        from_name: the source's name, for the pool.
        to_name: the target's name, for the pool.
        observer: is called with each event, in a thread of its own.

    Returns:
        How it went: every row that was in the source when its batch was loaded, with an id from 0
        to the greatest one at the start, is in the target, once, with equal values, durably.

    Raises:
        ConfigError: an argument is wrong, the pool can't be pickled, or the script that calls
            this has no `if __name__ == "__main__"` guard.
        CallTimeoutError: one call timed out on all its attempts.
        FullCopyTimeoutError: the whole copy reached its limit.
        DatabaseError: a call raised; WorkerCrashedError: a worker died in a call.
        TableMismatchError: the two tables do not fit together.

    The report on the error tells how far the copy came: every id below its `next_id` is in the
    target. No signal handlers are installed.

    """
    if in_importing_worker():
        leave_unguarded_script()
    _look_at_arguments(config, pool, from_name, to_name)
    copy = _Copy(config, pool, from_name, to_name, observer)
    try:
        copy.start()
        copy.wait()
        return copy.result()
    except PipecopyError:
        raise
    except BaseException as stop:
        report = copy.stopped_by_caller()
        with suppress(AttributeError):
            setattr(stop, "report", report)  # noqa: B010 - no class of exceptions declares it
        raise
    finally:
        copy.release()


def _look_at_arguments(config: object, pool: object, from_name: object, to_name: object) -> None:
    bad = []
    if not isinstance(config, Config):
        bad.append(f"config must be a Config, not {type(config).__name__}")
    if not callable(getattr(pool, "connect", None)):
        bad.append(f"pool must have a connect method, and {type(pool).__name__} has none")
    for argument, name in (("from_name", from_name), ("to_name", to_name)):
        if name == "":
            bad.append(f"{argument} is empty")
        elif not isinstance(name, str):
            bad.append(f"{argument} must be a database's name, not a {type(name).__name__}")
    if bad:
        raise ConfigError("; ".join(bad))


class _Copy:
    """One copy. What stands first is for the calling thread, all else for the copy's own."""

    def __init__(
        self,
        config: Config,
        pool: ConnectionPool,
        from_name: str,
        to_name: str,
        observer: Observer | None,
    ) -> None:
        clock = Clock()
        self._began = clock.now()
        self._run = Run(
            config=config,
            clock=clock,
            deadline=self._began + config.full_copy_timeout,
            tally=Tally(
                run_id=secrets.token_hex(6),
                source=redact(from_name, secrets_in(from_name)),
                target=redact(to_name, secrets_in(to_name)),
            ),
            notify=Notifier(observer),
        )
        self._wakeup = Wakeup()
        self._calls = Calls(self._run, self._wakeup)
        self._crew = Crew(config, pool, self._run.tally.run_id, self._wakeup.wake)
        self._source = self._crew.seat("source", from_name)
        self._target = self._crew.seat("target", to_name)
        self._thread = threading.Thread(target=self._tell, name="pipecopy", daemon=True)
        self._outcome: Outcome | None = None
        self._report: CopyReport | None = None
        self._error: PipecopyError | None = None
        self._finished = Flag()

    # -- the calling thread

    def start(self) -> None:
        """Start the copy's thread."""
        self._thread.start()

    def wait(self, at_most: float = math.inf) -> None:
        """Wait for the end, until a moment after the limit, for at most so many seconds.

        Only the copy's thread can tell a standstill of the process, so one that this thread may
        have been in gives the other one the time to look, before the limit is believed.
        """
        until = min(self._run.deadline + _GRACE, self._now() + at_most)
        left, looked = until - self._now(), time.monotonic()
        while not self._finished.wait(left):
            held_up, looked = time.monotonic() - looked > _HELD_UP, time.monotonic()
            left = until - self._now()
            if held_up:
                left = TICK
            elif left <= 0:
                return

    def _now(self) -> float:
        return time.monotonic() - self._run.clock.stopped

    def result(self) -> CopyReport:
        """Return the report, or raise what ended the copy."""
        error = self._error
        report = self._report
        if report is None:  # its clean-up is stuck, and left to itself
            report = self._run.tally.report(self._outcome or "timed out", self._seconds)
            report = replace(report, warnings=(*report.warnings, "the clean-up took too long"))
        if error is None and report.outcome == "complete":
            return report
        if error is None:
            limit = self._run.config.full_copy_timeout
            error = FullCopyTimeoutError(f"the whole copy reached its limit of {limit:g} s")
        error.report = error.report or report
        raise error

    def stopped_by_caller(self) -> CopyReport:
        """End the copy because of an exception in the calling thread; a second one hurries it."""
        if self._thread.ident is not None:
            try:
                self._calls.stop()
                self.wait(_STOP_CLOSE + _GRACE)
            except BaseException:  # noqa: BLE001 - the first one is raised again
                self._calls.stop()
                self.wait(_GRACE)
        return self._report or self._run.tally.report("stopped", self._seconds)

    def release(self) -> None:
        """Let go of what only the calling thread needs."""
        if self._report is not None or self._thread.ident is None:
            self._finished.close()

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._began

    # -- the copy's own thread

    def _tell(self) -> None:
        try:
            self._outcome = self._copied()
            self._close(self._outcome)
        except StoppedError:
            pass  # hurried
        except Exception as error:  # noqa: BLE001 - raised in the calling thread
            self._error = self._error or _internal(error)
        finally:
            try:
                self._end(self._outcome or "failed")
            finally:
                self._finished.set()

    def _copied(self) -> Outcome:
        """Copy, and return what it came to."""
        try:
            self._copy()
        except StoppedError:
            return "stopped"
        except (CallTimeoutError, FullCopyTimeoutError) as error:
            self._error = error
            return "timed out"
        except PipecopyError as error:
            self._error = error
            return "failed"
        except Exception as error:  # noqa: BLE001 - raised in the calling thread
            self._error = _internal(error)
            return "failed"
        return "complete"

    def _copy(self) -> None:
        """Tell the story: connect, look at both tables, copy batch by batch, finish."""
        tally = self._run.tally
        self._run.notify(
            CopyStarted(
                run_id=tally.run_id,
                source=tally.source,
                target=tally.target,
                config=self._run.config,
            )
        )
        self._crew.start()
        for seat in (self._source, self._target):
            connected: Connected = self._call(seat, Task("connect"))
            seat.offers = connected.offers
        self._compare_tables()
        max_id: int = self._call(self._source, Task("get_max_id"))
        tally.max_id = max_id
        self._run.notify(RangeKnown(first_id=0, max_id=max_id))
        batches = Batches(self._run, self._calls, self._crew)
        batches.copy(self._source, self._target, max_id)
        self._finish(max_id)

    def _call(self, seat: Seat, task: Task) -> Any:
        return self._calls.wait(self._calls.begin(seat, task))

    def _compare_tables(self) -> None:
        source, target = (
            self._call(seat, Task("describe")) if "describe" in seat.offers else None
            for seat in (self._source, self._target)
        )
        found = differences(source, target)
        if found:
            raise TableMismatchError(
                f"the tables of {self._source} and {self._target} do not fit together: "
                + "; ".join(found),
                differences=found,
            )
        for warning in warnings_of(source, target):
            self._run.warn(warning)

    def _finish(self, max_id: int) -> None:
        """Do what comes after the last batch; every row is saved, so a failure is a warning."""
        if "finish" not in self._target.offers:
            return
        try:
            warning = self._call(self._target, Task("finish", (max_id,)))
        except PipecopyError as error:
            warning = str(error)
        if warning:
            self._run.warn(f"target: {warning}")

    def _close(self, outcome: Outcome) -> None:
        """Close both sides where they are connected and not stuck."""
        self._calls.cut_short()
        both = (self._source, self._target)
        left = self._run.left
        if left <= 0 or outcome == "stopped":
            limit = _STOP_CLOSE if left > _STOP_CLOSE else _LAST_CLOSE
            for warning in self._calls.close(both, limit):
                self._run.warn(warning)
            return
        for seat in both:
            left = max(self._run.left, _LAST_CLOSE)
            for warning in self._calls.close((seat,), min(self._run.config.call_timeout, left)):
                self._run.warn(warning)

    def _end(self, outcome: Outcome) -> None:
        """Leave nothing behind, and say how it went."""
        try:
            self._crew.dismiss()
        except Exception as error:  # noqa: BLE001 - the rest has to be done all the same
            self._run.warn(f"the clean-up failed: {type(error).__name__}: {error}")
        seconds = self._run.clock.now() - self._began
        notify = self._run.notify
        notify(CopyEnded(report=self._run.tally.report(outcome, seconds)))
        notify.close(max(_OBSERVER_LEAST, min(_OBSERVER_LAST, self._run.left)))
        for warning in notify.warnings:
            self._run.warn(warning)
        self._report = self._run.tally.report(outcome, seconds)
        if self._error is not None:
            self._error.report = self._report
        self._wakeup.close()


def _internal(error: Exception) -> PipecopyError:
    """Return an error of pipecopy's own for one that nobody foresaw, such as no descriptor left."""
    internal = PipecopyError(f"internal error: {type(error).__name__}: {error}")
    internal.__cause__ = error
    return internal
