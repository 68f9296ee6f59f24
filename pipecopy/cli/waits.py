"""The displays of a command that soon ends: only what it waits for is worth a line."""

from __future__ import annotations

from rich.console import Console, Group
from rich.text import Text

from pipecopy.cli.display import Display
from pipecopy.cli.displays import Bar, Lines, Nothing
from pipecopy.cli.progress import Progress
from pipecopy.cli.streams import Outlet
from pipecopy.cli.text import waiting_lines


def waits_for(err: Outlet, *, quiet: bool) -> Display:
    """Return the display that suits the standard error stream."""
    if quiet:
        return Nothing()
    console = Console(file=err, highlight=False)  # type: ignore[arg-type] # is an IO[str] but for its base class
    if err.isatty() and not console.is_dumb_terminal:
        return WaitBar(console)
    return WaitLines(err)


class WaitLines(Lines):
    """Plain lines: every few seconds, the calls that have been under way for long."""

    def refresh(self, progress: Progress, now: float) -> None:
        for line in waiting_lines(progress, now):
            self.note(line)


class WaitBar(Bar):
    """The same at the foot of a terminal."""

    def refresh(self, progress: Progress, now: float) -> None:
        lines = waiting_lines(progress, now) or ["looking at both databases"]
        texts = [Text(line, style="yellow", no_wrap=True, overflow="ellipsis") for line in lines]
        self._live.update(Group(*texts), refresh=True)
