# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""Reader: takes batches from one table, each in one round trip.

With an index on the key a batch is the next so many rows, across any gaps. Without one the server
would sort what is left of the table for each batch: there a batch is a window of so many ids. Only
after a window without rows is the server asked where the next rows end, so that a gap costs one
window.

The statements on the table run by the role's own search path, which the user's condition, views and
triggers may need, and in which anything may stand before the server's own: every function, operator
and type is named with its schema. BETWEEN, IN and IS DISTINCT FROM look their operators up by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import takewhile

import psycopg
from psycopg import errors

from pipecopy.contracts import Side
from pipecopy.postgres.errors import PROGRAM_LIMIT_EXCEEDED, PostgresError
from pipecopy.postgres.guard import Guard, is_guards
from pipecopy.postgres.names import quoted
from pipecopy.postgres.questions import Question
from pipecopy.postgres.rows import SIGNATURE, CopyColumn, CopyRows, row_bounds
from pipecopy.postgres.table import Table, TableColumn
from pipecopy.postgres.unreadable import unreadable
from pipecopy.postgres.versions import is_refusal
from pipecopy.postgres.wire import TRAILER, CopyRead

BIGGEST = 2**63 - 1
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
        # tables that inherit from it may have no index: there it is asked where a batch ends
        self._reads_in_order = table.ordered_index and not table.has_children
        self.in_gap = False
        """The ids that were looked at last have no rows."""
        self._is_dense = False
        """They had one row each: the next batch of a condition is then as many ids."""
        self._row_bytes = 0.0
        """Of the last batch, on average."""

    def end_of_batch(self, first: int, past_last: int, rows: int) -> int:
        """Return the `end` for which `[first, end)` holds the next `rows` rows."""
        if not self._table.ordered_index and self._side == "target":
            return past_last  # each call reads the whole table: the source may tell
        if not self._table.ordered_index and not self.in_gap:
            return min(first + rows, past_last)
        sql = _key_at(self._table, first, past_last - 1, rows)
        found = self._guard.query(_by_index(self._table, sql))
        return int(found[0][0]) + 1 if found else past_last

    def max_id(self) -> Question[int]:
        """Return the greatest key, 0 for none."""
        table = self._table
        ((found,),) = yield (
            f"SELECT coalesce(pg_catalog.max({table.key_sql}), 0) FROM {table.sql}"
            f" WHERE true{also(table)}"
        )
        return max(0, int(found))

    def max_id_in(self, first: int, past_last: int) -> int:
        """Return the greatest key in `[first, past_last)`, 0 for none."""
        table = self._table
        return self._number(
            f"SELECT coalesce(pg_catalog.max({table.key_sql}), 0) FROM {table.sql}"
            f" WHERE {condition(table, first, past_last - 1)}"
        )

    def rows_without_key(self) -> int:
        """Return the number of rows whose key is NULL or negative."""
        table, key = self._table, self._table.key_sql
        return self._number(
            f"SELECT pg_catalog.count(*) FROM {table.sql}"
            f" WHERE ({key} IS NULL OR {key} OPERATOR(pg_catalog.<) 0){also(table)}"
        )

    def _number(self, statement: str) -> int:
        ((found,),) = self._guard.query(statement)
        return max(0, int(found))

    def load(self, first: int, past_last: int) -> CopyRows:
        """Return the rows with ids in `[first, past_last)`, ordered by id.

        If they are more than `max_batch_bytes`, it is the first of them that are not, at least
        one: their `key_range` says how far they reach.
        """
        return self._load(first, past_last)

    def load_these(self, keys: Sequence[int]) -> CopyRows:
        """Return the rows with these keys, ordered by key.

        Raises PostgresError if they are more than `max_batch_bytes`, and several.
        """
        first, last = min(keys), max(keys)
        sql = _copy_out(self._table, first, last, among=keys)
        read = self._guard.copy_out(sql, self._most_bytes)
        if read.beyond is not None:
            raise PostgresError(
                "rows that have each other's unique values are more bytes than one batch may have",
                PROGRAM_LIMIT_EXCEEDED,
                "raise `max_batch_bytes`",
            )
        return self._rows(read, (first, last + 1))

    def load_batch(self, first: int, past_last: int, rows: int) -> CopyRows:
        """Return the next `rows` rows of these ids, and all others with the id of the last one.

        They are fewer if that many had more than `max_batch_bytes`; and with a condition, in the
        first gap after ids that had one row each.
        """
        if self._most_bytes and self._row_bytes:
            rows = max(1, min(rows, int(_FILL * self._most_bytes / self._row_bytes)))
        if self._is_dense and self._table.where is not None:
            return self._load(first, min(first + rows, past_last))
        if self._reads_in_order:
            return self._load(first, past_last, rows)
        return self._load(first, self.end_of_batch(first, past_last, rows))

    def _load(self, first: int, past_last: int, most_rows: int | None = None) -> CopyRows:
        statements = _copy_out(self._table, first, past_last - 1, most_rows)
        try:
            read = self._guard.copy_out(statements, self._most_bytes)
        except (errors.DataError, errors.DataCorrupted) as error:
            explained = self._explained(error, (first, past_last))
            if explained is None:
                raise
            raise explained from error
        rows = self._rows(read, (first, past_last))
        if read.beyond is not None:
            rows = self._cut(rows, read.beyond)
        elif most_rows is not None and len(rows) >= (most_rows if self._table.where is None else 1):
            # a condition such as random() < 0.1 is evaluated twice, and may give fewer
            # the first message of a binary COPY begins with the signature
            begin = next(row_bounds(read.raw, rows.format))[0] if len(rows) == 1 else 0
            rows.key_range = (first, self._key(read.last, begin, len(read.last), rows) + 1)
        self.in_gap = not len(rows)
        self._is_dense = len(rows) == rows.key_range[1] - rows.key_range[0]
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
                read = self._guard.copy_out(_copy_out(self._table, only[0], end))
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

    def _explained(self, error: psycopg.Error, key_range: tuple[int, int]) -> PostgresError | None:
        """Return an error that names the value that could not be sent, if it is due to one."""
        if is_guards(error) or is_refusal(error):
            return None
        session = self._guard.session

        def fails(id_: int, columns: Sequence[TableColumn]) -> bool:
            try:
                session.copy_out(_copy_out(replace(self._table, columns=(*columns,)), id_, id_))
            except psycopg.Error as again:
                return again.sqlstate == error.sqlstate
            return False

        try:
            ids = self._ids_from(session.last_row, key_range)
            found = next((id_ for id_ in ids if fails(id_, self._table.columns)), None)
            if found is None:
                return None
            return unreadable(error, self._table, found, partial(fails, found), session.encoding)
        except psycopg.Error:  # the server's own error says what is known
            return None

    def _ids_from(self, last: bytes, key_range: tuple[int, int]) -> Iterator[int]:
        """Yield the id of the last row that came, which another row may have, and the next one."""
        first, past_last = key_range
        if last:
            rows = self._rows(CopyRead(bytearray(last), 1), key_range)
            begin = next(row_bounds(last, rows.format))[0] if last.startswith(SIGNATURE) else 0
            yield (key := self._key(last, begin, len(last), rows))
            first = key + 1
        ((found,),) = self._guard.query(
            f"SELECT pg_catalog.min({self._table.key_sql}) FROM {self._table.sql}"
            f" WHERE {condition(self._table, first, past_last - 1)}"
        )
        if found is not None:
            yield int(found)

    def _key(self, raw: bytes | bytearray | memoryview, begin: int, end: int, of: CopyRows) -> int:
        return of.key_in(raw, begin, end, self._table.keyed.name)


