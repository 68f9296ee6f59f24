"""Reader: takes batches from one table, each in one round trip.

A batch of so many rows ends where the key's index says. Asking costs a round trip, so the question
for the next batch goes along with each load; and none is asked while the ids are dense, where so
many ids are so many rows. Without an index a question reads the whole table, as each batch does: it
is asked only after a batch without rows, so that a gap in the ids costs one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from pipecopy.contracts import Side
from pipecopy.postgres import sql
from pipecopy.postgres.guard import Guard
from pipecopy.postgres.rows import CopyColumn, CopyRows, fields_of, row_bounds
from pipecopy.postgres.table import Table
from pipecopy.postgres.wire import TRAILER, CopyRead

_INTEGERS = {2: struct.Struct("!h"), 4: struct.Struct("!i"), 8: struct.Struct("!q")}
_FILL = 0.9
"""How full of `max_batch_bytes` a batch is aimed to be; one that is too full is read in vain."""


@dataclass(frozen=True)
class _Question:
    """Where the next `rows` rows from `first` on end, below `past_last`."""

    first: int
    past_last: int
    rows: int


class Reader:
    """Loads batches in one session, and finds where they end."""

    def __init__(
        self, guard: Guard, table: Table, max_batch_bytes: int | None, *, side: Side | None = None
    ) -> None:
        self._guard = guard
        self._side = side
        self._table = table
        self._most_bytes = max_batch_bytes
        self._columns = tuple(CopyColumn(c.name, c.type_oid) for c in table.columns)
        self._asked: _Question | None = None
        self._answers: dict[_Question, int] = {}
        self._dense = False
        """The last batch had a row for each id."""
        self._in_gap = False
        """The last batch had none."""
        self._row_bytes = 0.0
        """Of the last batch, on average."""

    def end_of_batch(self, first: int, past_last: int, rows: int) -> int:
        """Return the `end` for which `[first, end)` holds the next `rows` rows."""
        self._asked = _Question(first, past_last, rows)
        known = self._known_end(first)
        if known is not None:
            return known
        wanted = self._rows_that_fit(rows)
        found = self._guard.query(sql.end_of_batch(self._table, first, past_last - 1, wanted))
        return int(found[0][0]) + 1 if found else past_last

    def _known_end(self, first: int) -> int | None:
        """Return what `end_of_batch` says of the ids from `first` on, where it need not ask."""
        if self._asked is None or first >= self._asked.past_last:
            return None
        question = _Question(first, self._asked.past_last, self._asked.rows)
        if question in self._answers:
            return self._answers[question]
        if self._side == "target" and not self._table.ordered_index:
            return question.past_last  # each call reads the whole table: the source may tell
        if self._dense or not (self._table.ordered_index or self._in_gap):
            return min(first + self._rows_that_fit(question.rows), question.past_last)
        return None

    def load(self, first: int, past_last: int) -> CopyRows:
        """Return the rows with ids in `[first, past_last)`, ordered by id.

        Where they are more than `max_batch_bytes`, it is the first of them that are not, at least
        one: their `key_range` tells how far they reach.
        """
        following = self._following(past_last)
        statements = [sql.load(self._table, first, past_last - 1)]
        if following is not None:
            statements.append(self._end_of(following))
        read = self._guard.copy_out(first, past_last - 1, "; ".join(statements), self._most_bytes)
        self._answers.clear()
        rows = self._rows(read, (first, past_last))
        if read.beyond is not None:
            rows = self._cut(rows, read.beyond)
        elif following is not None:
            value = read.value
            self._answers[following] = following.past_last if value is None else value + 1
        self._dense = read.beyond is None and len(rows) >= past_last - first
        self._in_gap = not len(rows)
        self._row_bytes = len(rows.raw) / len(rows) if len(rows) else self._row_bytes
        rows.next_end = self._known_end(rows.key_range[1])
        return rows

    def aggregated(self, first: int, past_last: int, aggregates: str) -> tuple[Any, ...]:
        """Return aggregates of the rows with ids in `[first, past_last)`, their number the first.

        The last value is where the next batch ends, None where that is not known.
        """
        following = self._following(past_last)
        if self._table.has_names and self._table.where is not None:
            following = None  # the condition would be read by another search path: see sql.py
        end = "NULL" if following is None else f"({self._end_of(following)})"
        ((rows, *others, found),) = self._guard.query(
            sql.aggregated(self._table, first, past_last - 1, f"{aggregates}, {end}")
        )
        self._answers.clear()
        if following is not None:
            self._answers[following] = following.past_last if found is None else found + 1
        self._dense = rows >= past_last - first
        self._in_gap = not rows
        return (rows, *others, self._known_end(past_last))

    def _end_of(self, following: _Question) -> str:
        rows = self._rows_that_fit(following.rows)
        return sql.end_of_batch(self._table, following.first, following.past_last - 1, rows)

    def _rows(self, read: CopyRead, key_range: tuple[int, int]) -> CopyRows:
        return CopyRows(
            read.raw,
            read.rows,
            columns=self._columns,
            format="binary" if self._table.portable else "text",
            key_range=key_range,
            unique=self._table.unique_index is not None,
        )

    def _following(self, first: int) -> _Question | None:
        """Return what will be asked next, None where it is not, or needs no answer."""
        if self._asked is None or self._dense or not self._table.ordered_index:
            return None
        if first >= self._asked.past_last:
            return None
        return _Question(first, self._asked.past_last, self._asked.rows)

    def _rows_that_fit(self, rows: int) -> int:
        if not self._most_bytes or not self._row_bytes:
            return rows
        return max(1, min(rows, int(_FILL * self._most_bytes / self._row_bytes)))

    def _cut(self, rows: CopyRows, beyond: bytes) -> CopyRows:
        """Return the rows below the key of the first one that did not fit."""
        end = self._key(beyond, 0, len(beyond), rows)
        bounds = list(row_bounds(rows.raw, rows.format))
        if not rows.unique:  # rows with the same key belong to the same batch
            bounds = list(takewhile(lambda bound: self._key(rows.raw, *bound, rows) < end, bounds))
            if not bounds:  # those of a single key are too many already: they are one batch
                only = (rows.key_range[0], end + 1)
                read = self._guard.copy_out(only[0], end, sql.load(self._table, only[0], end))
                return self._rows(read, only)
        raw = bytearray(rows.raw[: bounds[-1][1]])
        if rows.format == "binary":
            raw += TRAILER
        return CopyRows(
            raw,
            len(bounds),
            columns=rows.columns,
            format=rows.format,
            key_range=(rows.key_range[0], end),
            unique=rows.unique,
        )

    def _key(self, raw: bytes | bytearray | memoryview, begin: int, end: int, of: CopyRows) -> int:
        names = [column.name for column in self._columns]
        field = fields_of(raw, begin, end, of.format)[names.index(self._table.keyed.name)]
        if field is None:
            raise ValueError("a row has no key")
        if of.format == "text":
            return int(field)
        (key,) = _INTEGERS[len(field)].unpack(field)
        return int(key)
