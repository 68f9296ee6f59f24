"""What a verification came to, as pure functions from its report to text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipecopy.cli.idranges import id_ranges
from pipecopy.cli.text import counted, counters_line, rows_speed_text
from pipecopy.report import VerifyReport
from pipecopy.units import duration_text


def verdict_lines(report: VerifyReport) -> list[str]:
    """Return the few lines that a verification ends with, the verdict the last one."""
    rows = f"{counted(report.rows, 'row')} compared in {counted(report.ranges, 'range')}"
    took = duration_text(round(report.seconds, 1))
    speed = rows_speed_text(report.rows / max(report.seconds, 0.001))
    return [
        f"{rows}, in {took}: {speed}",
        counters_line(report),
        *_generated(report),
        *_found(report),
        *([verdict(report)] if report.outcome == "complete" else []),
    ]


def verdict(report: VerifyReport) -> str:
    """Return the one line that matters, with what to do."""
    if report.equal:
        return f"the tables are equal{_but_for(report)}"
    left = report.missing + report.surplus + report.differing - report.repaired - report.deleted
    return f"the tables differ, in {counted(left, 'id')}: {', and '.join(_advice(report, left))}"


def _but_for(report: VerifyReport) -> str:
    if not report.not_compared:
        return ""
    return f", but for what was not compared: the generated {_columns(report.not_compared)}"


def _columns(names: Sequence[str]) -> str:
    listed = ", ".join(f'"{name}"' for name in names)
    return f"{'column' if len(names) == 1 else 'columns'} {listed}"


def _advice(report: VerifyReport, left: int) -> Iterator[str]:
    """Yield what to do that this run has not done already."""
    with_id = left - report.without_id - report.differing_generated
    if with_id and report.surplus - report.without_id > 0 and not report.delete_surplus:
        yield "run it again with --repair --delete-surplus"
    elif with_id and not report.repair:
        yield "run it again with --repair"
    elif with_id:
        yield "run it again when fewer rows are written, since these changed meanwhile"
    if report.differing_generated:
        yield (
            f"make the expressions of the generated {_columns(report.generated)}, and what they"
            f" call, alike on both sides, and have the target compute them again, since no copy"
            " can set them; or name the other columns (--columns)"
        )
    if report.without_id:
        yield f"remove {counted(report.without_id, 'row')} with a NULL or negative id yourself"


def compared_line(report: VerifyReport) -> str:
    """Return how far a verification came that did not end well."""
    if report.max_id is None:
        return "nothing was compared"
    begin = f" from {report.first_id} on and" if report.first_id else ""
    return (
        f"every id{begin} below {report.next_id} (of {report.max_id}) was compared:"
        f" {counted(report.rows, 'row')} in {report.seconds:,.1f}s"
    )


def _generated(report: VerifyReport) -> Iterator[str]:
    if report.generated:
        yield f"compared too, each side's own: the generated {_columns(report.generated)}"
    if report.not_compared and not report.equal:
        yield f"not compared: the generated {_columns(report.not_compared)}"


def _found(report: VerifyReport) -> Iterator[str]:
    kinds = (
        (report.missing, report.missing_ids, "missing in the target"),
        (report.surplus, report.surplus_ids, "in the target alone"),
        (report.differing, report.differing_ids, "differing"),
    )
    for count, ids, what in kinds:
        if count:
            listed = f": {id_ranges(ids, count=count)}" if ids else ""
            yield f"{counted(count, 'id')} {what}{listed}"
    if report.differing_generated:
        yield f"{counted(report.differing_generated, 'id')} of these in generated columns alone"
    if report.repaired:
        yield f"{counted(report.repaired, 'id')} repaired"
    if report.deleted:
        yield f"{counted(report.deleted, 'id')} removed from the target"