def _copy_out(
    table: Table,
    first: int,
    last: int,
    rows: int | None = None,
    among: Sequence[int] | None = None,
) -> str:
    """Return SQL that copies out the rows with keys from `first` to `last`, both inclusive.

    An exclusive bound could be 2**63, which is compared as numeric, and loses the index. `rows`:
    the first so many of them, and all others with the key of the last one. `among`: those alone
    with one of these keys.
    """
    order = f" ORDER BY {table.key_order()}"
    most = ""
    if rows is not None and table.where is None:
        most = f"{order} FETCH FIRST {min(rows, BIGGEST)} ROWS WITH TIES"
        order = order if table.has_names else ""
    elif rows is not None:
        # the index may not be the best way to the rows of a condition: then keys alone are sorted
        # to find the last one, and not, for each batch, all rows that are left (7 GB of temporary
        # files in 25 s, measured with 2 million rows)
        last_key = _key_at(table, first, last, rows)
        most = f" AND {table.key_sql} OPERATOR(pg_catalog.<=) coalesce(({last_key}), {last})"
    if among is not None:
        most = _among(table, among)
    # first the locks that it takes: those of partitions and of tables in the condition as well
    copy = (
        f"COPY ({_read(table, first, last, _sent(table), most=most)}{order})"
        f" TO STDOUT (FORMAT {'binary' if table.portable else 'text'})"
    )
    sql = (
        f"SELECT FROM {table.sql} WHERE {condition(table, first, last)} LIMIT 0;"
        f" {table.copying(copy)}"
    )
    if rows is not None:
        sql = _by_index(table, sql)
    return f"{sql}; SET LOCAL search_path TO DEFAULT" if table.has_names else sql


