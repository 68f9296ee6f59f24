"""Notifier: hands events to an observer, which may be slow, block or raise."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress

from pipecopy.errors import HostError
from pipecopy.events import Event, Observer
from pipecopy.workers.host import start

_MOST_EVENTS = 10_000
"""Events that wait for a slow observer; those beyond are dropped, and counted."""


class Quick:
    """An observer that never blocks: it is called in the thread in which the event happened."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def __call__(self, event: Event) -> None:
        """Take note of the event."""
        self._observer(event)


class Notifier:
    """Hands events to the observer, in their order and in a thread of its own: it may block."""

    def __init__(self, observer: Observer | None, name: str = "the observer") -> None:
        self._observer = observer
        self.name = name
        self._events: queue.Queue[Event | None] = queue.Queue(_MOST_EVENTS)
        self._dropped = 0
        self._error = ""
        """What is said of the first one that the observer raised."""
        self._thread = threading.Thread(target=self._run, name="pipecopy-observer", daemon=True)

    def start(self) -> None:
        """Start the observer's thread. Raises HostError."""
        if self._observer is not None and not isinstance(self._observer, Quick):
            start(self._thread)

    def __call__(self, event: Event) -> None:
        """Queue the event; never blocks."""
        if self._observer is None:
            return
        if isinstance(self._observer, Quick):
            self._tell(self._observer, event)
            return
        try:
            self._events.put_nowait(event)
        except queue.Full:
            self._dropped += 1

    def _run(self) -> None:
        while (event := self._events.get()) is not None:
            if self._observer is not None:
                self._tell(self._observer, event)

    def _tell(self, observer: Observer, event: Event) -> None:
        try:
            observer(event)
        except BaseException as error:  # noqa: BLE001 - an observer can't touch the copy
            self._error = self._error or self._text(error)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of the observer."""
        raised = (self._error,) if self._error else ()
        if not self._dropped:
            return raised
        return (*raised, f"{self.name} was too slow: {self._dropped} events were dropped")

    def close(self, timeout: float) -> bool:
        """Let the observer take what is queued, for `timeout` seconds; return whether it did."""
        self.end()
        return self.join(timeout)

    def end(self) -> None:
        """Have the thread end once the observer has taken what is queued; never blocks."""
        with suppress(queue.Full):  # it blocks, or is too slow: its thread is a daemon
            self._events.put_nowait(None)

    def join(self, timeout: float) -> bool:
        """Wait for the thread's end, for `timeout` seconds; return whether it has ended."""
        if self._thread.ident is None:  # there is no observer, or its thread was refused
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _text(self, error: BaseException) -> str:
        if isinstance(error, HostError):  # its message says all
            return str(error)
        try:
            return f"{self.name} raised {type(error).__name__}: {error}"
        except Exception:  # noqa: BLE001 - an observer's own __str__
            return f"{self.name} raised {type(error).__name__}"
