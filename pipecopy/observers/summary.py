"""Reports as text: the lines that a run ends with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipecopy.observers.text import MB, counts_text, speed_text
from pipecopy.redact import redact
from pipecopy.report import LISTED_IDS, CopyReport, Failed, Report, VerifyReport
from pipecopy.sharded import ShardedReport, VerifiedTables
from pipecopy.units import counted, id_ranges, seconds_text

_NAMED = 4
"""How many hosts are named."""
_FAILED = 10
"""How many of the ids on which a side failed are written out with the reason."""


def summary_lines(report: Report) -> list[str]:
    """Return the lines that a run ends with: the outcome is the last one if it is complete."""
    complete = report.outcome == "complete"
    match report:
        case CopyReport():
            line = _copied(report, whole=complete)
            return [*_tables(report), f"complete: {line}" if complete else line]
        case VerifiedTables():
            return [*_compared_tables(report, whole=complete)]
        case VerifyReport():
            verdict = [f"complete: {verdict_line(report)}"] if complete else []
            return [_compared(report, whole=complete), *_found(report), *verdict]
    return ["complete"] if complete else []


def _tables(report: CopyReport) -> Iterator[str]:
    """Yield a line for each table of a sharded run, if there are several."""
    tables = report.tables if isinstance(report, ShardedReport) else ()
    if len(tables) > 1:
        for each in tables:
            shards = f"{each.done:,} of {counted(each.shards, 'shard')}"
            yield f"{each.table}: {counted(each.rows, 'row')}, {shards}"


def _compared_tables(report: VerifiedTables, *, whole: bool) -> Iterator[str]:
    """Yield the lines of several tables: one for each, and more for one that differs."""
    for each in report.tables:
        said = verdict_line(each) if each.outcome == "complete" else f"{each.outcome}"
        yield f"{each.table}: {counted(each.rows, 'row')} compared: {said}"
        yield from (f"{each.table}: {line}" for line in _found(each))
    yield _compared(report, whole=whole)
    if whole:
        yield f"complete: {tables_verdict(report)}"


def tables_verdict(report: VerifiedTables) -> str:
    """Return how many of the tables differ."""
    differ = sum(not each.equal for each in report.tables)
    tables = counted(len(report.tables), "table")
    if not differ:
        return f"{tables}: each is equal on both sides"
    return f"{differ:,} of {tables} {'differs' if differ == 1 else 'differ'}"


def _shards(report: ShardedReport) -> str:
    """Return how many shards there were, how many of them again, and on which hosts."""
    again = f", {report.again:,} run again" if report.again else ""
    said = f"{counted(report.shards, 'shard')}{again}"
    if len(report.hosts) > _NAMED:
        return f"{said}, on {len(report.hosts):,} hosts"
    return f"{said}, on {', '.join(report.hosts)}" if report.hosts else said


def _copied(report: CopyReport, *, whole: bool) -> str:
    """Return the figures; unless it is the whole, without those that tell how far it came."""
    seconds = max(report.seconds, 0.001)
    adapted = report.batch_size
    last = "" if adapted is None else f" (adapted to {counted(adapted, 'row')})"
    done = f"{counted(report.batches, 'batch')}{last}, {report.bytes / MB:,.1f} MB"
    counts = counts_text(report.inserted, report.updated, report.unchanged)
    rows = report.rows
    if isinstance(report, ShardedReport):
        rows -= report.rows_before
    speed = speed_text(rows / seconds, report.bytes / seconds)
    parts = [f"{done}{_took(report, whole=whole)}: {speed}", _calls(report)]
    if isinstance(report, ShardedReport) and report.shards:
        parts.insert(0, _shards(report))
    if whole:
        all_rows = counted(report.rows, "row")
        parts.insert(0, f"{all_rows}: {counts}" if counts and report.rows else all_rows)
    elif counts:
        parts.insert(0, counts)
    return "; ".join(parts)


def _compared(report: VerifyReport, *, whole: bool) -> str:
    speed = speed_text(report.rows / max(report.seconds, 0.001))
    rows = f"{counted(report.rows, 'row')} compared in " if whole else ""
    ranges = counted(report.ranges, "range")
    return f"{rows}{ranges}{_took(report, whole=whole)}: {speed}; {_calls(report)}"


def _took(report: Report, *, whole: bool) -> str:
    return f", in {seconds_text(report.seconds)}" if whole else ""


def _calls(report: Report) -> str:
    counts = {
        "call": report.calls,
        "timeout": report.timeouts,
        "kill": report.kills,
        "retry": report.retries,
    }
    return ", ".join(counted(number, one) for one, number in counts.items())


def _found(report: VerifyReport) -> Iterator[str]:
    """Yield a line for each kind of difference, and for each thing done about it."""
    if report.generated:
        yield f"also compared, as each side computes it: the generated {_names(report.generated)}"
    if report.not_compared and not report.equal:
        yield f"not compared: the generated {_names(report.not_compared)}"
    for count, ids, what in differences(report):
        if count:
            listed = f": {id_ranges(ids, count=count)}" if ids else ""
            if count > len(ids) == LISTED_IDS:
                listed += f" (the report lists the first {LISTED_IDS:,})"
            yield f"{counted(count, 'id')} {what}{listed}"
    yield from _failed_lines("not comparable", report.not_comparable_ids)
    yield from _failed_lines("not repaired", report.not_repaired_ids)
    if report.differing_generated:
        yield f"{counted(report.differing_generated, 'id')} of these in generated columns only"
    if report.repaired:
        yield f"{counted(report.repaired, 'id')} repaired"
    if report.deleted:
        yield f"{counted(report.deleted, 'id')} removed from the target"


def differences(report: VerifyReport) -> tuple[tuple[int, Sequence[int], str], ...]:
    """Return how many ids differ, which of them are listed, and in what; for each kind."""
    return (
        (report.missing, report.missing_ids, "missing in the target"),
        (report.surplus, report.surplus_ids, "only in the target"),
        (report.differing, report.differing_ids, "differing"),
    )


def verdict_line(report: VerifyReport) -> str:
    """Return the one line that matters, with what to do."""
    if report.equal:
        apart = f"; not compared: the generated {_names(report.not_compared)}"
        return f"the tables are equal{apart if report.not_compared else ''}"
    said = []
    if report.left:
        said.append(f"the tables differ in {counted(report.left, 'id')}")
    if report.not_comparable:
        said.append(f"{counted(report.not_comparable, 'id')} could not be compared")
    return f"{', and '.join(said)}: {'; '.join(_advice(report))}"


def _advice(report: VerifyReport) -> Iterator[str]:
    """Yield what to do that this run has not done already; to delete rows is never the first."""
    surplus = report.surplus - report.without_id - report.deleted
    stale = report.left - surplus - report.without_id - report.differing_generated
    if stale > 0 and not report.repair:
        yield (
            f"run again with --repair, which copies {counted(stale, 'row')} again (missing or"
            " differing) and deletes nothing"
        )
    elif stale > report.not_repaired:
        yield "run again when fewer rows are written, since these changed meanwhile"
    if report.not_repaired:
        yield (
            f"{counted(report.not_repaired, 'row')} could not be repaired, see the reason of each:"
            f" {redact(report.not_repaired_ids[0].reason)}"
        )
    if report.not_comparable:
        failed = report.not_comparable_ids[0]
        yield (
            "change the values that could not be compared, or leave their columns out (--exclude);"
            f" the first one: {failed.first_id}: {failed.side}: {redact(failed.reason)}"
        )
    if surplus > 0 and report.delete_surplus:
        yield "run again when fewer rows are written, since these changed meanwhile"
    elif surplus > 0:
        yield (
            f"{counted(surplus, 'row')} only in the target may be history that is kept there on"
            " purpose, deleted on the source, or of another source: --repair --delete-surplus"
            " deletes what is only in the target"
        )
    if report.differing_generated:
        yield (
            f"make the expressions of the generated {_names(report.generated)}, and the functions"
            " that they call, the same on both sides and let the target compute them again, since"
            " a copy can't set them; or compare only the other columns (--columns)"
        )
    if report.without_id:
        yield f"remove {counted(report.without_id, 'row')} with a NULL or negative id yourself"


def _failed_lines(what: str, listed: Sequence[Failed]) -> Iterator[str]:
    for each in listed[:_FAILED]:
        ids = str(each.first_id)
        if each.last_id > each.first_id:
            ids = f"{each.first_id}-{each.last_id}"
        yield redact(f"{what}: {ids}: {each.side}: {each.reason}")
    if more := len(listed[_FAILED:]):
        first = f" (the first {LISTED_IDS:,} of all)" if len(listed) == LISTED_IDS else ""
        yield f"{what}: {more:,} more, which --json lists{first}"


def _names(names: Sequence[str]) -> str:
    listed = ", ".join(f'"{name}"' for name in names)
    return f"{'column' if len(names) == 1 else 'columns'} {listed}"
