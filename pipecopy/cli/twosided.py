"""What the commands between two databases have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pipecopy.cli.display import Screen
from pipecopy.cli.options import IdRange, Limits, Output, Selection
from pipecopy.cli.stop import StopSignals
from pipecopy.events import Event, Observer, RunEnded
from pipecopy.supervisor.state import ReportT


@dataclass(frozen=True, kw_only=True)
class TwoSided:
    """What each of them was asked for."""

    source: str = field(repr=False)  # it may hold a password
    target: str = field(repr=False)
    selection: Selection
    ids: IdRange
    limits: Limits
    output: Output
    connections: Mapping[str, str] = field(repr=False)  # they may hold passwords


def observed(run: Callable[[Observer], ReportT], screen: Screen, signals: StopSignals) -> ReportT:
    """Return what the run returns, whose events the screen shows; settle the signals at its end."""

    def observe(event: Event) -> None:
        # in another thread: no signal gets in between
        if isinstance(event, RunEnded):
            signals.settle()
        screen(event)

    try:
        return run(observe)
    finally:
        signals.settle()  # where it ended before it began, or too late for observers
