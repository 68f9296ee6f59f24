"""The screen during a copy: an observer whose own thread draws, so that nothing waits for it.

One thread folds the events into the progress and draws; everyone else only puts into its queue.
So no lock is shared with the main thread, in which a signal may raise at any moment.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Protocol, Self

from pipecopy.cli.progress import Progress
from pipecopy.cli.text import event_line
from pipecopy.events import Event
from pipecopy.redact import redact


class Display(Protocol):
    """Where the screen draws."""

    every: float
    """Seconds between two refreshes."""

    def begin(self) -> None:
        """Start drawing."""

    def note(self, text: str) -> None:
        """Add a line that stays, with the time of day."""

    def say(self, text: str) -> None:
        """Add a line that stays, as it is."""

    def refresh(self, progress: Progress, now: float) -> None:
        """Draw how far the copy is."""

    def end(self) -> None:
        """Leave only the lines that stay."""


class Screen:
    """An observer and a context manager: draws from `with` on, until its end."""

    def __init__(
        self,
        display: Display,
        *,
        line: Callable[[Event], str | None] = event_line,
        remark: Callable[[Event], str | None] = lambda _: None,
    ) -> None:
        self._display = display
        self._line = line
        self._remark = remark
        self._queue: SimpleQueue[Event | str | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._draw, name="screen", daemon=True)

    def __call__(self, event: Event) -> None:
        self._queue.put(event)

    def note(self, text: str) -> None:
        """Add a line that stays, with the time of day."""
        self._queue.put(text)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._queue.put(None)
        self._thread.join(0.5)  # nothing in it waits long; a copy's end waits for nothing at all

    def _draw(self) -> None:
        progress = Progress()
        self._display.begin()
        try:
            due = time.monotonic() + self._display.every
            while True:
                try:
                    item = self._queue.get(timeout=max(0.0, due - time.monotonic()))
                except Empty:
                    due = time.monotonic() + self._display.every
                    self._display.refresh(progress, time.monotonic())
                    continue
                if item is None:
                    return
                if isinstance(item, str):
                    self._display.note(redact(item))
                    continue
                progress = progress.after(item, time.monotonic())
                if line := self._line(item):
                    self._display.note(redact(line))
                if remark := self._remark(item):
                    self._display.say(remark)
        finally:
            self._display.end()
