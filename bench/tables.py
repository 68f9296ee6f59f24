"""The figures as tables, for the terminal and for the README alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from bench.figures import Figures, goals, ratio, rows_per_second


@dataclass(frozen=True)
class Table:
    """A table of texts; all columns but the first are numbers, unless `text` says so."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""
    text: bool = False


def tables(figures: Figures) -> Iterator[Table]:
    """Yield all that the figures give."""
    yield Table(
        "Goals",
        ("throughput, unless it says otherwise", "goal", "measured", ""),
        [(each.title, each.goal, each.measured, each.verdict) for each in goals(figures)],
    )
    for data_set in figures.get("data_sets", {}).values():
        yield _throughput(data_set)
    parts = {
        "second_copy": _second_copy,
        "latency": _latency,
        "round_trips": _round_trips,
        "cpu": _cpu,
        "memory": _memory,
        "verify": _verify,
    }
    for name, table in parts.items():
        if name in figures:
            yield table(figures[name])
    if rows := list(_times(figures)):
        yield Table("What pipecopy adds", ("", "ms"), rows)
    about = {**figures["machine"], **figures["versions"]}
    yield Table("Machine and versions", ("", ""), list(about.items()), text=True)


def show(figures: Figures) -> None:
    """Print the tables."""
    console = Console()
    for table in tables(figures):
        drawn = RichTable(title=table.title, title_justify="left", title_style="bold")
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


def _throughput(data_set: Figures) -> Table:
    contenders = data_set["contenders"]
    rows = []
    notes = []
    for name, result in contenders.items():
        speed = rows_per_second(result)
        if speed is None:
            why = result.get("missing") or result.get("failed", "")
            rows.append((result["title"], "—", why, "—", "—", "—"))
            continue
        title = result["title"]
        if result["rows"] != data_set["rows"]:
            title += f" (of the first {result['rows']:,})"
        if not result.get("equal", True):
            notes.append(f"{result['title']}: its copy differs from the source.")
        share = ratio(contenders, name, "pipe-binary")
        rows.append(
            (
                title,
                str(len(result["seconds"])),
                f"{median(result['seconds']):.2f}",
                f"{speed:,.0f}" if speed >= 100 else f"{speed:.1f}",
                f"{speed * data_set['megabytes'] / data_set['rows']:,.0f}",
                "" if share is None else f"{share:.2f}",
            )
        )
    return Table(
        f"{data_set['rows']:,} {data_set['title']}, {data_set['megabytes']:,.0f} MB",
        ("", "rounds", "seconds", "rows/s", "MB/s", "ratio"),
        rows,
        " ".join(notes),
    )


def _second_copy(second: Figures) -> Table:
    first = second["first"]
    rows = []
    for name in ("first", "at once", "vacuumed"):
        figures = second[name]
        rows.append(
            (
                "first copy" if name == "first" else f"second copy, {name}",
                f"{figures['seconds']:.2f}",
                f"{first['seconds'] / figures['seconds']:.2f}",
                f"{figures['wal_megabytes']:.1f}",
                f"{figures['wal_megabytes'] / first['wal_megabytes']:.3f}",
            )
        )
    megabytes = second["reader"]["wal_megabytes"]
    share = megabytes / first["wal_megabytes"]
    rows.append(("SELECT count(*), after a first copy", "", "", f"{megabytes:.1f}", f"{share:.3f}"))
    return Table(
        f"A second copy over a complete, equal target: {second['title']}",
        ("", "seconds", "throughput, of the first", "WAL, MB", "of the first's"),
        rows,
    )


def _latency(latency: Figures) -> Table:
    contenders = latency["contenders"]
    rows = []
    for name, result in contenders.items():
        speed = rows_per_second(result)
        if speed is not None:
            share = ratio(contenders, name, "pipe-binary")
            seconds = f"{median(result['seconds']):.2f}"
            rows.append((result["title"], seconds, f"{speed:,.0f}", f"{share or 0:.2f}"))
    return Table(
        f"Through proxies that add {latency['milliseconds']:.0f} ms each way",
        ("", "seconds", "rows/s", "ratio"),
        rows,
    )


def _round_trips(trips: Figures) -> Table:
    return Table(
        "Round trips",
        ("", "before the first load", "per batch", "after the last save"),
        [
            (f"{copy} copy: {side}", *(f"{each[when]:g}" for when in ("before", "batch", "after")))
            for copy in ("first", "second")
            for side, each in trips[copy].items()
        ],
    )


def _cpu(cpu: Figures) -> Table:
    rows = []
    for name in ("pipecopy", "psql"):
        processes = cpu[name]
        total = sum(processes.values())
        rows += [(f"{name}: {process}", f"{s:.2f}") for process, s in processes.items()]
        rows.append((f"{name}: all", f"{total:.2f}"))
    return Table(f"CPU seconds of the client, {cpu['rows']:,} rows", ("", "user + system"), rows)


def _memory(memory: Figures) -> Table:
    parts = list(dict.fromkeys(part for peak in memory["peaks"] for part in peak["parts"]))
    return Table(
        f"Peak memory, {memory['batch_size']:,} rows a batch, MB",
        ("rows", "all", *parts),
        [
            (
                f"{peak['rows']:,}",
                f"{peak['megabytes']:.0f}",
                *(f"{peak['parts'].get(part, 0):.0f}" for part in parts),
            )
            for peak in memory["peaks"]
        ],
    )


def _verify(verify: Figures) -> Table:
    titles = {
        "copy": "first copy",
        "equal": "verification: equal",
        "one": "verification: one row differs",
    }
    return Table(
        f"A verification beside the copy: {verify['title']}",
        ("", "seconds", "rows/s", "time, of the copy's"),
        [
            (
                title,
                f"{verify[name]:.2f}",
                f"{verify['rows'] / verify[name]:,.0f}",
                f"{verify[name] / verify['copy']:.2f}",
            )
            for name, title in titles.items()
        ],
    )


def _times(figures: Figures) -> Iterator[tuple[str, str]]:
    def row(title: str, *path: str) -> Iterator[tuple[str, str]]:
        value: Any = figures
        for step in path:
            value = value.get(step, {})
        if value != {}:
            yield title, f"{value:.2f}" if value < 100 else f"{value:.0f}"

    yield from row("a call that does nothing", "idle_call", "milliseconds")
    yield from row("a deadlocked call: from its limit until its worker is gone", "kill", "gone")
    yield from row("… from then until the next attempt is under way", "kill", "next_call")
    for driver in ("idle driver", "PostgreSQL"):
        start = f"`copy_table` entered, until the first call is under way: {driver}"
        yield from row(start, "start_and_stop", driver, "start")
        stop = f"last call ended, until `copy_table` has returned: {driver}"
        yield from row(stop, "start_and_stop", driver, "stop")
    yield from row("`pipecopy copy` of one row, as a whole", "start_and_stop", "command")
    yield from row('`python -c "import psycopg"`, for comparison', "start_and_stop", "python")
    again = "`copy_table` of one row, each of 20 in one process after the first"
    yield from row(again, "start_and_stop", "next_copy")
