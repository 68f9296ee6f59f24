"""A run that spares its source waits between two batches, each time with its reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pipecopy.events import BatchSaved, Event, Paused, Resumed
from tests.support.drivers import RecordingPool
from tests.support.runs import copy


class Seen:
    """An observer that keeps what it has seen of the pauses, and may do something at a batch."""

    def __init__(self, at: int | None = None, do: Callable[[], object] = lambda: None) -> None:
        self.events: list[Event] = []
        self._at = at
        self._do = do

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if sum(isinstance(each, BatchSaved) for each in self.events) == self._at:
            self._at = None
            self._do()

    @property
    def pauses(self) -> list[Paused]:
        """The pauses, as each began."""
        return [e for e in self.events if isinstance(e, Paused) and not e.seconds]

    @property
    def resumed(self) -> list[Resumed]:
        return [event for event in self.events if isinstance(event, Resumed)]


# -- the rate


@pytest.mark.parametrize("read_ahead", [0, 1])
@pytest.mark.parametrize("unit", ["rows", "bytes"])
def test_the_rate_is_kept(unit: str, read_ahead: int, sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create(range(100))
    size = 10.0 if unit == "rows" else copy(sqlite_pool).bytes / 10
    seen = Seen()
    # a batch each 0.1 s; the last one is not waited for
    limits: dict[str, Any] = {f"max_rate_{unit}": 10 * size, "read_ahead": read_ahead}
    report = copy(sqlite_pool, observer=seen, **limits)
    saves = [event.at for event in seen.events if isinstance(event, BatchSaved)]
    assert saves[-1] - saves[0] == pytest.approx(0.9, rel=0.1)
    assert {event.reason for event in seen.pauses} == {"max rate"}
    assert report.paused == pytest.approx(sum(each.seconds for each in seen.resumed), abs=0.002)
    assert 0.5 < report.paused < report.seconds
