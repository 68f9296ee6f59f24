"""What `plan` and `runs` write to standard output for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipecopy.cli.typed import Typed
from pipecopy.observers.text import one_line
from pipecopy.redact import redact
from pipecopy.shard import Shard, table_text
from pipecopy.sharded import LedgerRun, PlanReport, RunsReport
from pipecopy.units import counted, seconds_text

_MOST = 20
"""Shards that are listed; of more, the first ones and the last."""
_LAST = 3


def page(report: PlanReport | RunsReport, typed: Typed) -> str:
    """Return the page; its first line says what matters most."""
    lines = _plan(report, typed) if isinstance(report, PlanReport) else _runs(report, typed)
    return "".join(f"{redact(line).rstrip()}\n" for line in lines)


def _plan(report: PlanReport, typed: Typed) -> Iterator[str]:
    shards = report.shards
    about = {shard.table: None for shard in shards}
    rows = [table.rows for table in report.tables]
    of = ", ".join(map(table_text, about))
    total = "" if None in rows else f", about {counted(sum(filter(None, rows)), 'row')}"
    yield one_line(f"run {report.run_id}: {counted(len(shards), 'shard')} of {of}{total}")
    yield ""
    each = {
        table: None if planned.rows is None else round(planned.rows / planned.shards)
        for table, planned in zip(about, report.tables, strict=True)
    }
    cells: list[Sequence[str]] = [("shard", "table", "first", "last", "about rows")]
    cells += [_cells(shard, each[shard.table]) for shard in shards]
    listed = _aligned(cells, right={0, 2, 3, 4})
    cut = len(shards) - _MOST
    if cut > 0:
        more = f"  … {cut} more: --json lists all"
        listed = [*listed[: 1 + _MOST - _LAST], more, *listed[-_LAST:]]
    yield from listed
    yield ""
    last = shards[-1].shard if shards else 0
    yield from _aligned(
        [
            ("all of them, from here:", typed.go_on(report.run_id)),
            (f"one of them, 0 to {last}:", typed.go_on(report.run_id, "--shard", "N")),
            ("how far they are:", typed.runs()),
            ("to give the run up:", typed.runs("--drop", report.run_id)),
        ]
    )


def _cells(shard: Shard, rows: int | None) -> tuple[str, ...]:
    about = "?" if rows is None else f"{rows:,}"
    return (
        str(shard.shard),
        one_line(table_text(shard.table)),
        str(shard.first),
        str(shard.last),
        about,
    )


def _runs(report: RunsReport, typed: Typed) -> Iterator[str]:
    if not report.runs:
        yield "no runs: each one that was planned is complete, or was dropped"
    elif report.dropped:
        for run in report.runs:
            yield (
                f"dropped: run {run.run} of {one_line(', '.join(run.tables))}, with {_done(run)}"
                f" shards done; {counted(run.rows, 'row')} stay in the target"
            )
    else:
        yield from _listed(report.runs)
        yield ""
        one = "RUN" if len(report.runs) > 1 else report.runs[0].run
        yield from _aligned(
            [("to go on:", typed.go_on(one)), ("to give it up:", typed.runs("--drop", one))]
        )


def _listed(runs: Sequence[LedgerRun]) -> Iterator[str]:
    cells = [("run", "table", "state", "shards", "rows", "last change")]
    cells += [
        (
            run.run,
            one_line(", ".join(run.tables)),
            run.state,
            _done(run),
            f"{run.rows:,}",
            f"{seconds_text(round(run.idle))} ago",
        )
        for run in runs
    ]
    head, *lines = _aligned(cells, right={3, 4})
    yield head
    for run, line in zip(runs, lines, strict=True):
        yield line
        if run.hosts:
            yield f"  on {', '.join(run.hosts)}"
        if run.error is not None:
            yield f"  error: {one_line(run.error)}"


def _done(run: LedgerRun) -> str:
    return f"{run.done:,} of {run.shards:,}"


def _aligned(
    rows: Sequence[Sequence[str]], right: frozenset[int] | set[int] = frozenset()
) -> list[str]:
    """Return the rows as lines, with each column as wide as its widest cell."""
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(size) if number in right else cell.ljust(size)
            for number, (cell, size) in enumerate(zip(row, wide, strict=True))
        )
        for row in rows
    ]
