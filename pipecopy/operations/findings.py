"""What a check found, from what the two sides say of themselves: pure functions, no calls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pipecopy.arguments import function_call
from pipecopy.config import Config
from pipecopy.contracts import Column, OpenTransaction, Side, TableDescription
from pipecopy.errors import CallTimeoutError, PipecopyError
from pipecopy.finding import Cause, Finding, Mark, side_name, without_remedy
from pipecopy.operations.settle import open_ones
from pipecopy.redact import redact
from pipecopy.report import CheckColumn, CheckPlan
from pipecopy.units import seconds_text

_WAIT_OR_REPAIR = (
    f"copy with `settle`, or run {function_call('verify_tables', repair=True)} after the copy"
)


def failed_call(error: PipecopyError) -> Finding:
    """Return the problem that a failed call is."""
    said = without_remedy(str(error), error.remedy)
    message = said.removeprefix(f"{side_name(str(error.side), str(error.dbname))}: ")
    return Finding(
        side=side_of(error),
        what=error.call or "call",
        mark="problem",
        message=message.removeprefix(f"{error.call} failed on attempt 1: "),
        remedy=error.remedy,
        cause=_cause(error),
    )


def not_looked_at(error: PipecopyError) -> Finding:
    """Return the warning that a call failed which a copy does not make."""
    found = failed_call(error)
    message = f"some of what a check looks at could not be seen: {found.message}"
    return replace(found, mark="warning", message=message, cause=None)


def _cause(error: PipecopyError) -> Cause:
    if isinstance(error, CallTimeoutError):
        return "timed out"
    return "busy" if error.passes else "failed"


def side_of(error: PipecopyError) -> Side | None:
    """Return the side on which the call failed."""
    return "source" if error.side == "source" else "target" if error.side == "target" else None


def shown(found: Finding) -> Finding:
    """Return a finding as the report has it."""
    return replace(
        found,
        message=redact(found.message),
        remedy=None if found.remedy is None else redact(found.remedy),
        cause=(found.cause or "unfit") if found.mark == "problem" else None,
    )


def open_now(transactions: Sequence[OpenTransaction], settle: float) -> Finding:
    """Return the warning of those whose rows a copy that began now could miss."""
    said = f"{open_ones(transactions)} may still commit rows with ids below the greatest one: "
    waits = f"a copy would wait for that, {seconds_text(settle)} at most (`settle`)"
    return Finding(
        side="source",
        what="transactions",
        mark="warning",
        message=redact(said + (waits if settle else "a copy that begins now may miss them")),
        remedy=None if settle else _WAIT_OR_REPAIR,
    )


def would_wait(side: Side | None, what: str, why: str | None) -> Finding:
    """Return what a copy that began now would wait for; `why` is None for nothing."""
    if why is None:
        return Finding(side=side, what=what, mark="ok", message="a copy would not wait now")
    message = redact(f"a copy would wait now: {why}")
    return Finding(side=side, what=what, mark="warning", message=message)


def columns_of(source: Any, target: Any, findings: Sequence[Finding]) -> tuple[CheckColumn, ...]:
    """Return the columns of both sides next to each other, the source's first."""
    if not isinstance(source, TableDescription) or not isinstance(target, TableDescription):
        return ()
    if not source.columns or not target.columns:
        return ()
    here, there = source.by_name, target.by_name
    return tuple(
        CheckColumn(
            name=name,
            source=str(here[name]) if name in here else None,
            target=str(there[name]) if name in there else None,
            mark=_mark(here.get(name), there.get(name), findings),
        )
        for name in dict.fromkeys([*here, *there])
    )


def _mark(here: Column | None, there: Column | None, findings: Sequence[Finding]) -> Mark:
    column = here or there
    if column is None or here == there:
        return "ok"
    marks = {found.mark for found in findings if f'column "{column.name}"' in found.message}
    for mark in ("problem", "warning"):
        if mark in marks:
            return mark
    return "ok" if column.generated is not None or (here and there) else "problem"


def merged(before: Sequence[Finding], new: Sequence[Finding]) -> list[Finding]:
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
    """Return what a copy would do; `by_rows` if the source finds batches of so many rows.

    `resumed` if it would begin at `resume_id`.
    """
    ids = max(0, max_id + 1 - first_id)
    rows = source.get("rows") if ids else 0
    row_bytes = source.get("row_bytes")
    size = None if rows is None or row_bytes is None else round(rows * row_bytes)
    method, reason = _method(target)
    if resumed and method is not None:
        reason = f"{reason}, except the id where it begins"
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
    if config.batch_time is not None:
        return None
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
