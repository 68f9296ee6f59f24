"""What all parts of one run share."""

from __future__ import annotations

from dataclasses import dataclass

from pipecopy.config import Config
from pipecopy.events import Warned
from pipecopy.redact import redact
from pipecopy.supervisor.clock import Clock
from pipecopy.supervisor.notifier import Notifier
from pipecopy.supervisor.tally import Tally


@dataclass(frozen=True)
class Run:
    """One run: its limits, its clock, its counts, and who is told."""

    what: str
    """What it is, such as `copy`."""
    config: Config
    clock: Clock
    deadline: float
    """When all of it has to end, by the clock."""
    tally: Tally
    notify: Notifier

    @property
    def left(self) -> float:
        """Seconds that are left of the whole run; below 0 when its limit has struck."""
        return self.deadline - self.clock.now()

    def warn(self, message: str) -> None:
        """Say it now, and in the report."""
        message = redact(message)
        self.tally.warnings.append(message)
        self.notify(Warned(message=message))