def _by_index(table: Table, sql: str) -> str:
    """Return the statements, for the first so many rows, to be run by the index on the key.

    Measured: of a table without statistics the planner would sort all that is left, 1.3 s a batch
    of 300,000 rows instead of 4 ms. With a condition another index may be the best.
    """
    if table.where is not None:
        return sql
    return f"SET LOCAL enable_sort TO off; {sql}; SET LOCAL enable_sort TO DEFAULT"


def _key_at(table: Table, first: int, last: int, rows: int) -> str:
    """Select the key of the row with this number among those with keys from `first` to `last`."""
    return (
        f"SELECT {table.key_sql} FROM {table.sql} WHERE {condition(table, first, last)}"
        f" ORDER BY {table.key_order()} OFFSET {min(rows - 1, BIGGEST)} LIMIT 1"
    )


def _sent(table: Table) -> str:
    return ", ".join(
        quoted(column.name) if column.odd is None else column.odd.sql for column in table.columns
    )


def _read(
    table: Table, first: int, last: int, what: str, *, most: str = "", generated: bool = False
) -> str:
    """Select something of the rows with keys from `first` to `last`; names in it are qualified.

    The other side reads a name by its own search path: qualified, it means the same there. The
    path is set when the query runs, not before it is parsed, and only once the rows are found: the
    user's condition, or a view, may need the path, for its own names and for what it calls.
    `most`: ends the query that finds the rows. `generated`: what is selected may be of generated
    columns too.
    """
    rows = f"FROM {table.sql} WHERE {condition(table, first, last)}{most}"
    if not table.has_names:
        return f"SELECT {what} {rows}"
    columns = ", ".join(
        quoted(column.name) for column in (*table.columns, *(table.generated if generated else ()))
    )
    return (
        f"WITH found AS MATERIALIZED (SELECT {columns} {rows}) SELECT {what} FROM found"
        # CASE alone says what is done first
        " WHERE (SELECT CASE WHEN (SELECT pg_catalog.count(*) FROM found) OPERATOR(pg_catalog.>=) 0"
        " THEN pg_catalog.set_config('search_path', '', true) END) IS NOT NULL"
    )


def aggregated(
    table: Table, first: int, last: int, aggregates: str, among: Sequence[int] | None = None
) -> str:
    """Aggregate the rows with keys from `first` to `last`; `among`: those with one of these keys.

    Compiling what there is to compute for each column takes longer than it saves.
    """
    most = "" if among is None else _among(table, among)
    read = _read(table, first, last, aggregates, most=most, generated=True)
    return f"SET LOCAL jit TO off; {read}"


def _among(table: Table, keys: Sequence[int]) -> str:
    listed = ",".join(map(str, keys))
    return f" AND {table.key_sql} OPERATOR(pg_catalog.=) ANY ('{{{listed}}}'::bigint[])"


def condition(table: Table, first: int, last: int) -> str:
    """Return the condition on the rows that are read: keys from `first` to `last`, and the user's.

    Its columns are the table's, which no alias may stand for: the user's may be qualified.
    """
    return f"{keys(table.key_sql, first, last)}{also(table)}"


def keys(key: str, first: int, last: int) -> str:
    """Return the condition that a key is from `first` to `last`."""
    return (
        f"{key} OPERATOR(pg_catalog.>=) {first}"
        f" AND {key} OPERATOR(pg_catalog.<=) {min(last, BIGGEST)}"
    )


def also(table: Table) -> str:
    """Return what the user's own condition adds to one; the lines of its own end a comment."""
    return "" if table.where is None else f" AND (\n{table.where}\n)"
