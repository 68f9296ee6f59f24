"""The table opened in a server session, and opened again if it was altered meanwhile."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import psycopg

from pipecopy.contracts import Row, TableChangedError
from pipecopy.postgres import versions
from pipecopy.postgres.checksums import Checksums
from pipecopy.postgres.claim import see_claim
from pipecopy.postgres.connection import Connection
from pipecopy.postgres.errors import (
    INTERNAL_ERROR,
    UNDEFINED_COLUMN,
    UNDEFINED_TABLE,
    PostgresError,
)
from pipecopy.postgres.exchange import acting_on_delete
from pipecopy.postgres.failover import compare_greatest_keys
from pipecopy.postgres.guard import Guard, is_due_to_ddl, is_guards, is_refused_by_constraint
from pipecopy.postgres.ledger import Ledger
from pipecopy.postgres.look import KnownTable
from pipecopy.postgres.reader import Reader
from pipecopy.postgres.rows import CopyRows
from pipecopy.postgres.rowtext import JsonForm, RowText
from pipecopy.postgres.session import ServerSession
from pipecopy.postgres.table import Table
from pipecopy.postgres.where import check_where
from pipecopy.postgres.writer import Writer

Result = TypeVar("Result")

_MOST_INTERNAL_ERRORS = 5
"""Of one call: XX000 is what a statement meets whose relation is dropped while it is planned."""


class InternalErrors:
    """Those of one call, after each of which its work is done again at once.

    It is not done again if too little time is left: the call would time out, and the error be lost.
    """

    def __init__(self, session: ServerSession) -> None:
        self._count = 0
        self._began = time.monotonic()
        self._limit = session.facts.statement_timeout or math.inf

    def passes(self, error: psycopg.Error | PostgresError) -> bool:
        """Return whether it is one, and the work is to be done again."""
        if error.sqlstate != INTERNAL_ERROR:
            return False
        self._count += 1
        took = time.monotonic() - self._began
        return self._count < _MOST_INTERNAL_ERRORS and took + took / self._count < self._limit / 2


@dataclass(frozen=True)
class Opened:
    """What works on the table in one server session."""

    session: ServerSession
    table: Table
    guard: Guard
    reader: Reader
    writer: Writer
    checksums: Checksums
    json: JsonForm | None

    def copy_rows(self, rows: Sequence[Row]) -> CopyRows:
        """Return the rows, which may be another driver's, as COPY takes them."""
        return rows if isinstance(rows, CopyRows) else self._row_text.copy_rows(rows)

    @cached_property
    def _row_text(self) -> RowText:
        return RowText(self.table, self.json)


class Opener:
    """Opens the table once a session, and does the work of the calls on it."""

    def __init__(
        self,
        connection: Connection,
        known: KnownTable,
        *,
        other: Any,
        json: JsonForm | None,
        ledger: Ledger,
    ) -> None:
        self._connection = connection
        self._known = known
        self._other = other
        """What the other side's table is, once that is known."""
        self._json = json
        self._ledger = ledger
        self._opened: Opened | None = None
        self._compared: ServerSession | None = None
        """The session whose server was seen to have what the one before had saved."""
        self._removing: frozenset[int] = frozenset()
        """The ids whose rows the call removes."""

    def meet(self, other: Any) -> None:
        """Take note of the other side's table."""
        self._other = other
        self._opened = None

    def forget(self) -> None:
        """Look the table up again in the next call."""
        self._known.forget()
        self._opened = None

    @contextlib.contextmanager
    def removing(self, ids: Collection[int]) -> Iterator[None]:
        """Within it the rows with these ids may be gone, by an attempt before."""
        self._removing = frozenset(ids)
        try:
            yield
        finally:
            self._removing = frozenset()

    def work(self, session: ServerSession, work: Callable[[Opened], Result]) -> Result:
        """Do the work on the table that the run looks at.

        If an altered table may be why it failed, the table is looked at again: what changed is
        raised, and the work is done again if nothing did that matters.
        """
        internal_errors = InternalErrors(session)
        while True:
            try:
                return work(self._open(session))
            except (psycopg.Error, PostgresError) as error:
                if session.is_lost() or not is_due_to_ddl(error):
                    raise
                passes = internal_errors.passes(error)
                self._opened = None
                before, now = self._known.look_again(
                    session, refused=is_refused_by_constraint(error)
                )
                if passes:
                    continue  # what DDL took away while the statement was planned: nothing to us
                if not is_guards(error):
                    raise
                if before is not None and now.token == before.token:
                    raise TableChangedError(
                        "the table is altered by each call itself, such as by a trigger that makes"
                        " a partition: changes by others would go unnoticed"
                    ) from error

    def _open(self, session: ServerSession) -> Opened:
        """Look the table up, once a session."""
        if self._opened is not None and self._opened.session is session:
            return self._opened
        looked = self._known.look(session)
        table = looked.table
        if table is None:
            name = self._known.selection.table
            raise PostgresError(f"there is no table {name}", UNDEFINED_TABLE)
        if table.misnamed:
            raise PostgresError(" ".join(table.misnamed), UNDEFINED_COLUMN)
        run = self._connection.run
        side = None if run is None else run.side
        table = versions.for_other(session, table, self._other, side=side)
        if run is None or run.side == "source" or run.mode == "verify":
            check_where(session, table)
        most = None if run is None else run.max_batch_bytes
        # a source is live: its last rows may have been deleted
        wants_key = run is not None and (run.may_write or run.deletes) and not run.copies_shard
        guard = Guard(session, table, looked.relations, wants_greatest_key=wants_key)
        if run is None or not run.copies_shard:
            self._see_greatest_key(session, guard)
        elif run.may_write and run.part is not None and run.part.attempt is not None:
            before = self._connection.last_position
            see_claim(session, self._ledger, run, None if before is None else before.next_id)
        reader = Reader(guard, table, most, side=side)
        checksums = Checksums(session, guard, table, reader, other=self._other, side=side)
        writer = Writer(
            guard,
            table,
            acting_on_delete=tuple(acting_on_delete(looked.relations)),
            run=lambda: self._connection.run,
            ledger=self._ledger,
        )
        self._opened = Opened(session, table, guard, reader, writer, checksums, self._json)
        return self._opened

    def _see_greatest_key(self, session: ServerSession, guard: Guard) -> None:
        """See, once a session, that the table has not lost its last rows since the one before."""
        before = self._connection.last_position
        if before is None or self._compared is session:
            return
        run = self._connection.run
        if before.greatest_key is None and not (run is not None and run.may_write):
            return
        guard.look()  # the writer goes by the key as well: an orphan may have committed its batch
        # an attempt before may have removed it, or another part of the same run
        by_another = run is not None and run.removes_by_parts
        if not by_another and before.greatest_key not in self._removing:
            compare_greatest_keys(before, session.server)
        self._compared = session
