"""The report of a check as a page: what was found, item by item, and what a copy would do."""

from __future__ import annotations

import locale
import sys
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from pipecopy.finding import Finding, Mark
from pipecopy.observers.text import one_line
from pipecopy.report import CheckColumn, CheckPlan, CheckReport
from pipecopy.sharded import CheckedTables
from pipecopy.units import counted

WIDEST = 100
"""Characters; only SQL may be longer, so that it can be copied."""
_NARROWEST = 40
_MB = 1_000_000
STYLES: dict[Mark, str] = {"ok": "green", "warning": "yellow", "problem": "bold red"}
_REMEDY = "cyan"
_TITLE = "bold"


@dataclass(frozen=True, kw_only=True)
class Signs:
    """What stands before an item."""

    marks: dict[Mark, str]
    remedy: str
    cut: str
    """Instead of what is left out."""


SYMBOLS = Signs(marks={"ok": "✓", "warning": "!", "problem": "✗"}, remedy="→ ", cut="…")
WORDS = Signs(
    marks={"ok": "ok     ", "warning": "warning", "problem": "problem"}, remedy="-> ", cut="..."
)


def page(report: CheckReport) -> str:
    """Return the checklist for standard output: drawn for a terminal, else plain text."""
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    on_terminal = console.is_terminal and not console.is_dumb_terminal
    lines = checklist(
        report,
        width=console.width if on_terminal else WIDEST,
        signs=signs_for(console),
    )
    if not on_terminal:
        return "".join(f"{line.plain}\n" for line in lines)
    with console.capture() as capture:
        for line in lines:
            console.print(line)
    return capture.get()


def signs_for(console: Console) -> Signs:
    """Return symbols for a terminal that can show them, else words."""
    on_terminal = console.is_terminal and not console.is_dumb_terminal
    return SYMBOLS if on_terminal and _can_show(SYMBOLS) else WORDS


def _can_show(signs: Signs) -> bool:
    try:
        "".join([*signs.marks.values(), signs.remedy, signs.cut]).encode(locale.getencoding())
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def checklist(report: CheckReport, *, width: int, signs: Signs) -> list[Text]:
    """Return the lines of the checklist, each at most so many characters wide."""
    return [*_Page(report, max(_NARROWEST, min(width, WIDEST)), signs).lines()]


def verdict(report: CheckReport) -> str:
    """Return the last line."""
    if report.outcome != "complete":
        return "It is not known whether a copy can start: the check did not finish."
    if problems := len(report.problems):
        return f"A copy can't start: {counted(problems, 'problem')}."
    warnings = sum(item.mark == "warning" for item in report.items)
    also = f": {counted(warnings, 'warning')}" if warnings else ""
    return f"A copy can start{also}."


def _worst(items: Iterable[Finding]) -> Mark:
    marks = {item.mark for item in items}
    return next((mark for mark in ("problem", "warning") if mark in marks), "ok")


