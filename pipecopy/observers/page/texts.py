"""What the page of a run says, as texts: from the object of `--json` and the timeline."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

from pipecopy.events import CommandEnded
from pipecopy.observers.page.timeline_texts import Clock, texts
from pipecopy.observers.summary import differences, verdict_line
from pipecopy.observers.text import one_line, printable
from pipecopy.redact import redact
from pipecopy.report import CheckReport, CopyReport, Failed, Report, VerifyReport
from pipecopy.sharded import ShardedReport
from pipecopy.units import counted, id_ranges, seconds_text

Tone = Literal["good", "warn", "bad"]
_ICONS: dict[Tone, str] = {"good": "✓", "warn": "!", "bad": "✕"}
_MB, _GB = 1_000_000, 1_000_000_000
_MOST_WARNINGS, _MOST_FINDINGS, _MOST_FAILED, _MOST_TABLES = 20, 200, 10, 500
_LONGEST = 800
"""Characters of one text that others have written."""


def view(end: CommandEnded, timeline: Mapping[str, Any]) -> dict[str, Any]:
    """Return the texts of the page by their names in the template."""
    report, clock = end.report, Clock.of(timeline)
    tone, outcome = _outcome(end)
    heading = _heading(end)
    return {
        **texts(timeline, clock),
        "tone": tone,
        "icon": _ICONS[tone],
        "outcome": outcome,
        "title": f"{outcome}: {heading}",
        "heading": heading,
        "sides": "" if report is None else f"{report.source} → {report.target}",
        "period": _period(report, clock),
        "error_title": "Stopped" if end.stopped_by else "What went wrong",
        "error": [_text(line) for line in (end.error or "").splitlines()],
        "go_on": _text(end.go_on or ""),
        "verdict": _verdict(end),
        "warnings": _warnings(report),
        "warnings_title": _warnings_title(report),
        "figures": [] if report is None else list(_figures(report, timeline)),
        "differences": list(_differences(report)),
        "findings": list(_findings(report)),
        "throughput_label": _throughput_label(report, timeline),
        "verified": list(_verified(report)),
        "verify_command": _verify_command(report),
        "tables": list(_tables(report)),
    }


def _text(text: str) -> str:
    said = printable(redact(text))
    return said if len(said) <= _LONGEST else f"{said[: _LONGEST - 1]}…"


def _outcome(end: CommandEnded) -> tuple[Tone, str]:
    report = end.report
    if end.error is not None:
        if end.stopped_by:
            return "warn", "Stopped"
        timed_out = report is not None and report.outcome == "timed out"
        return "bad", "Timed out" if timed_out else "Failed"
    match report:
        case VerifyReport(equal=False):
            return "bad", "The tables differ"
        case VerifyReport():
            done = "The tables are equal"
        case CheckReport() if end.exit_code:
            return "bad", "A copy can't start"
        case CheckReport():
            done = "A copy can start"
        case _:
            done = "Complete"
    if report is None or not report.warnings:
        return "good", done
    return "warn", f"{done}, with {counted(len(report.warnings), 'warning')}"


def _heading(end: CommandEnded) -> str:
    command = end.result["command"] or "pipecopy"
    report = end.report
    if report is None or report.table is None:
        return str(command)
    if isinstance(report, ShardedReport) and len(report.tables) > 1:
        return f"{command} {len(report.tables):,} tables"
    tables = report.table
    if report.target_table not in {None, report.table}:
        tables = f"{report.table} → {report.target_table}"
    return _text(f"{command} {tables}")


def _period(report: Report | None, clock: Clock) -> str:
    if report is None or report.started is None:
        return "The run did not begin."
    begin = clock.local(report.started)
    end = "the end is not known" if report.ended is None else clock.local(report.ended)
    if end[:10] == begin[:10]:
        end = end[11:]
    return f"{begin} to {end} ({clock.zone}), {seconds_text(report.seconds)}"


def _verdict(end: CommandEnded) -> str:
    """Return in what the tables differ, and what to do; nothing if they are equal."""
    if end.error is None and isinstance(end.report, VerifyReport) and not end.report.equal:
        return _text(verdict_line(end.report))
    return ""


def _warnings(report: Report | None) -> list[str]:
    found = () if report is None else report.warnings
    shown = [_text(one_line(warning)) for warning in found[:_MOST_WARNINGS]]
    more = len(found) - len(shown)
    return [*shown, *([f"and {more:,} more"] if more else [])]


def _warnings_title(report: Report | None) -> str:
    return counted(0 if report is None else len(report.warnings), "warning").capitalize()


def _figures(report: Report, timeline: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    seconds = max(report.seconds, 0.001)
    match report:
        case CopyReport():
            yield from _copied(report, seconds)
        case VerifyReport():
            yield "Rows compared", f"{report.rows:,}"
            yield "Ranges", f"{report.ranges:,}"
            yield "Rows per second", f"{report.rows / seconds:,.0f}"
            yield "Differences left", f"{report.left:,}"
            if report.repair:
                yield "Repaired", f"{report.repaired:,}"
            if report.delete_surplus:
                yield "Removed", f"{report.deleted:,}"
            yield from _ids(report)
        case CheckReport(plan=plan) if plan is not None:
            if plan.rows is not None:
                yield "Rows (estimated)", f"{plan.rows:,}"
            if plan.bytes is not None:
                yield "Data (estimated)", _size(plan.bytes)
            yield "Ids", f"{plan.first_id} to {plan.max_id}"
    yield "Duration", seconds_text(report.seconds)
    yield "Calls", f"{report.calls:,}"
    yield "Timeouts", f"{report.timeouts:,}"
    yield "Kills", f"{report.kills:,}"
    yield "Retries", f"{report.retries:,}"
    if pauses := timeline["pauses"]:
        number = len(pauses) + timeline["pauses_left_out"]
        yield "Pauses", f"{number:,}, {seconds_text(report.paused)} in all"


def _copied(report: CopyReport, seconds: float) -> Iterator[tuple[str, str]]:
    before = report.rows_before if isinstance(report, ShardedReport) else 0
    yield "Rows", f"{report.rows:,}"
    yield from _saved(report)
    yield "Data", _size(report.bytes)
    yield "Rows per second", f"{(report.rows - before) / seconds:,.0f}"
    yield "Data per second", _size(report.bytes / seconds)
    yield "Batches", f"{report.batches:,}"
    if report.batch_size is not None:
        yield "Batch size at the end", f"{report.batch_size:,} rows"
    yield from _of_shards(report) if isinstance(report, ShardedReport) else _ids(report)


def _of_shards(report: ShardedReport) -> Iterator[tuple[str, str]]:
    yield "Shards done", f"{report.done:,} of {report.shards:,}"
    yield "Shards run again", f"{report.again:,}"
    if report.hosts:
        yield "Hosts", f"{len(report.hosts):,}"
    if report.rows_before:
        yield "Rows of runs before", f"{report.rows_before:,}"
    if report.max_id is not None:
        yield "Ids", f"{report.first_id} to {report.max_id}"


def _tables(report: Report | None) -> Iterator[dict[str, str]]:
    """Yield each table of a sharded run, if there are several."""
    tables = report.tables if isinstance(report, ShardedReport) else ()
    if len(tables) > 1:
        for each in islice(tables, _MOST_TABLES):
            yield {
                "table": _text(each.table or ""),
                "rows": counted(each.rows, "row"),
                "shards": f"{each.done:,} of {counted(each.shards, 'shard')}",
                "ids": f"ids {each.first_id} to {each.max_id}",
            }


def _size(size: float) -> str:
    return f"{size / _MB:,.1f} MB" if size < _GB else f"{size / _GB:,.2f} GB"


def _saved(report: CopyReport) -> Iterator[tuple[str, str]]:
    for name in ("inserted", "updated", "unchanged"):
        if (number := getattr(report, name)) is not None:
            yield name.capitalize(), f"{number:,}"


def _ids(report: CopyReport | VerifyReport) -> Iterator[tuple[str, str]]:
    if report.max_id is not None:
        yield "Ids", f"{report.first_id} to {report.max_id}"
    yield "Next id", f"{report.next_id}"


def _differences(report: Report | None) -> Iterator[tuple[str, str, str]]:
    """Yield each kind of difference, how many ids have it, and which."""
    if not isinstance(report, VerifyReport):
        return
    for count, ids, kind in differences(report):
        if count:
            yield kind, f"{count:,}", id_ranges(ids, count=count)
    lists = (
        ("not comparable", report.not_comparable, report.not_comparable_ids),
        ("not repaired", report.not_repaired, report.not_repaired_ids),
    )
    for kind, count, failed in lists:
        if count:
            yield kind, f"{count:,}", _text("; ".join(_failed(failed)))


def _failed(listed: Sequence[Failed]) -> Iterator[str]:
    for each in listed[:_MOST_FAILED]:
        last = f"-{each.last_id}" if each.last_id > each.first_id else ""
        yield f"{each.first_id}{last} ({each.side}: {each.reason})"
    if len(listed) > _MOST_FAILED:
        yield "…"


def _findings(report: Report | None) -> Iterator[dict[str, str]]:
    if isinstance(report, CheckReport):
        for item in islice(report.items, _MOST_FINDINGS):
            yield {
                "side": item.side or "both",
                "what": item.what,
                "mark": item.mark,
                "message": _text(item.message),
                "remedy": _text(item.remedy or ""),
            }


def _throughput_label(report: Report | None, timeline: Mapping[str, Any]) -> str:
    throughput = timeline["throughput"]
    most = max(throughput["rows"], default=0) / throughput["seconds"]
    what = "rows compared" if isinstance(report, VerifyReport) else "rows saved"
    return f"{what} per second over time, at most {most:,.0f}"


def _verified(report: Report | None) -> Iterator[str]:
    match report:
        case VerifyReport():
            ids = "" if report.max_id is None else f", ids {report.first_id} to {report.max_id}"
            yield (
                f"{counted(report.rows, 'row')} of the source were compared with the target in"
                f" {counted(report.ranges, 'range')}{ids}."
            )
            if report.outcome != "complete":
                yield f"The comparison did not end: ids from {report.next_id} on were not compared."
            if report.generated:
                yield f"Generated columns that were compared too: {_names(report.generated)}."
            if report.not_compared:
                yield f"Generated columns that were not compared: {_names(report.not_compared)}."
        case CheckReport():
            yield "Nothing was copied or compared: this was a check before a copy."
        case _:
            yield (
                "This run compared nothing. This command compares the two tables; give it the"
                " options of the copy that choose rows and columns too:"
            )


def _names(names: Sequence[str]) -> str:
    return _text(", ".join(f'"{name}"' for name in names))


def _verify_command(report: Report | None) -> str:
    """Return the command that compares the tables: a line each."""
    if not isinstance(report, CopyReport):
        return ""
    tables: Sequence[tuple[str | None, str | None]] = [(report.table, report.target_table)]
    if isinstance(report, ShardedReport) and report.tables:
        tables = [(each.table, each.target_table) for each in report.tables[:_MOST_TABLES]]
    return "\n".join(_text(shlex.join(_verifying(report, *each))) for each in tables)


def _verifying(report: Report, table: str | None, target_table: str | None) -> Iterator[str]:
    yield from ("pipecopy", "verify", report.source, report.target)
    if table is not None:
        yield from ("--table", table)
    if target_table not in {None, table}:
        yield from ("--target-table", str(target_table))
    if report.key is not None and report.key != "id":
        yield from ("--key", report.key)
