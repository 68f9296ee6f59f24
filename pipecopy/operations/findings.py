"""What a check found, from what the two sides told of themselves: pure functions, no calls."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pipecopy.config import Config
from pipecopy.contracts import HELP, Fit, OpenTransaction, Side, TableDescription
from pipecopy.errors import CallTimeoutError, PipecopyError
from pipecopy.operations.remedies import remedy_for
from pipecopy.operations.settle import open_ones
from pipecopy.redact import redact
from pipecopy.report import CheckColumn, CheckItem, CheckPlan, Mark
from pipecopy.tables import differences, is_generated, warnings_of


def failed_call(error: PipecopyError) -> CheckItem:
    """Return the problem that a failed call is."""
    message = str(error).removeprefix(f"{error.side} {error.dbname!r}: ")
    return CheckItem(
        side=side_of(error),
        what=error.call or "call",
        mark="problem",
        message=message.removeprefix(f"{error.call} failed on attempt 1: "),
        remedy=remedy_for(error),
        cause="timed out" if isinstance(error, CallTimeoutError) else "failed",
    )


def side_of(error: PipecopyError) -> Side | None:
    """Return the side on which the call failed."""
    return "source" if error.side == "source" else "target" if error.side == "target" else None


def sentences(
    texts: Iterable[str], mark: Mark, side: Side | None, what: str = "table"
) -> list[CheckItem]:
    """Return an item for each sentence, what helps apart from it."""
    found = []
    for text in texts:
        message, _, remedy = (capital(part) for part in text.partition(HELP))
        found.append(
            CheckItem(
                side=side,
                what=what,
                mark=mark,
                message=redact(message),
                remedy=redact(remedy) or None,
                cause="unfit" if mark == "problem" else None,
            )
        )
    return found


def capital(text: str) -> str:
    """Return the text with a capital at its beginning."""
    return text[:1].upper() + text[1:]


def own_items(side: Side, description: Any) -> list[CheckItem]:
    """Return what one side's description says of that side alone."""
    if not isinstance(description, TableDescription):
        return []
    return [
        *sentences(description.problems, "problem", side),
        *sentences(description.warnings, "warning", side),
    ]


def fit_of(source: Any, target: Any, *, types: bool) -> Fit:
    """Return how the two descriptions fit, without what each says of its own side."""
    source, target = (
        replace(table, problems=(), warnings=()) if isinstance(table, TableDescription) else table
        for table in (source, target)
    )
    return Fit(
        problems=differences(source, target, types=types), warnings=warnings_of(source, target)
    )


def transactions_item(transactions: Sequence[OpenTransaction], settle: float) -> CheckItem:
    """Return the warning of those whose rows a copy that began now could miss."""
    open_now = open_ones(transactions)
    said = f"{capital(open_now)} may still commit rows with ids below the greatest one: "
    waits = f"a copy would wait for that, {settle:g} s at most (settle)."
    return CheckItem(
        side="source",
        what="transactions",
        mark="warning",
        message=redact(said + (waits if settle else "a copy that begins now may miss them.")),
        remedy=None if settle else "Copy with `--settle`, or run `verify --repair` after the copy.",
    )


def columns_of(source: Any, target: Any, fit: Fit) -> tuple[CheckColumn, ...]:
    """Return the columns of both sides next to each other, the source's first."""
    if not isinstance(source, TableDescription) or not isinstance(target, TableDescription):
        return ()
    if not source.columns or not target.columns:
        return ()
    here, there = ({c.name: c.type for c in table.columns} for table in (source, target))
    return tuple(
        CheckColumn(
            name=name,
            source=here.get(name),
            target=there.get(name),
            mark=_mark(name, here.get(name), there.get(name), fit),
        )
        for name in dict.fromkeys([*here, *there])
    )


def _mark(name: str, here: str | None, there: str | None, fit: Fit) -> Mark:
    if here == there:
        return "ok"
    marks: tuple[tuple[Mark, Sequence[str]], ...] = (
        ("problem", fit.problems),
        ("warning", fit.warnings),
    )
    for mark, texts in marks:
        if any(f'column "{name}"' in text for text in texts):
            return mark
    return "ok" if is_generated(here or there or "") or (here and there) else "problem"


def surveyed_items(side: Side, survey: Mapping[str, Any]) -> list[CheckItem]:
    """Return what a survey found."""
    return [
        CheckItem(
            side=side,
            what=finding["what"],
            mark=finding["mark"],
            message=redact(finding["message"]),
            remedy=redact(finding.get("remedy") or "") or None,
            cause=finding.get("cause", "unfit") if finding["mark"] == "problem" else None,
        )
        for finding in survey.get("findings", ())
    ]


def merged(before: Sequence[CheckItem], new: Sequence[CheckItem]) -> list[CheckItem]:
    """Return the new items, and those before that they do not stand for.

    They stand for what says the same, and for all that is well with what they are about.
    """
    said = {(item.side, item.message) for item in new}
    about = {(item.side, item.what) for item in new}
    kept = [
        item
        for item in before
        if (item.side, item.message) not in said
        and not (item.mark == "ok" and (item.side, item.what) in about)
    ]
    return [*new, *kept]


def plan_of(
    config: Config,
    *,
    first_id: int,
    max_id: int,
    resume_id: int | None,
    resumed: bool,
    source: Mapping[str, Any],
    target: Mapping[str, Any],
    by_rows: bool,
) -> CheckPlan:
    """Return what a copy would do; `by_rows` where the source finds batches of so many rows.

    `resumed` where it would begin at `resume_id`.
    """
    ids = max(0, max_id + 1 - first_id)
    rows = source.get("rows") if ids else 0
    row_bytes = source.get("row_bytes")
    size = None if rows is None or row_bytes is None else round(rows * row_bytes)
    method, reason = _method(target)
    if resumed and method is not None:
        reason = f"{reason}, but where it begins"
    return CheckPlan(
        first_id=first_id,
        max_id=max_id,
        rows=rows,
        bytes=size,
        batches=_batches(config, ids, rows, size, by_rows=by_rows),
        format=source.get("format"),
        format_reason=source.get("format_reason"),
        method=method,
        method_reason=reason,
        resume_id=resume_id,
        ends_before=_from_now(config.full_copy_timeout),
    )


def _batches(
    config: Config, ids: int, rows: int | None, size: int | None, *, by_rows: bool
) -> int | None:
    by_ids = math.ceil(ids / config.batch_size)
    if not by_rows:
        return by_ids if rows is None else min(by_ids, rows)
    if rows is None:
        return None
    return max(math.ceil(rows / config.batch_size), math.ceil((size or 0) / config.max_batch_bytes))


def _method(target: Mapping[str, Any]) -> tuple[str | None, str | None]:
    has_rows = target.get("has_rows")
    if has_rows is None or "methods" not in target:
        return None, None
    method, reason = target["methods"]["known" if has_rows else "new"]
    return method, reason


def _from_now(seconds: float) -> str:
    then = datetime.now(UTC) + timedelta(seconds=seconds)
    return then.astimezone().isoformat(timespec="seconds")
