"""supervise: one run of any kind, from its first worker to the last thing that it leaves behind.

A run tells a story: which calls are made on the two sides, and what comes of them. It is told in a
thread of its own, which never waits without a limit; the calling thread only waits for that one, so
that an exception raised in it at any moment, such as KeyboardInterrupt, leaves nothing half done,
and nothing that is stuck can keep it past the whole run's limit.
"""

from __future__ import annotations

import math
import threading
import time
from contextlib import suppress
from dataclasses import replace
from typing import Generic

from pipecopy.config import Config
from pipecopy.contracts import ConnectionPool
from pipecopy.errors import CallTimeoutError, ConfigError, FullCopyTimeoutError, PipecopyError
from pipecopy.events import Observer, RunEnded, RunStarted
from pipecopy.report import Outcome
from pipecopy.supervisor.calls import Calls, StoppedError
from pipecopy.supervisor.clock import TICK, Clock, Flag, Wakeup
from pipecopy.supervisor.endpoints import Crew
from pipecopy.supervisor.notifier import Notifier
from pipecopy.supervisor.run import Run
from pipecopy.supervisor.story import ReportT, Stage, Story
from pipecopy.workers import in_importing_worker, leave_unguarded_script

_GRACE = 0.2
"""Seconds past the whole run's limit after which the caller no longer waits for the clean-up."""
_HELD_UP = 2 * TICK
"""Seconds between two looks of the calling thread after which it may have been a standstill."""
_LAST_CLOSE = 0.1
"""Seconds that `close` gets on each side once the whole run's limit has struck (SPEC, rule 5)."""
_STOP_CLOSE = 1.0
"""Seconds that it gets after an exception in the calling thread, such as KeyboardInterrupt."""
_OBSERVER_LAST = 1.0
"""Seconds that the observer gets for the events that are left, within the whole run's limit."""
_OBSERVER_LEAST = 0.03


def supervise(
    config: Config,
    pool: ConnectionPool,
    from_name: str,
    to_name: str,
    story: Story[ReportT],
    *,
    observer: Observer | None = None,
) -> ReportT:
    """Tell a story within the limits, and return its report.

    Raises ConfigError for a wrong argument, and what ended the story: see `copy_table`. No signal
    handlers are installed.
    """
    if in_importing_worker():
        leave_unguarded_script()
    _look_at_arguments(config, pool, from_name, to_name)
    supervised = _Supervised(config, pool, from_name, to_name, story, observer=observer)
    try:
        supervised.start()
        supervised.wait()
        return supervised.result()
    except PipecopyError:
        raise
    except BaseException as stop:
        report = supervised.stopped_by_caller()
        with suppress(AttributeError):
            setattr(stop, "report", report)  # noqa: B010 - no class of exceptions declares it
        raise
    finally:
        supervised.release()


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


class _Supervised(Generic[ReportT]):
    """One run. What stands first is for the calling thread, all else for the run's own."""

    def __init__(
        self,
        config: Config,
        pool: ConnectionPool,
        from_name: str,
        to_name: str,
        story: Story[ReportT],
        *,
        observer: Observer | None,
    ) -> None:
        clock = Clock()
        self._story = story
        self._began = clock.now()
        self._run = Run(
            what=story.what,
            config=config,
            clock=clock,
            deadline=self._began + config.full_copy_timeout,
            tally=story.tally,
            notify=Notifier(observer),
        )
        self._wakeup = Wakeup()
        calls = Calls(self._run, self._wakeup)
        crew = Crew(config, pool, story, self._wakeup.wake)
        self._stage = Stage(
            self._run, calls, crew, crew.seat("source", from_name), crew.seat("target", to_name)
        )
        self._thread = threading.Thread(target=self._tell, name="pipecopy", daemon=True)
        self._outcome: Outcome | None = None
        self._report: ReportT | None = None
        self._error: PipecopyError | None = None
        self._finished = Flag()

    # -- the calling thread

    def start(self) -> None:
        """Start the run's thread."""
        self._thread.start()

    def wait(self, at_most: float = math.inf) -> None:
        """Wait for the end, until a moment after the limit, for at most so many seconds.

        Only the run's thread can tell a standstill of the process, so one that this thread may
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

    def result(self) -> ReportT:
        """Return the report, or raise what ended the run."""
        error = self._error
        report = self._report
        if report is None:  # its clean-up is stuck, and left to itself
            report = self._story.report(self._outcome or "timed out", self._seconds)
            report = replace(report, warnings=(*report.warnings, "the clean-up took too long"))
        if error is None and report.outcome == "complete":
            return report
        if error is None:
            limit = self._run.config.full_copy_timeout
            error = FullCopyTimeoutError(
                f"the whole {self._run.what} reached its limit of {limit:g} s"
            )
        error.report = error.report or report
        raise error

    def stopped_by_caller(self) -> ReportT:
        """End the run because of an exception in the calling thread; a second one hurries it."""
        if self._thread.ident is not None:
            try:
                self._stage.calls.stop()
                self.wait(_STOP_CLOSE + _GRACE)
            except BaseException:  # noqa: BLE001 - the first one is raised again
                self._stage.calls.stop()
                self.wait(_GRACE)
        return self._report or self._story.report("stopped", self._seconds)

    def release(self) -> None:
        """Let go of what only the calling thread needs."""
        if self._report is not None or self._thread.ident is None:
            self._finished.close()

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._began

    # -- the run's own thread

    def _tell(self) -> None:
        try:
            self._outcome = self._told()
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

    def _started(self) -> RunStarted:
        story, tally = self._story, self._story.tally
        return RunStarted(
            run_id=tally.run_id,
            source=tally.source,
            target=tally.target,
            config=self._run.config,
            mode=story.mode,
            writes=story.writes,
            deletes=story.deletes,
        )

    def _told(self) -> Outcome:
        """Tell the story, and return what it came to."""
        try:
            self._run.notify(self._started())
            self._stage.crew.start()
            self._story.tell(self._stage)
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

    def _close(self, outcome: Outcome) -> None:
        """Close both sides where they are connected and not stuck."""
        self._stage.calls.cut_short()
        both = (self._stage.source, self._stage.target)
        left = self._run.left
        if left <= 0 or outcome == "stopped":
            limit = _STOP_CLOSE if left > _STOP_CLOSE else _LAST_CLOSE
            for warning in self._stage.calls.close(both, limit):
                self._run.warn(warning)
            return
        for seat in both:
            left = max(self._run.left, _LAST_CLOSE)
            for warning in self._stage.calls.close(
                (seat,), min(self._run.config.call_timeout, left)
            ):
                self._run.warn(warning)

    def _end(self, outcome: Outcome) -> None:
        """Leave nothing behind, and say how it went."""
        try:
            self._stage.crew.dismiss()
        except Exception as error:  # noqa: BLE001 - the rest has to be done all the same
            self._run.warn(f"the clean-up failed: {type(error).__name__}: {error}")
        seconds = self._run.clock.now() - self._began
        notify = self._run.notify
        notify(RunEnded(report=self._story.report(outcome, seconds)))
        notify.close(max(_OBSERVER_LEAST, min(_OBSERVER_LAST, self._run.left)))
        for warning in notify.warnings:
            self._run.warn(warning)
        self._report = self._story.report(outcome, seconds)
        if self._error is not None:
            self._error.report = self._report
        self._wakeup.close()


def _internal(error: Exception) -> PipecopyError:
    """Return an error of pipecopy's own for one that nobody foresaw, such as no descriptor left."""
    internal = PipecopyError(f"internal error: {type(error).__name__}: {error}")
    internal.__cause__ = error
    return internal
