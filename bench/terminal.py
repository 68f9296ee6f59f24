"""The tables on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table as Drawn

from bench.figures import Figures
from bench.tables import tables


def show(figures: Figures) -> None:
    """Print them."""
    console = Console()
    for table in tables(figures):
        drawn = Drawn(title=table.title, title_justify="left", title_style="bold")
        for number, column in enumerate(table.columns):
            drawn.add_column(column, justify="right" if number and not table.text else "left")
        for row in table.rows:
            drawn.add_row(*(_styled(cell) for cell in row))
        console.print()
        console.print(drawn)
        if table.note:
            console.print(table.note)


def _styled(cell: str) -> str:
    bold = cell.startswith("**")
    text = cell.strip("*").replace("[", "\\[")
    return f"[bold red]{text}[/]" if bold else text
