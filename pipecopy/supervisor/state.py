"""The state of one run: its limits, its clock, its report, and the observer that is told of it."""

from __future__ import annotations

import queue
import threading
from dataclasses import replace
from typing import Any, Generic, Literal, TypeVar

from pipecopy.config import Config
from pipecopy.contracts import Mode
from pipecopy.errors import FullCopyTimeoutError
from pipecopy.events import Event, Observer, Warned
from pipecopy.redact import redact
from pipecopy.report import Report
from pipecopy.supervisor.clock import Clock
from pipecopy.supervisor.progress import far, rest
from pipecopy.workers.host import start

ReportT = TypeVar("ReportT", bound=Report)

_MOST_EVENTS = 10_000
"""Events that wait for a slow observer; those beyond are dropped, and counted."""


class State(Generic[ReportT]):
    """What all parts of one run share. Only the run's own thread changes it; any may read it."""

    def __init__(
        self, config: Config, mode: Mode, report: ReportT, observer: Observer | None
    ) -> None:
        self.config = config
        self.what = "verification" if mode == "verify" else mode
        """What messages call the run."""
        self.clock = Clock()
        self.began = self.clock.now()
        self.deadline = self.began + config.full_copy_timeout
        """When all of it has to end, by the clock."""
        self._ids_known = self.began
        """When the range of ids was."""
        self.report = report
        """How far the run is: replaced at each step, so that each thread sees a whole one."""
        self.notify = Notifier(observer)

    @property
    def left(self) -> float:
        """Seconds that are left of the whole run; below 0 once its limit has been reached."""
        return self.deadline - self.clock.now()

    def update(self, **fields: Any) -> None:
        """Replace these fields of the report."""
        if "max_id" in fields:
            self._ids_known = self.clock.now()
        self.report = replace(self.report, **fields)

    def full_copy_timeout(self, where: str = "", **attributes: Any) -> FullCopyTimeoutError:
        """Return the error of the whole run's limit: how far it was, and how long the rest is.

        `where` goes on from "reached its limit of 30 s".
        """
        now = self.clock.now()
        report = replace(self.report, seconds=now - self.began)
        limit = f"reached its limit of {self.config.full_copy_timeout:g} s"
        how_far = (far(report), rest(report, now - self._ids_known))
        message = "; ".join(filter(None, (f"the whole {self.what} {limit}{where}", *how_far)))
        return FullCopyTimeoutError(message, **attributes)

    def count(self, name: Literal["calls", "timeouts", "kills", "retries"]) -> None:
        """Add one to this counter of the report."""
        self.update(**{name: getattr(self.report, name) + 1})

    def warn(self, message: str) -> None:
        """Tell the observer now, and the report."""
        message = redact(message)
        self.update(warnings=(*self.report.warnings, message))
        self.notify(Warned(message=message))


class Notifier:
    """Hands events to the observer, in their order and in a thread of its own: it may block."""

    def __init__(self, observer: Observer | None) -> None:
        self._observer = observer
        self._events: queue.Queue[Event | None] = queue.Queue(_MOST_EVENTS)
        self._dropped = 0
        self._error = ""
        """The first one that the observer raised."""
        self._thread = threading.Thread(target=self._run, name="pipecopy-observer", daemon=True)

    def start(self) -> None:
        """Start the observer's thread. Raises HostError."""
        if self._observer is not None:
            start(self._thread)

    def __call__(self, event: Event) -> None:
        """Queue the event; never blocks."""
        if self._observer is None:
            return
        try:
            self._events.put_nowait(event)
        except queue.Full:
            self._dropped += 1

    def _run(self) -> None:
        while (event := self._events.get()) is not None:
            try:
                if self._observer is not None:
                    self._observer(event)
            except BaseException as error:  # noqa: BLE001 - an observer can't touch the copy
                self._error = self._error or _text(error)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the report should say of the observer."""
        raised = (f"the observer raised {self._error}",) if self._error else ()
        if not self._dropped:
            return raised
        return (*raised, f"the observer was too slow: {self._dropped} events were dropped")

    def close(self, timeout: float) -> None:
        """Let the observer take what is queued, for `timeout` seconds at most."""
        if self._thread.ident is None:  # there is no observer, or its thread was refused
            return
        try:
            self._events.put_nowait(None)
        except queue.Full:
            return  # it blocks: its thread is a daemon
        self._thread.join(timeout)


def _text(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - an observer's own __str__
        return type(error).__name__
