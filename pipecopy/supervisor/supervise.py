"""supervise: one run of any kind, from its first worker to the last thing that it leaves behind.

An operation says which calls are made on the two sides, and what comes of them. It runs in a thread
of its own, which never waits without a limit; the calling thread only waits for that one, so that
an exception raised in it at any moment, such as KeyboardInterrupt, leaves nothing half done, and
nothing that is stuck can keep it past the whole run's limit.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Generic

from pipecopy.config import Config
from pipecopy.contracts import ConnectionPool, Mode, Session, Side
from pipecopy.errors import (
    CallTimeoutError,
    ConfigError,
    FullCopyTimeoutError,
    HostError,
    PipecopyError,
    StoppedError,
)
from pipecopy.events import Observer, RunEnded
from pipecopy.report import Outcome, utc_now
from pipecopy.shard import Part
from pipecopy.supervisor.clock import TICK, Flag
from pipecopy.supervisor.endpoints import IdleEndpoints
from pipecopy.supervisor.progress import far
from pipecopy.supervisor.run import Run
from pipecopy.supervisor.state import CutShortError, ReportT
from pipecopy.supervisor.stop import StopRequests
from pipecopy.units import seconds_text
from pipecopy.workers.host import refusal, start
from pipecopy.workers.script import in_importing_worker, leave_unguarded_script

_GRACE = 0.2
"""Seconds past the whole run's limit after which the caller no longer waits for the clean-up."""
_HELD_UP = 2 * TICK
"""Seconds between two looks of the calling thread after which it may have been a standstill."""
_LAST_CLOSE = 0.1
"""Seconds that `close` gets on each side once the whole run's limit has struck."""
_STOP_CLOSE = 1.0
"""Seconds that it gets after an exception in the calling thread, such as KeyboardInterrupt."""
_OBSERVER_LAST = 1.0
"""Seconds that the observer gets for the events that are left, within the whole run's limit."""
_OBSERVER_LEAST = 0.03
NOTHING_KNOWN: Mapping[Side, Mapping[str, Any]] = MappingProxyType({})


def supervise(
    operation: Callable[[Run[ReportT]], None],
    report: ReportT,
    config: Config,
    pool: ConnectionPool,
    names: tuple[str, str],
    *,
    mode: Mode,
    writes: bool = False,
    deletes: bool = False,
    observer: Observer | None = None,
    stop: threading.Event | None = None,
    abort: threading.Event | None = None,
    part: Part | None = None,
    known: Mapping[Side, Mapping[str, Any]] = NOTHING_KNOWN,
    idle: IdleEndpoints | None = None,
) -> ReportT:
    """Run an operation within the limits, and return its report.

    Args:
        operation: makes all calls between the start of the workers and the `close` of both sides.
        report: what is reported of a run that has just begun.
        config: the limits.
        pool: opens databases by name, in worker processes.
        names: of the source and of the target, for the pool.
        mode: what the run is, for its sessions, events and messages.
        writes: the run writes to the target.
        deletes: the run removes surplus rows from the target.
        observer: is called with each event, in a thread of its own.
        stop: once it is set, what is in flight is finished, for at most `Config.grace`, and the run
            ends.
        abort: once it is set, the run ends at once, as it does when its limit strikes.
        part: which part it is of a sharded run, or of a verification by several at once; that has
            the run id of the report.
        known: fields of the `Session` of each side's first worker: what the plan has found there.
        idle: where workers of a run before are taken from, and left for the next one.

    Raises ConfigError for a wrong argument, and what ended the operation: see `copy_table`. No
    signal handlers are installed.

    """
    if in_importing_worker():
        leave_unguarded_script()
    _check_arguments(config, pool, names, stop)
    session = Session(
        run_id=report.run_id,
        side="source",  # each endpoint has its own
        call_timeout=config.call_timeout,
        max_batch_bytes=config.max_batch_bytes,
        mode=mode,
        writes=writes,
        deletes=deletes,
        host=os.uname().nodename,
        pid=os.getpid(),
        started=report.started,
        patience=0 if config.wait else None,
        part=part,
    )
    try:
        requests = StopRequests(stop=stop, abort=abort)
        run = Run(config, report, session, pool, names, observer=observer, stop=requests, idle=idle)
        for endpoint in run.endpoints.both:
            endpoint.know(**known.get(endpoint.side, {}))
        thread = _RunThread(run, operation)
    except HostError as error:
        error.report = report
        raise
    try:
        thread.start()
        thread.wait()
        return thread.result()
    except PipecopyError:
        raise
    except BaseException as struck:
        stopped = thread.stop()
        with suppress(AttributeError):
            setattr(struck, "report", stopped)  # noqa: B010 - no class of exceptions declares it
        raise
    finally:
        thread.release()


