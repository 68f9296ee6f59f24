"""The observers of a command besides its screen: each in a thread of its own.

One that is stuck, such as on a file in a network, holds up neither the run nor another one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from pipecopy.events import Event, Observer
from pipecopy.supervisor.notifier import Notifier

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

    def close(self) -> list[str]:
        """Let them end; return what the user should know of them."""
        until = time.monotonic() + _LAST
        for notifier in self._notifiers:
            notifier.close(max(0.0, until - time.monotonic()))
        return [warning for notifier in self._notifiers for warning in notifier.warnings]
