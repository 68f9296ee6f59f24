"""Jobs of pipecopy.toml as a page: drawn for a terminal, else plain text."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipecopy.cli.checklist import STYLES, signs_for
from pipecopy.finding import Mark
from pipecopy.observers.text import one_line

if TYPE_CHECKING:
    from pipecopy.cli.jobs import Job

_WIDEST = 10_000
"""Characters, where no line is to be cut or wrapped."""


def page(path: str, jobs: Sequence[Job], problems: Sequence[str], *, alone: bool) -> str:
    """Return the jobs of the file, or the options of the one that was asked for.

    `problems` are those of the file, which no job can be run with.
    """
    console = Console(file=sys.stdout, highlight=False)
    on_terminal = console.is_terminal and not console.is_dumb_terminal
    if not on_terminal:
        console = Console(file=sys.stdout, highlight=False, width=_WIDEST, no_color=True)
    marks = signs_for(console).marks
    with console.capture() as drawn:
        console.print(Text(path, "bold"), soft_wrap=True)
        if jobs:
            console.print(_options(jobs[0]) if alone else _jobs(jobs, marks))
        every = [*problems, *(problem for job in jobs for problem in job.problems)]
        for problem in dict.fromkeys(every):
            console.print(Text(f"{marks['problem']} ", STYLES["problem"]) + problem, soft_wrap=True)
        console.print(Text(_verdict(jobs, problems), "bold"), soft_wrap=True)
    return "".join(f"{line.rstrip()}\n" for line in drawn.get().splitlines())


def _jobs(jobs: Sequence[Job], marks: dict[Mark, str]) -> Table:
    table = _table("", "job", "source", "target", "table", "extends")
    for job in jobs:
        mark: Mark = "problem" if job.problems else "ok"
        cells = (job.name, job.text("source"), job.text("target"), job.tables, job.parent or "-")
        table.add_row(Text(marks[mark].strip(), STYLES[mark]), *map(_cell, cells))
    return table


def _options(job: Job) -> Table:
    table = _table(f"job {job.name}", "value", "from")
    for name, option in job.options.items():
        style = "" if option.origin else "dim"
        cells = (name, option.text, option.origin or "built in")
        table.add_row(*(_cell(text, style) for text in cells))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in columns:
        table.add_column(_cell(name), overflow="fold")
    return table


def _cell(text: str, style: str = "") -> Text:
    return Text(one_line(text), style)


def _verdict(jobs: Sequence[Job], problems: Sequence[str]) -> str:
    """Return the last line."""
    if problems:
        return "No job of this file can run until it is fixed."
    if not jobs:
        return "It has no jobs."
    wrong = [job.name for job in jobs if job.problems]
    can = "Every job can run" if len(jobs) > 1 else "It can run"
    return f"Can't run here: {', '.join(wrong)}." if wrong else f"{can}."
