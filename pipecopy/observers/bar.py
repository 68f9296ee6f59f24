"""The live bar on a terminal, drawn by rich: how far the run is, and what it waits for."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from pipecopy.observers.meter import Meter
from pipecopy.observers.text import counters_text, left_text, share_text


class Bar(Progress):
    """Draws what the meter says, as a bar with its numbers below; if `brief`, only the waits."""

    def __init__(self, console: Console, meter: Meter, *, brief: bool = False) -> None:
        super().__init__(
            BarColumn(bar_width=None),
            TextColumn("{task.description}", markup=False),
            console=console,
            expand=True,
            transient=True,
            auto_refresh=False,  # the screen's thread does it
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._meter = meter
        self._brief = brief
        self._share = self.add_task("", total=None)

    def write(self, text: str, style: str) -> None:
        """Write a line above the bar."""
        self.console.print(Text(text, style=style))

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return what is drawn, each on lines that are cut rather than wrapped."""
        if not self.tasks:
            return  # rich draws in its own constructor
        status = self._meter.status()
        waits = status.waits
        if self._brief:
            waits = waits or ("looking at both databases",)
        else:
            text = share_text(status)
            if status.share is not None:
                text = f"{text:>4}  {left_text(status)}"
                self.update(self._share, total=1, completed=status.share)
            self.update(self._share, description=text)
            yield from super().get_renderables()
            counters = [counters_text(status)]
            if (shards := status.shards) is not None:
                counters += [str(shards), *filter(None, [shards.where])]
            for line in counters:
                yield Text(line, no_wrap=True, overflow="ellipsis")
        for line in waits:
            yield Text(line, style="yellow", no_wrap=True, overflow="ellipsis")
