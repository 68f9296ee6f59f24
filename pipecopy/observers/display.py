"""What is shown during a run: a live bar on a terminal, plain lines elsewhere.

One thread takes the events and draws; everyone else only puts events into its queue. So nothing
waits for it, and the main thread, in which a signal may raise at any moment, shares no lock
with it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from io import TextIOBase
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pipecopy.events import Event
from pipecopy.observers.meter import Meter
from pipecopy.observers.text import event_line, status_line
from pipecopy.redact import redact

if TYPE_CHECKING:
    from pipecopy.observers.bar import Bar

_BAR_EVERY, _LINES_EVERY = 0.1, 5.0
"""Seconds between two refreshes."""


def stamped(text: str) -> str:
    """Return the line with the time of day before it, as a log has it."""
    return f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}"


class Screen:
    """An observer and a context manager that shows a run.

    `line` returns the line that is written about an event, and `comment` what else is said of it.
    If `brief`, not the progress is shown but only what is waited for; if `quiet`, nothing.
    """

    def __init__(
        self,
        err: TextIOBase,
        *,
        quiet: bool = False,
        brief: bool = False,
        line: Callable[[Event], str | None] = event_line,
        comment: Callable[[Event], str | None] = lambda _: None,
    ) -> None:
        self._err = err
        self._quiet = quiet
        self._brief = brief
        self._line = line
        self._comment = comment
        self._meter = Meter()
        self._bar = None if quiet else _bar(err, self._meter, brief=brief)
        self._queue: SimpleQueue[Event | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._draw, name="screen", daemon=True)

    def __call__(self, event: Event) -> None:
        self._queue.put(event)

    def __enter__(self) -> Self:
        if not self._quiet:
            self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._queue.put(None)
        if not self._quiet:
            self._thread.join(0.5)  # nothing in it waits long; the end of a run waits for nothing

    def _draw(self) -> None:
        every = _LINES_EVERY if self._bar is None else _BAR_EVERY
        with self._bar or nullcontext():
            due = time.monotonic() + every
            while True:
                try:
                    event = self._queue.get(timeout=max(0.0, due - time.monotonic()))
                except Empty:
                    due = time.monotonic() + every
                    self._refresh()
                    continue
                if event is None:
                    return
                self._meter.take(event)
                if line := self._line(event):
                    self._write(stamped(redact(line)))
                if comment := self._comment(event):
                    self._write(comment, style="bold")

    def _refresh(self) -> None:
        if self._bar is not None:
            self._bar.refresh()
            return
        status = self._meter.status()
        for line in status.waits if self._brief else [status_line(status)]:
            self._write(stamped(redact(line)))

    def _write(self, text: str, style: str = "") -> None:
        if self._bar is None:
            self._err.write(f"{text}\n")
        else:
            self._bar.write(text, style)


def _bar(err: TextIOBase, meter: Meter, *, brief: bool) -> Bar | None:
    """Return the bar; None without a terminal, whatever FORCE_COLOR says, and on a dumb one."""
    if not err.isatty():
        return None
    from rich.console import Console  # noqa: PLC0415 - heavy: for a terminal alone

    from pipecopy.observers.bar import Bar  # noqa: PLC0415 - as above

    console = Console(file=err, highlight=False)  # type: ignore[arg-type] # is an IO[str] but for its base class
    return None if console.is_dumb_terminal else Bar(console, meter, brief=brief)
