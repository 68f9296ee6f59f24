"""A story: what one kind of run does with the two sides, and the stage on which it is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from pipecopy.contracts import Mode
from pipecopy.report import Outcome, Report
from pipecopy.supervisor.calls import Calls
from pipecopy.supervisor.endpoints import Crew
from pipecopy.supervisor.run import Run
from pipecopy.supervisor.seat import Seat
from pipecopy.supervisor.tally import Tally
from pipecopy.workers import Connected, Task

ReportT = TypeVar("ReportT", bound=Report, covariant=True)  # noqa: PLC0105 - of Story


@dataclass(frozen=True)
class Stage:
    """What a story is told with."""

    run: Run
    calls: Calls
    crew: Crew
    source: Seat
    target: Seat

    def call(self, seat: Seat, task: Task) -> Any:
        """Make a call and return what it returned; raises what `Calls.wait` raises."""
        return self.calls.wait(self.calls.begin(seat, task))

    def call_both(self, task: Task) -> tuple[Any, Any]:
        """Make the same call on both sides at the same time; return what they returned."""
        source, target = (self.calls.begin(seat, task) for seat in (self.source, self.target))
        return self.calls.wait(source), self.calls.wait(target)

    def connect(self, seat: Seat) -> None:
        """Open one side."""
        connected: Connected = self.call(seat, Task("connect"))
        seat.offers = connected.offers


class Story(Protocol[ReportT]):
    """What one kind of run does."""

    @property
    def what(self) -> str:
        """What such a run is called in messages, such as `copy`."""
        ...

    @property
    def mode(self) -> Mode:
        """What the sessions on the two sides are for."""
        ...

    @property
    def writes(self) -> bool:
        """Whether the run writes to the target."""
        ...

    @property
    def deletes(self) -> bool:
        """Whether the run removes surplus rows from the target."""
        ...

    @property
    def tally(self) -> Tally:
        """The counts that every run has."""
        ...

    def tell(self, stage: Stage) -> None:
        """Do it all, between the start of the workers and the `close` of both sides."""

    def report(self, outcome: Outcome, seconds: float) -> ReportT:
        """Return the report as it is now; for any thread."""
        ...