class _Page:
    def __init__(self, report: CheckReport, width: int, signs: Signs) -> None:
        self._report = report
        self._width = width
        self._signs = signs
        words = [item.what for item in report.items if item.side is not None]
        self._word = max(map(len, ["columns", *words]))
        self._indent = 2 + len(signs.marks["ok"]) + 1 + self._word + 2

    def lines(self) -> Iterator[Text]:
        report = self._report
        if isinstance(report, CheckedTables):
            yield from self._tables(report)
            return
        for title, side, name in (
            ("Source", "source", report.source),
            ("Target", "target", report.target),
        ):
            yield Text(f"{title}  {self._cut(name, self._width - len(title) - 2)}", _TITLE)
            for item in report.items:
                if item.side == side:
                    yield from self._item(item)
            yield Text()
        about_both = [item for item in report.items if item.side is None]
        if report.columns or about_both:
            yield Text("Columns", _TITLE)
            yield from self._columns(report.columns)
            for item in about_both:
                yield from self._item(item)
            yield Text()
        if report.plan is not None:
            yield Text("What a copy would do", _TITLE)
            yield from self._plan(report.plan)
            yield Text()
        style = STYLES["ok" if report.can_start else "problem"]
        yield Text(verdict(report), f"bold {style}")

    def _tables(self, report: CheckedTables) -> Iterator[Text]:
        """Yield a line for each table, with what is not well with it below."""
        for title, name in (("Source", report.source), ("Target", report.target)):
            yield Text(f"{title}  {self._cut(name, self._width - len(title) - 2)}", _TITLE)
        yield Text()
        wide = max((cell_len(each.table or "") for each in report.tables), default=0)
        for each in report.tables:
            mark = _worst(each.items)
            head = Text("  ")
            head.append(self._signs.marks[mark], STYLES[mark])
            name = set_cell_size(each.table or "", wide)
            head.append(f" {name}  {'' if each.plan is None else _rows(each.plan)}".rstrip())
            yield head
            yield from self._not_well(each.items)
        of_tables = {id(item) for each in report.tables for item in each.items}
        yield from self._not_well(report.items[len(of_tables) :])
        yield Text()
        style = STYLES["ok" if report.can_start else "problem"]
        yield Text(verdict(report), f"bold {style}")

    def _not_well(self, items: Iterable[Finding]) -> Iterator[Text]:
        for item in items:
            if item.mark != "ok":
                side = "" if item.side is None else f"{item.side}: "
                yield from self._item(replace(item, message=f"{side}{item.message}"))

    def _item(self, item: Finding) -> Iterator[Text]:
        head = Text("  ")
        head.append(self._signs.marks[item.mark], STYLES[item.mark])
        head.append(f" {item.what:{self._word}}  ")
        style = "" if item.mark == "ok" else STYLES[item.mark]
        yield from self._hanging(head, one_line(item.message), style)
        if item.remedy:
            remedy = self._signs.remedy + one_line(item.remedy)
            yield from self._hanging(
                Text(" " * self._indent), remedy, _REMEDY, wrap=not remedy.endswith(";")
            )

    def _hanging(self, head: Text, text: str, style: str, *, wrap: bool = True) -> Iterator[Text]:
        """Put a text after its head, and below it what does not fit."""
        room = max(_NARROWEST // 2, self._width - self._indent)
        parts = [text]
        if wrap:
            parts = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
        for part in parts or [""]:
            head.append(part, style)
            yield head
            head = Text(" " * self._indent)

    def _columns(self, columns: Iterable[CheckColumn]) -> Iterator[Text]:
        rows = [
            (column.mark, column.name, column.source or "-", column.target or "-")
            for column in columns
        ]
        if not rows:
            return
        mark = len(self._signs.marks["ok"])
        room = self._width - 2 - mark - 1 - 2 - 2
        name = min(max(cell_len(row[1]) for row in rows), room // 3)
        type_ = (room - name) // 2
        types = min(type_, max(len("source"), *(cell_len(row[2]) for row in rows)))
        for sign, style, cells in (
            (" " * mark, "dim", ("", "source", "target")),
            *((self._signs.marks[row[0]], STYLES[row[0]], row[1:]) for row in rows),
        ):
            line = Text("  ")
            line.append(sign, style)
            texts = (
                set_cell_size(self._cut(cells[0], name), name),
                set_cell_size(self._cut(cells[1], types), types),
                self._cut(cells[2], type_),
            )
            line.append(f" {'  '.join(texts)}".rstrip(), style if style != "green" else "")
            yield line

    def _plan(self, plan: CheckPlan) -> Iterator[Text]:
        for word, text in _plan_lines(plan):
            head = Text(f"  {word:{self._indent - 4}}  ")
            yield from self._hanging(head, text, "")

    def _cut(self, text: str, room: int) -> str:
        text = one_line(text)
        if cell_len(text) <= room:
            return text
        cut = self._signs.cut
        return set_cell_size(text, room - len(cut)).rstrip() + cut


def _plan_lines(plan: CheckPlan) -> Iterator[tuple[str, str]]:
    if plan.max_id < plan.first_id:
        yield "ids", f"none: the last one, {plan.max_id}, is below the first, {plan.first_id}"
        return
    yield "ids", f"from {plan.first_id} to {plan.max_id}"
    if plan.resume_id is not None:
        yield "resume", f"from id {plan.resume_id}, the greatest in the target"
    yield "rows", _rows(plan)
    if plan.format is not None:
        yield "format", f"{plan.format} ({plan.format_reason})"
    if plan.method is not None:
        yield "method", f"{plan.method} ({plan.method_reason})"
    until = datetime.fromisoformat(plan.ends_before)
    yield "ends", f"by {until:%Y-%m-%d %H:%M:%S} at the latest, if it begins now"


def _rows(plan: CheckPlan) -> str:
    if plan.rows == 0:
        return "none"
    parts = ["not known" if plan.rows is None else f"about {plan.rows:,}"]
    if plan.bytes is not None:
        parts.append(f"{plan.bytes / _MB:,.1f} MB")
    if plan.batches is not None:
        parts.append(f"in {counted(plan.batches, 'batch')}")
    return ", ".join(parts)
