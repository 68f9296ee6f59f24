"""Surveyor: what a check tells of one side, beyond what `describe` finds wrong with it."""

from __future__ import annotations

from typing import Any

from pipecopy.contracts import Finding, Side, Survey
from pipecopy.postgres import estimate, facts, target_facts
from pipecopy.postgres.casts import differing
from pipecopy.postgres.connection import Line
from pipecopy.postgres.errors import PostgresError
from pipecopy.postgres.forms import for_other
from pipecopy.postgres.names import quoted
from pipecopy.postgres.rows import CopyFormat
from pipecopy.postgres.table import Selection, Table, find_table
from pipecopy.postgres.where import check_where

_LAST = 2**63 - 1


class Surveyor:
    """Looks at one side, without changing anything or waiting for anyone's lock for long."""

    def __init__(self, selection: Selection, other: Any, *, side: Side, creates: bool) -> None:
        self._selection = selection
        self._other = other
        self._side = side
        self._creates = creates

    def look(self, line: Line, min_id: int, max_id: int | None) -> Survey:
        """Return what is to be said, for a copy of ids in `[min_id, max_id)`."""
        findings = [*facts.server(line, self._side)]
        table = find_table(line, self._selection)
        last = None if max_id is None else max_id - 1
        found: Survey = {}
        if table is None:
            found = self._missing(line, findings)
        elif table.key is not None and table.key.is_integer:
            findings += facts.rights(line, table, self._side)
            findings.append(facts.kind(line, table))
            findings += facts.key(table, self._side)
            findings += facts.others_locks(line, table, self._side)
            if self._side == "target":
                found = self._target(line, table, findings, min_id, last)
            else:
                found = self._source(line, table, min_id, last)
        found["findings"] = findings
        return found

    def _missing(self, line: Line, findings: list[Finding]) -> Survey:
        made = None
        if self._creates:
            made = target_facts.creation(line, self._selection, self._other)
        if made is None:
            return {}
        findings += made
        direct = ("direct", "the table is made, and has no rows")
        return {"creates": True, "has_rows": False, "methods": {"new": direct, "known": direct}}

    def _source(self, line: Line, table: Table, first: int, last: int | None) -> Survey:
        names = differing(table, self._other)
        table = for_other(line, table, self._other, side="source")
        form, reason = _format(table, names)
        found: Survey = {"format": form, "format_reason": reason}
        if _may_read(line, table):
            until = _LAST if last is None else last
            row_bytes = estimate.row_bytes_of(line, table, form, first, until)
            found["row_bytes"] = row_bytes
            found["rows"] = estimate.rows_of(line, table, first, until, row_bytes)
        return found

    def _target(
        self, line: Line, table: Table, findings: list[Finding], first: int, last: int | None
    ) -> Survey:
        findings += target_facts.narrow_key(table, last)
        findings += target_facts.lock(line, table)
        findings += target_facts.surroundings(line, table)
        findings += target_facts.sequences(line, table, last)
        until = _LAST if last is None else last
        return {
            "has_rows": estimate.has_rows(line, table, first, until),
            "methods": target_facts.methods(table),
        }


def _format(table: Table, differing_names: tuple[str, ...]) -> tuple[CopyFormat, str]:
    """Return how the rows go, and why; and at which values the copy would end."""
    form: CopyFormat = "binary" if table.portable else "text"
    if table.portable:
        reason = "no column has a binary form that may differ on the other side"
    elif differing_names:
        names = ", ".join(quoted(name) for name in differing_names)
        reason = f"the two sides have different types of {names}"
    else:
        odd = [c for c in table.columns if not c.shape.portable] or [
            c for c in table.columns if c.shape.versioned
        ]
        names = ", ".join(f"{quoted(column.name)} ({column.type})" for column in odd)
        reason = f"the binary form of {names} may differ on the other side"
    refused = [column.odd.what for column in table.columns if column.odd is not None]
    return (
        form,
        f"{reason}; the copy would end at {'; or at '.join(refused)}" if refused else reason,
    )


def _may_read(line: Line, table: Table) -> bool:
    """Tell whether the condition may stand in a query; `describe` says what is wrong with it."""
    try:
        check_where(line, table)
    except PostgresError:
        return False
    return not table.misnamed
