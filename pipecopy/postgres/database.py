"""PostgresDatabase: the calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pipecopy.contracts import Row, TableDescription
from pipecopy.postgres import checks, sequence, sql
from pipecopy.postgres.catalog import Table, find_table
from pipecopy.postgres.copyrows import CopyRows
from pipecopy.postgres.link import Line, Link
from pipecopy.postgres.reading import Reader
from pipecopy.postgres.refusal import PostgresError
from pipecopy.postgres.rowtext import copy_rows
from pipecopy.postgres.saving import Saver
from pipecopy.postgres.sqlstates import UNDEFINED_TABLE

Result = TypeVar("Result")


@dataclass(frozen=True)
class _Opened:
    """What is known in one server session; a new session asks again."""

    line: Line
    table: Table
    reader: Reader
    saver: Saver


class PostgresDatabase:
    """A `Database` in PostgreSQL, made by `PostgresPool.connect`.

    Its calls raise TimeoutError for time-outs of the server or the network, PostgresError for
    what this driver refuses, and psycopg's errors for everything else.
    """

    def __init__(self, link: Link, *, table: str, key: str) -> None:
        self._link = link
        self._name = table
        self._key = key
        self._opened: _Opened | None = None

    def __repr__(self) -> str:
        return f"<PostgresDatabase: {self._name!r} in {self._link.server.shown}>"

    def close(self) -> None:
        """End the server session."""
        self._opened = None
        self._link.close()

    def get_max_id(self) -> int:
        """Return the greatest id in the table, 0 for an empty one."""

        def work(opened: _Opened) -> int:
            ((greatest,),) = opened.line.query(sql.max_id(opened.table))
            return int(greatest)

        return self._run(work)

    def load_rows(self, min_id: int, max_id: int) -> CopyRows:
        """Return the rows with ids in `[min_id, max_id)`, ordered by id: one round trip.

        In a session with `max_batch_bytes`, a batch of more ends earlier: see its `key_range`.
        """
        return self._run(lambda opened: opened.reader.load(min_id, max_id))

    def save_rows(self, rows: Sequence[Row]) -> None:
        """Save the rows, all or none, durably; rows that are there already are not written."""
        if len(rows) == 0:
            return

        def work(opened: _Opened) -> None:
            batch = rows if isinstance(rows, CopyRows) else copy_rows(rows, opened.table)
            opened.saver.save(batch)

        self._run(work)

    def describe(self) -> TableDescription:
        """Look at the table: what it is, and what speaks against a copy."""
        session = self._link.session
        return self._link.run(
            lambda line: checks.describe(
                line, self._name, self._key, side=None if session is None else session.side
            )
        )

    def end_of_batch(self, min_id: int, max_id: int, rows: int) -> int:
        """Return the `end` for which `[min_id, end)` holds the next `rows` rows below `max_id`."""
        return self._run(lambda opened: opened.reader.end_of_batch(min_id, max_id, rows))

    def finish(self, max_id: int) -> str | None:
        """Set the sequence behind the key past `max_id`, never lower; return a warning or None."""
        return self._run(lambda opened: sequence.advance(opened.line, opened.table, max_id))

    def _run(self, work: Callable[[_Opened], Result]) -> Result:
        return self._link.run(lambda line: work(self._open(line)))

    def _open(self, line: Line) -> _Opened:
        """Look the table up, once a session."""
        if self._opened is None or self._opened.line is not line:
            table = find_table(line, self._name, self._key)
            if table is None:
                raise PostgresError(f"there is no table {self._name}", UNDEFINED_TABLE)
            session = self._link.session
            most = None if session is None else session.max_batch_bytes
            self._opened = _Opened(line, table, Reader(line, table, most), Saver(line, table))
        return self._opened