class _RunThread(Generic[ReportT]):
    """One run in its thread. What stands first is for the calling thread."""

    def __init__(self, run: Run[ReportT], operation: Callable[[Run[ReportT]], None]) -> None:
        self._run = run
        self._operation = operation
        self._thread = threading.Thread(target=self._main, name="pipecopy", daemon=True)
        self._outcome: Outcome | None = None
        """Of the operation, once that has ended."""
        self._error: PipecopyError | None = None
        self._report: ReportT | None = None
        """Of the whole run, once its clean-up has ended too."""
        self._released = False
        try:
            self._finished = Flag()
        except HostError:
            run.dismiss()
            raise

    # -- the calling thread

    def start(self) -> None:
        """Start the run. Raises HostError, with its report."""
        try:
            start(self._thread)
        except HostError as error:
            error.report = self._unfinished("failed")
            self._run.dismiss()
            raise

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
        error, report = self._error, self._report
        if report is None:  # the operation or the clean-up is stuck, and left to itself
            report = self._unfinished(self._outcome or "timed out")
            report = replace(report, warnings=(*report.warnings, "the clean-up took too long"))
        if error is None and report.outcome == "complete":
            return report
        if error is None:
            what, how_far = self._run.what, f"; {said}" if (said := far(report)) else ""
            if report.outcome == "stopped":
                error = StoppedError(f"the {what} was stopped{how_far}")
            else:
                limit = seconds_text(self._run.config.full_copy_timeout)
                error = FullCopyTimeoutError(
                    f"the whole {what} reached its limit of {limit}{how_far}"
                )
        error.report = error.report or report
        raise error

    def stop(self) -> ReportT:
        """End the run, since an exception struck the calling thread; a second one hurries it."""
        try:
            self._run.stop()  # in any case: the thread may be about to start
            if self._thread.ident is not None:
                self.wait(_STOP_CLOSE + _GRACE)
        except BaseException:  # noqa: BLE001 - the first one is raised again
            self._run.stop()
            self.wait(_GRACE)
        return self._report or self._unfinished("stopped")

    def release(self) -> None:
        """Close what only the calling thread needs, now or when the run's thread has ended."""
        self._released = True
        if self._report is not None or self._thread.ident is None:
            self._finished.close()

    def _unfinished(self, outcome: Outcome) -> ReportT:
        seconds = round(time.monotonic() - self._run.began, 3)
        return replace(self._run.report, outcome=outcome, seconds=seconds, ended=utc_now())

    # -- the run's own thread

    def _main(self) -> None:
        try:
            self._outcome = self._operate()
            self._close(self._outcome)
        except CutShortError:
            pass  # hurried
        except Exception as error:  # noqa: BLE001 - raised in the calling thread
            self._error = self._error or _own(error)
        finally:
            try:
                self._end(self._outcome or "failed")
            finally:
                self._finished.set()
                if self._released:  # the calling thread did not wait for the clean-up
                    self._finished.close()

    def _operate(self) -> Outcome:
        """Run the operation, and return what came of it."""
        try:
            self._run.start()
            self._operation(self._run)
        except CutShortError:
            return "stopped"
        except Exception as error:  # noqa: BLE001 - raised in the calling thread
            self._error = _own(error)
            timed_out = isinstance(error, CallTimeoutError | FullCopyTimeoutError)
            return "timed out" if timed_out else "failed"
        return "complete"

    def _close(self, outcome: Outcome) -> None:
        """Close both sides if they are connected and not stuck."""
        run = self._run
        run.cut_short()
        limit = _STOP_CLOSE if outcome == "stopped" else run.config.call_timeout
        left = run.close(min(limit, max(run.left, _LAST_CLOSE)))
        if left is not None and self._error is not None and self._error.side == "target":
            self._error.add(left)

    def _end(self, outcome: Outcome) -> None:
        """Leave nothing behind, and say how it went."""
        run = self._run
        try:
            run.dismiss()
        except Exception as error:  # noqa: BLE001 - the rest has to be done all the same
            run.warn(f"the clean-up failed: {type(error).__name__}: {error}")
        seconds = round(run.clock.now() - run.began, 3)
        paused = round(run.pauses.seconds, 3)
        run.update(outcome=outcome, seconds=seconds, paused=paused, ended=utc_now())
        run.notify(RunEnded(report=run.report))
        run.notify.close(max(_OBSERVER_LEAST, min(_OBSERVER_LAST, run.left)))
        for warning in run.notify.warnings:
            run.warn(warning)
        self._report = run.report
        if self._error is not None:
            self._error.report = self._report


def _check_arguments(
    config: object, pool: object, names: tuple[object, object], stop: object
) -> None:
    bad = []
    if not isinstance(config, Config):
        bad.append(f"config must be a Config, not {type(config).__name__}")
    if not callable(getattr(pool, "connect", None)):
        bad.append(f"pool must have a connect method, and {type(pool).__name__} has none")
    check_name = getattr(pool, "check_name", None)
    for argument, name in zip(("from_name", "to_name"), names, strict=True):
        if name == "":
            bad.append(f"{argument} is empty")
        elif not isinstance(name, str):
            bad.append(f"{argument} must be a database's name, not a {type(name).__name__}")
        elif check_name is not None and (wrong := check_name(name)):
            bad.append(f"{argument}: {wrong}")
    if stop is not None and not callable(getattr(stop, "is_set", None)):
        bad.append(f"stop must be a threading.Event, not a {type(stop).__name__}")
    if bad:
        raise ConfigError("; ".join(bad))


def _own(error: Exception) -> PipecopyError:
    """Return an error of pipecopy's own for one that nobody foresaw, such as no memory left."""
    if isinstance(error, PipecopyError):
        return error
    if (refused := refusal(error)) is not None:
        return refused
    internal = PipecopyError(f"internal error: {type(error).__name__}: {error}")
    internal.__cause__ = error
    return internal
