"""Reader: takes batches from one table, each in one round trip.

With an index on the key a batch is the next so many rows, across any gaps. Without one the server
would sort what is left of the table for each batch: there a batch is a window of so many ids. Only
after a window without rows the server is asked where the next rows are, so that a gap costs one.
"""

from __future__ import annotations

import struct
from itertools import takewhile

from pipecopy.contracts import Side
from pipecopy.postgres import sql
from pipecopy.postgres.guard import Guard
from pipecopy.postgres.rows import CopyColumn, CopyRows, fields_of, row_bounds
from pipecopy.postgres.table import Table
from pipecopy.postgres.wire import TRAILER, CopyRead

_INTEGERS = {2: struct.Struct("!h"), 4: struct.Struct("!i"), 8: struct.Struct("!q")}
_FILL = 0.9
"""How full of `max_batch_bytes` a batch is aimed to be; one that is too full is read in vain."""


class Reader:
    """Loads batches in one session, and finds where so many rows end."""

    def __init__(
        self, guard: Guard, table: Table, max_batch_bytes: int | None, *, side: Side | None = None
    ) -> None:
        self._guard = guard
        self._side = side
        self._table = table
        self._most_bytes = max_batch_bytes
        self._columns = tuple(CopyColumn(c.name, c.type_oid) for c in table.columns)
        # tables that inherit from it may have no index
        self._reads_in_order = table.ordered_index and not table.has_children
        self.in_gap = False
        """The ids that were looked at last have no rows."""
        self._row_bytes = 0.0
        """Of the last batch, on average."""

    def end_of_batch(self, first: int, past_last: int, rows: int) -> int:
        """Return the `end` for which `[first, end)` holds the next `rows` rows."""
        if not self._table.ordered_index and self._side == "target":
            return past_last  # each call reads the whole table: the source may tell
        if not self._table.ordered_index and not self.in_gap:
            return min(first + rows, past_last)
        found = self._guard.query(sql.end_of_batch(self._table, first, past_last - 1, rows))
        return int(found[0][0]) + 1 if found else past_last

    def load(self, first: int, past_last: int) -> CopyRows:
        """Return the rows with ids in `[first, past_last)`, ordered by id.

        If they are more than `max_batch_bytes`, it is the first of them that are not, at least
        one: their `key_range` tells how far they reach.
        """
        return self._load(first, past_last)

    def load_batch(self, first: int, past_last: int, rows: int) -> CopyRows:
        """Return the next `rows` rows of these ids, and all others with the id of the last one.

        They are fewer if that many had more than `max_batch_bytes`.
        """
        if self._most_bytes and self._row_bytes:
            rows = max(1, min(rows, int(_FILL * self._most_bytes / self._row_bytes)))
        if self._reads_in_order:
            return self._load(first, past_last, rows)
        return self._load(first, self.end_of_batch(first, past_last, rows))

    def _load(self, first: int, past_last: int, most_rows: int | None = None) -> CopyRows:
        statements = sql.load(self._table, first, past_last - 1, most_rows)
        read = self._guard.copy_out(first, past_last - 1, statements, self._most_bytes)
        rows = self._rows(read, (first, past_last))
        if read.beyond is not None:
            rows = self._cut(rows, read.beyond)
        elif most_rows is not None and len(rows) >= most_rows:
            # the first message of a binary COPY begins with the signature
            begin = next(row_bounds(read.raw, rows.format))[0] if len(rows) == 1 else 0
            rows.key_range = (first, self._key(read.last, begin, len(read.last), rows) + 1)
        self.in_gap = not len(rows)
        self._row_bytes = len(rows.raw) / len(rows) if len(rows) else self._row_bytes
        return rows

    def _rows(self, read: CopyRead, key_range: tuple[int, int]) -> CopyRows:
        return CopyRows(
            read.raw,
            read.rows,
            columns=self._columns,
            format="binary" if self._table.portable else "text",
            key_range=key_range,
            unique=self._table.unique_index is not None,
        )

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
