"""Tells the observer what happened, from a thread of its own: it may block, raise or be slow."""

from __future__ import annotations

import queue
import threading

from pipecopy.events import Event, Observer

_MOST_EVENTS = 10_000
"""Events that wait for a slow observer; those beyond are dropped, and counted."""


class Notifier:
    """Hands events to the observer in their order."""

    def __init__(self, observer: Observer | None) -> None:
        self._observer = observer
        self._events: queue.Queue[Event | None] = queue.Queue(_MOST_EVENTS)
        self._dropped = 0
        self._errors: list[str] = []
        self._thread = threading.Thread(target=self._run, name="pipecopy-observer", daemon=True)
        if observer is not None:
            self._thread.start()

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
                if not self._errors:
                    self._errors.append(_text(error))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the report should say of the observer."""
        dropped = (
            (f"the observer was too slow: {self._dropped} events were dropped",)
            if self._dropped
            else ()
        )
        return (*(f"the observer raised {error}" for error in self._errors), *dropped)

    def close(self, timeout: float) -> None:
        """Let the observer take what is queued, for `timeout` seconds at most."""
        if self._observer is None:
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
