"""What a check found, from what the two sides say of themselves: pure functions, no calls."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pipecopy.arguments import function_call
from pipecopy.config import Config
from pipecopy.contracts import Column, OpenTransaction, Side, TableDescription
from pipecopy.errors import CallTimeoutError, PipecopyError
from pipecopy.finding import Finding, Mark
from pipecopy.operations.settle import open_ones
from pipecopy.redact import redact
from pipecopy.report import CheckColumn, CheckPlan

_SILENT = "See that the server answers, and that no firewall drops what is sent to it."
_STUCK = (
    "See in the server's pg_stat_activity what it waits for; or give a call more time"
    " (`call_timeout`)."
)
_WAIT_OR_REPAIR = (
    f"Copy with `settle`, or run {function_call('verify_tables', repair=True)} after the copy."
)
_BY_MESSAGE = {
    "Connection refused": "Start the server there, or fix its host and port.",
    "could not translate host name|Name or service not known": (
        "Fix the host's name, or its entry in the DNS."
    ),
    "No such file or directory": "Start the server there, or fix its host or socket.",
    "Network is unreachable|No route to host": "Fix the host, or the route to it.",
    "password authentication failed|no password supplied|empty password": (
        "Put the role's password into ~/.pgpass, a service file or PGPASSWORD."
    ),
    "no pg_hba.conf entry|pg_hba.conf rejects": (
        "Let this role in from this host by a line in the server's pg_hba.conf, and reload it."
    ),
    'role "[^"]*" (does not exist|is not permitted)': "Fix the role, or let it log in.",
    'database "[^"]*" does not exist': "Fix the name of the database.",
    'permission denied for database "(?P<name>[^"]*)"': (
        'Let the role in: GRANT CONNECT ON DATABASE "{name}" to it.'
    ),
    "too many clients|too many connections|remaining connection slots": (
        "Wait until sessions there have ended, or end some."
    ),
    "database system is (starting|shutting|in recovery|not)|not yet accepting connections": (
        "Wait until the server is up, and look again."
    ),
    "unrecognized configuration parameter": "Use a server of PostgreSQL 14 or later.",
    "SSL|certificate": "Fix sslmode, sslrootcert, sslcert and sslkey.",
    "timeout expired": _SILENT,
}
"""Of `connect`: what libpq, the server or the network say, and what helps."""


def failed_call(error: PipecopyError) -> Finding:
    """Return the problem that a failed call is."""
    message = str(error).removeprefix(f"{error.side} {error.dbname!r}: ")
    return Finding(
        side=side_of(error),
        what=error.call or "call",
        mark="problem",
        message=message.removeprefix(f"{error.call} failed on attempt 1: "),
        remedy=_remedy_for(error),
        cause="timed out" if isinstance(error, CallTimeoutError) else "failed",
    )


def _remedy_for(error: PipecopyError) -> str | None:
    """Return what to do about it, None if nothing but its message helps."""
    if isinstance(error, CallTimeoutError):
        return _SILENT if error.call == "connect" else _STUCK
    if error.call != "connect":
        return None
    said = str(error)
    for pattern, remedy in _BY_MESSAGE.items():
        if match := re.search(pattern, said):
            return remedy.format_map(match.groupdict())
    return None


def side_of(error: PipecopyError) -> Side | None:
    """Return the side on which the call failed."""
    return "source" if error.side == "source" else "target" if error.side == "target" else None


def shown(found: Finding) -> Finding:
    """Return a finding as the report has it: sentences, unless it is that something is well."""
    if found.mark == "ok":
        return replace(found, message=redact(found.message))
    return replace(
        found,
        message=redact(capital(found.message)),
        remedy=None if found.remedy is None else redact(capital(found.remedy)),
        cause=(found.cause or "unfit") if found.mark == "problem" else None,
    )


def capital(text: str) -> str:
    """Return the text with a capital at its beginning."""
    return text[:1].upper() + text[1:]


def open_now(transactions: Sequence[OpenTransaction], settle: float) -> Finding:
    """Return the warning of those whose rows a copy that began now could miss."""
    who = capital(open_ones(transactions))
    said = f"{who} may still commit rows with ids below the greatest one: "
    waits = f"a copy would wait for that, {settle:g} s at most (`settle`)."
    return Finding(
        side="source",
        what="transactions",
        mark="warning",
        message=redact(said + (waits if settle else "a copy that begins now may miss them.")),
        remedy=None if settle else _WAIT_OR_REPAIR,
    )


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
