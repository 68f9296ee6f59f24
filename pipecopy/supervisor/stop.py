"""Stop: a run that is asked to end finishes what is in flight within a grace time; nothing begins.

What is in flight is a save, or a unit: a batch that is loaded, a range that is compared. A batch
that is loaded ahead, while an older one is saved, is dropped.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipecopy.events import StopRequested
from pipecopy.supervisor.call import Call
from pipecopy.supervisor.state import CutShortError, State
from pipecopy.units import seconds_text

BATCH = "the batch in flight"
RANGE = "the range in flight"
LAST_STEPS = "the last steps"


@dataclass(frozen=True, kw_only=True)
class StopRequests:
    """By which other threads ask a run to end."""

    stop: threading.Event | None = None
    """When what is in flight is finished."""
    abort: threading.Event | None = None
    """At once."""

    def is_stop(self) -> bool:
        return self.stop is not None and self.stop.is_set()

    def is_abort(self) -> bool:
        return self.abort is not None and self.abort.is_set()


class Stop:
    """What a run knows of it. Only `at_once` is for other threads than the run's own."""

    def __init__(self, state: State[Any], requests: StopRequests) -> None:
        self._state = state
        self._requests = requests
        self._at_once = False
        self._unit: str | None = None
        self._older: Sequence[Call] = ()
        """The saves that were under way as the unit began."""
        self._drops_unit = False
        """One of these was, as the stop was requested: it is finished, and the unit is not."""
        self._heeded = self._aborted = False
        self.until = math.inf
        """When the grace time ends, by the clock, once the stop has been requested."""

    def at_once(self) -> None:
        """End the wait that is under way, or the next one, once."""
        self._at_once = True

    def heed(self, under_way: Sequence[Call]) -> Sequence[Call]:
        """Return the calls that go on, of those under way; raise CutShortError if the run ends."""
        if self._at_once:
            self._at_once = False
            raise CutShortError
        if self._requests.is_abort() and not self._aborted:
            self._aborted = self._heeded = True
            raise CutShortError
        if self._heeded or not (self._state.stopping or self._requests.is_stop()):
            return under_way
        is_news = not self._state.stopping
        if is_news:
            self._begin(under_way)
        # a pause within a unit, of a repair, may last: nothing is lost if the unit ends there
        pauses = self._state.pauses.under_way
        in_unit = self._unit is not None and not self._drops_unit and not pauses
        goes_on = under_way if in_unit else self._saves(under_way)
        ends = (
            not (goes_on or in_unit)
            or any(call.waits_for_retry for call in goes_on)
            or self._state.clock.now() >= self.until
        )
        finishing, grace = self._unit or BATCH, self._state.config.grace
        if is_news:
            event = StopRequested(grace=grace, finishing=finishing)
            self._state.notify(StopRequested(grace=0.0) if ends else event)
        if ends:
            # a copy tells of its last steps itself: without the statistics it is complete
            too_short = grace and self._state.clock.now() >= self.until
            if too_short and self._unit != LAST_STEPS:
                self._state.warn(
                    f"{finishing} was given up: it was not finished within {seconds_text(grace)}"
                    " (`grace`); the next run does it again"
                )
            self._heeded, self.until = True, math.inf  # to close both sides has its own limits
            raise CutShortError
        return goes_on

    def _begin(self, under_way: Sequence[Call]) -> None:
        self._state.stopping = True
        self.until = self._state.clock.now() + self._state.config.grace
        self._drops_unit = self._unit is not None and bool(self._saves(under_way))

    def _saves(self, under_way: Sequence[Call]) -> list[Call]:
        """Return the saves under way that are older than the unit; all of them outside of one."""
        return [
            call
            for call in under_way
            if call.is_save and not call.done and (self._unit is None or call in self._older)
        ]

    @contextmanager
    def unit(self, what: str, under_way: Sequence[Call]) -> Iterator[None]:
        """Mark what is worth finishing once it has begun."""
        self._unit, self._older = what, self._saves(under_way)
        try:
            yield
        finally:
            self._unit, self._older = None, ()
