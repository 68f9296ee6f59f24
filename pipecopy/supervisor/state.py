"""The state of one run: its limits, its clock, its report, and the observer that is told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Generic, Literal, TypeVar

from pipecopy.config import Config
from pipecopy.contracts import Mode
from pipecopy.errors import FullCopyTimeoutError
from pipecopy.events import Observer, Warned
from pipecopy.redact import redact
from pipecopy.report import Report
from pipecopy.supervisor.clock import Clock
from pipecopy.supervisor.notifier import Notifier
from pipecopy.supervisor.pauses import Pauses
from pipecopy.supervisor.progress import far, rest
from pipecopy.units import seconds_text

ReportT = TypeVar("ReportT", bound=Report)


class CutShortError(Exception):
    """The run ends before all is done: it was stopped."""


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
        self.whole: Callable[[], Report] = self._so_far
        """Returns the report that errors tell of: that of the whole run, if this is a part."""
        self.notify = Notifier(observer)
        self.pauses = Pauses(self.clock.now, self.notify)
        """For what the run has waited besides calls."""
        self.stopping = False
        """The run was asked to stop, and ends when what is in flight is finished."""

    @property
    def left(self) -> float:
        """Seconds that are left of the whole run; below 0 once its limit has been reached."""
        return self.deadline - self.clock.now()

    def shorten(self, left: float) -> None:
        """Have the run end in so many seconds, unless it ends before."""
        self.deadline = min(self.deadline, self.clock.now() + left)

    def _so_far(self) -> Report:
        return replace(self.report, seconds=self.clock.now() - self.began)

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
        report = self.whole()
        limit = f"reached its limit of {seconds_text(self.config.full_copy_timeout)}"
        how_far = (str(self.pauses), far(report), rest(report, now - self._ids_known))
        message = "; ".join(filter(None, (f"the whole {self.what} {limit}{where}", *how_far)))
        error = FullCopyTimeoutError(message, **attributes)
        error.where = where
        return error

    def count(self, name: Literal["calls", "timeouts", "kills", "retries"]) -> None:
        """Add one to this counter of the report."""
        self.update(**{name: getattr(self.report, name) + 1})

    def warn(self, message: str) -> None:
        """Tell the observer now, and the report."""
        message = redact(message)
        self.update(warnings=(*self.report.warnings, message))
        self.notify(Warned(message=message))
