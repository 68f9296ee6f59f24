"""What is shown during a run: a live bar on a terminal, plain lines elsewhere.

One thread takes the events and draws; everyone else only puts events into its queue. So nothing
waits for it, and the main thread, in which a signal may raise at any moment, shares no lock
with it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from pipecopy.cli.streams import Stream
from pipecopy.cli.text import (
    Status,
    counted,
    counters_text,
    event_line,
    left_text,
    share_text,
    status_line,
)
from pipecopy.events import (
    BatchSaved,
    CallEnded,
    CallStarted,
    Event,
    RangeKnown,
    RangeVerified,
    RetryScheduled,
    RunStarted,
    TransactionsAwaited,
    WorkerKilled,
)
from pipecopy.redact import redact
from pipecopy.units import duration_text

_SLOW = 1.0
"""Seconds after which a call is worth showing."""
_SPEED_WINDOW = 10.0
"""Seconds, at least, over which a speed is measured."""
_BAR_EVERY, _LINES_EVERY = 0.1, 5.0
"""Seconds between two refreshes."""


def stamped(text: str) -> str:
    """Return the line with the time of day before it, as a log has it."""
    return f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}"


@dataclass(frozen=True, kw_only=True)
class _Wait:
    """A call, or the open transactions of the source, that the run waits for."""

    verb: str
    what: str
    since: float
    limit: float
    shown_after: float = 0.0


class Meter(Progress):
    """How far a run is, by its events: rich measures the speeds and the time left.

    It draws itself as a bar with its numbers below, or, if `brief`, only what is waited for.
    """

    def __init__(
        self,
        console: Console,
        *,
        brief: bool = False,
        disable: bool = False,
        get_time: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(
            BarColumn(bar_width=None),
            TextColumn("{task.description}", markup=False),
            console=console,
            expand=True,
            transient=True,
            auto_refresh=False,  # the screen's thread does it
            redirect_stdout=False,
            redirect_stderr=False,
            disable=disable,
            get_time=get_time,
        )
        self._brief = brief
        self._ids = self.add_task("starting", total=None)
        self._rows = self.add_task("rows", total=None, visible=False)
        self._bytes = self.add_task("bytes", total=None, visible=False)
        self._first_id = 0
        self._max_id: int | None = None
        self._differences: int | None = None
        self._kills = self._retries = 0
        self._waits: dict[str, _Wait] = {}

    def take(self, event: Event) -> None:
        """Take an event into account."""
        match event:
            case RunStarted(config=config, mode=mode):
                # so a call that hung until its limit is soon out of the speed
                self.speed_estimate_period = max(_SPEED_WINDOW, config.call_timeout)
                self._differences = 0 if mode == "verify" else None
            case RangeKnown(first_id=first_id, max_id=max_id):
                self._first_id, self._max_id = first_id, max_id
                self.update(self._ids, total=max(1, max_id + 1 - first_id))
                self._advance(first_id, rows=0, size=0)
                self._waits.pop("transactions", None)
            case BatchSaved(key_range=(_, end), rows=rows, bytes=size):
                self._advance(end, rows, size)
            case RangeVerified(key_range=(_, end), rows=rows):
                found = event.missing + event.surplus + event.differing
                self._differences = (self._differences or 0) + found
                self._advance(end, rows, size=0)
            case WorkerKilled():
                self._kills += 1
            case RetryScheduled():
                self._retries += 1
            case TransactionsAwaited() | CallStarted() | CallEnded():
                self._wait(event)

    def _advance(self, next_id: int, rows: int, size: int) -> None:
        done = self.tasks[self._ids].completed
        self.advance(self._ids, next_id - self._first_id - done)
        self.advance(self._rows, rows)
        self.advance(self._bytes, size)

    def _wait(self, event: TransactionsAwaited | CallStarted | CallEnded) -> None:
        now = self.get_time()
        match event:
            case CallStarted(where=where, limit=limit):
                self._waits[where.side] = _Wait(
                    verb="running for",
                    what=f": {redact(str(where))}",
                    since=now,
                    limit=limit,
                    shown_after=_SLOW,
                )
            case CallEnded(where=where):
                self._waits.pop(where.side, None)
            case TransactionsAwaited(open=those, seconds=seconds, limit=limit):
                what = f" for {counted(len(those), 'open transaction')} of the source"
                self._waits["transactions"] = _Wait(
                    verb="waiting", what=what, since=now - seconds, limit=limit
                )
                if not those:
                    del self._waits["transactions"]

    def status(self) -> Status:
        """Return how far the run is now."""
        for task in self.task_ids:
            self.update(task)  # forgets what was done before the window of the speed
        ids, rows, size = self.tasks
        now = self.get_time()
        return Status(
            share=None if self._max_id is None else ids.percentage / 100,
            next_id=self._first_id + round(ids.completed),
            max_id=self._max_id,
            rows=round(rows.completed),
            rows_speed=rows.speed,
            bytes_speed=size.speed if self._differences is None else None,
            differences=self._differences,
            kills=self._kills,
            retries=self._retries,
            seconds_left=ids.time_remaining,
            waits=tuple(
                # what is long comes last: the bar cuts its lines
                f"{wait.verb} {now - wait.since:.0f}s of {duration_text(wait.limit)}{wait.what}"
                for wait in self._waits.values()
                if now - wait.since >= wait.shown_after
            ),
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return what is drawn, each on lines that are cut rather than wrapped."""
        if not self.tasks:
            return  # rich draws in its own constructor
        status = self.status()
        waits = status.waits
        if self._brief:
            waits = waits or ("looking at both databases",)
        else:
            done = share_text(status)
            known = status.share is not None
            self.update(self._ids, description=f"{done:>4}  {left_text(status)}" if known else done)
            yield from super().get_renderables()
            yield Text(counters_text(status), no_wrap=True, overflow="ellipsis")
        for line in waits:
            yield Text(line, style="yellow", no_wrap=True, overflow="ellipsis")


class Screen:
    """An observer and a context manager that shows a run.

    `line` returns the line that is written about an event, and `comment` what else is said of it.
    If `brief`, not the progress is shown but only what is waited for; if `quiet`, nothing.
    """

    def __init__(
        self,
        err: Stream,
        *,
        quiet: bool = False,
        brief: bool = False,
        line: Callable[[Event], str | None] = event_line,
        comment: Callable[[Event], str | None] = lambda _: None,
    ) -> None:
        console = Console(file=err, highlight=False)  # type: ignore[arg-type] # is an IO[str] but for its base class
        self._err = err
        self._quiet = quiet
        self._brief = brief
        self._line = line
        self._comment = comment
        self._live = err.isatty() and not console.is_dumb_terminal  # whatever FORCE_COLOR says
        self._meter = Meter(console, brief=brief, disable=not self._live)
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
        every = _BAR_EVERY if self._live else _LINES_EVERY
        with self._meter:
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
        if self._live:
            self._meter.refresh()
            return
        status = self._meter.status()
        for line in status.waits if self._brief else [status_line(status)]:
            self._write(stamped(redact(line)))

    def _write(self, text: str, style: str = "") -> None:
        if self._live:
            self._meter.console.print(Text(text, style=style))
        else:
            self._err.write(f"{text}\n")
