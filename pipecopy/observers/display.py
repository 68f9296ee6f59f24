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
from dataclasses import dataclass
from datetime import datetime
from io import TextIOBase
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pipecopy.events import DifferencesFound, Event, RunEnded, Warned
from pipecopy.observers.meter import Meter
from pipecopy.observers.shards import Whole
from pipecopy.observers.text import INFO, Status, event_line, level_of, status_line
from pipecopy.redact import redact

if TYPE_CHECKING:
    from pipecopy.observers.bar import Bar
    from pipecopy.observers.log import LogObserver

_BAR_EVERY = 0.1
"""Seconds between two refreshes."""
PROGRESS = 60.0
"""Seconds between two status lines, unless told otherwise: a short copy in a crontab has none."""


def stamped(text: str, at: float | None = None) -> str:
    """Return the line with the time before it, now or `at`: local, with the zone's offset."""
    now = datetime.now() if at is None else datetime.fromtimestamp(at)  # noqa: DTZ005, DTZ006 - its zone comes next
    return f"{now.astimezone().isoformat(' ', 'seconds')} {text}"


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a screen shows, and how."""

    least: int = INFO
    """The least level of the events that are written."""
    progress: float | None = PROGRESS
    """Seconds between two status lines; None for none, and no bar."""
    as_json: bool = False
    """Each line is a JSON object, also on a terminal."""


class Screen:
    """An observer and a context manager that shows a run.

    `comment` returns what else is said of an event. If `brief`, not the progress is shown but only
    what is waited for. What the last lines of a run tell is left to them.
    """

    def __init__(
        self,
        err: TextIOBase,
        shown: Shown = Shown(),
        *,
        brief: bool = False,
        comment: Callable[[Event], str | None] = lambda _: None,
    ) -> None:
        self._err = err
        self._shown = shown
        self._brief = brief
        self._comment = comment
        self._meter = Meter()
        self._whole = Whole()
        self._log = _json_log(err, shown.least) if shown.as_json else None
        draws = shown.progress is not None and not shown.as_json
        self._bar = _bar(err, self._meter, brief=brief) if draws else None
        self._warned = set[str]()
        self._queue: SimpleQueue[Event | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._draw, name="screen", daemon=True)

    def __call__(self, event: Event) -> None:
        self._queue.put(event)

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
        self._thread.join(0.5)  # nothing in it waits long; the end of a run waits for nothing

    def has_told(self, warning: str) -> bool:
        """Return whether it has written this warning of the run."""
        return warning in self._warned

    def _draw(self) -> None:
        every = self._shown.progress if self._bar is None else _BAR_EVERY
        with self._bar or nullcontext():
            due = time.monotonic() + (every or 0)
            while True:
                left = None if every is None else max(0.0, due - time.monotonic())
                try:
                    event = self._queue.get(timeout=left)
                except Empty:
                    due = time.monotonic() + (every or 0)
                    self._refresh()
                    continue
                if event is None:
                    return
                self._take(event)

    def _take(self, event: Event) -> None:
        self._meter.take(event)
        level = level_of(event, of_run=self._whole.has(event))
        if level >= self._shown.least and not isinstance(
            event,
            RunEnded | DifferencesFound,  # the last lines tell them
        ):
            self._tell(event)
        if comment := self._comment(event):
            self._write(comment, style="bold")

    def _tell(self, event: Event) -> None:
        if self._log is not None:
            self._log(event)
        elif line := event_line(event):
            self._write(stamped(redact(line), event.at))
        if isinstance(event, Warned):
            self._warned.add(event.message)

    def _refresh(self) -> None:
        status = self._meter.status()
        if self._bar is not None:
            self._bar.refresh()
        elif not self._brief:
            self._tell_status(status, status_line(status))
        else:
            for line in status.waits:
                self._tell_status(status, line)

    def _tell_status(self, status: Status, line: str) -> None:
        if self._log is not None:
            self._log.write_status(status, line)
        else:
            self._write(stamped(redact(line)))

    def _write(self, text: str, style: str = "") -> None:
        if self._bar is None:
            self._err.write(f"{text}\n")
        else:
            self._bar.write(text, style)


def _json_log(err: TextIOBase, least: int) -> LogObserver:
    import logging  # noqa: PLC0415 - for JSON alone

    from pipecopy.observers.log import LogObserver, json_formatter  # noqa: PLC0415 - as above

    # this screen's own: it changes no other one's settings
    logger = logging.Logger("pipecopy", least)  # noqa: LOG001
    handler = logging.StreamHandler(err)
    handler.setFormatter(json_formatter())
    logger.addHandler(handler)
    return LogObserver(logger)


def _bar(err: TextIOBase, meter: Meter, *, brief: bool) -> Bar | None:
    """Return the bar; None without a terminal, whatever FORCE_COLOR says, and on a dumb one."""
    if not err.isatty():
        return None
    from rich.console import Console  # noqa: PLC0415 - heavy: for a terminal alone

    from pipecopy.observers.bar import Bar  # noqa: PLC0415 - as above

    console = Console(file=err, highlight=False)  # type: ignore[arg-type] # is an IO[str] but for its base class
    return None if console.is_dumb_terminal else Bar(console, meter, brief=brief)
