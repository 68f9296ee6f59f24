"""The displays: a live bar on a terminal, plain lines elsewhere, nothing when asked for that."""

from __future__ import annotations

import time
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipecopy.cli.display import Display
from pipecopy.cli.progress import Progress
from pipecopy.cli.streams import Outlet
from pipecopy.cli.text import counters_text, left_text, status_line, waiting_lines


def display_for(err: Outlet, *, quiet: bool) -> Display:
    """Return the display that suits the standard error stream."""
    if quiet:
        return Nothing()
    console = Console(file=err, highlight=False)  # type: ignore[arg-type] # is an IO[str] but for its base class
    if err.isatty() and not console.is_dumb_terminal:  # whatever FORCE_COLOR says
        return Bar(console)
    return Lines(err)


class Nothing:
    """`--quiet`."""

    every = 3600.0

    def begin(self) -> None: ...
    def note(self, text: str) -> None: ...
    def say(self, text: str) -> None: ...
    def refresh(self, progress: Progress, now: float) -> None: ...
    def end(self) -> None: ...


def stamped(text: str) -> str:
    """Return the line with the time of day before it, as a log has it."""
    return f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}"


class Lines:
    """Plain lines for a log: what happens, as it happens, and the status every few seconds."""

    every = 5.0

    def __init__(self, stream: TextIO | Outlet) -> None:
        self._stream = stream

    def begin(self) -> None: ...

    def note(self, text: str) -> None:
        self.say(stamped(text))

    def say(self, text: str) -> None:
        self._stream.write(f"{text}\n")

    def refresh(self, progress: Progress, now: float) -> None:
        self.note(status_line(progress, now))

    def end(self) -> None: ...


class Bar:
    """A live bar at the foot of a terminal; what happens is written above it."""

    every = 0.1

    def __init__(self, console: Console) -> None:
        self._live = Live(
            console=console,
            auto_refresh=False,  # the screen's thread does it
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def begin(self) -> None:
        self._live.start()

    def note(self, text: str) -> None:
        self._live.console.print(Text(stamped(text)))

    def say(self, text: str) -> None:
        self._live.console.print(Text(text, style="bold"))

    def refresh(self, progress: Progress, now: float) -> None:
        self._live.update(bar(progress, now), refresh=True)

    def end(self) -> None:
        self._live.stop()


def bar(progress: Progress, now: float) -> RenderableType:
    """Return the bar with its numbers, and what has been under way for long."""
    share = progress.share
    row = Table.grid(padding=(0, 1), expand=True)
    row.add_column(ratio=1)
    row.add_column(justify="right", no_wrap=True)
    row.add_row(
        ProgressBar(total=1.0, completed=share or 0.0),
        Text("starting" if share is None else f"{share:4.0%}  {left_text(progress, now)}"),
    )
    counters = Text(counters_text(progress, now), no_wrap=True, overflow="ellipsis")
    waiting = [
        Text(line, style="yellow", no_wrap=True, overflow="ellipsis")
        for line in waiting_lines(progress, now)
    ]
    return Group(row, counters, *waiting)
