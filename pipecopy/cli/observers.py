"""The observers of a command besides its screen: each in a thread of its own.

One that is stuck, such as on a file in a network, holds up neither the run nor another one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from pipecopy.events import CommandEnded, Event, Observer
from pipecopy.supervisor.notifier import Notifier
from pipecopy.units import seconds_text

_LAST = 2.0
"""Seconds that all of them together get, after the run, for what is left."""


class Observers:
    """An observer that hands each event to several, by the names that messages call them."""

    def __init__(self, observers: Mapping[str, Observer]) -> None:
        self._notifiers = [Notifier(each, name) for name, each in observers.items()]
        for notifier in self._notifiers:
            notifier.start()

    def __call__(self, event: Event) -> None:
        for notifier in self._notifiers:
            notifier(event)

    def close(self, end: CommandEnded) -> list[str]:
        """Tell them how the command ends, and let them end; return what to know of them."""
        self(end)
        for notifier in self._notifiers:  # all before the first is waited for: they share the time
            notifier.end()
        until, said = time.monotonic() + _LAST, list[str]()
        for notifier in self._notifiers:
            ended = notifier.join(max(0.0, until - time.monotonic()))
            said += notifier.warnings
            if not ended:
                said.append(
                    f"{notifier.name} did not end within {seconds_text(_LAST)}: it was left behind"
                )
        return said
