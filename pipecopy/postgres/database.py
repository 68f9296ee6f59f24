"""PostgresDatabase: the calls."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import psycopg

from pipecopy.contracts import OpenTransaction, Row, Survey, TableChangedError, TableDescription
from pipecopy.finding import Finding
from pipecopy.postgres import casts, create, describe, transactions, versions
from pipecopy.postgres.checksums import Checksums
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
from pipecopy.postgres.inspect import survey
from pipecopy.postgres.look import KnownTable
from pipecopy.postgres.orphans import application_name
from pipecopy.postgres.questions import Question, ask
from pipecopy.postgres.reader import Reader
from pipecopy.postgres.rows import CopyRows
from pipecopy.postgres.rowtext import JsonForm, RowText
from pipecopy.postgres.selection import Selection
from pipecopy.postgres.sequence import advance_sequences, find_key_sequences
from pipecopy.postgres.session import ServerSession
from pipecopy.postgres.table import Table
from pipecopy.postgres.where import check_where
from pipecopy.postgres.writer import Writer

Result = TypeVar("Result")

_MOST_INTERNAL_ERRORS = 5
"""Of one call: XX000 is what a statement meets whose relation is dropped while it is planned."""


class _InternalErrors:
    """Those of one call, after each of which its work is done again at once.

    Not after the last one for which there is time: the call would end with a time-out instead of
    the error.
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
class _Opened:
    """What works on the table in one server session."""

    session: ServerSession
    table: Table
    guard: Guard
    reader: Reader
    writer: Writer
    checksums: Checksums
    json: JsonForm | None

    @cached_property
    def row_text(self) -> RowText:
        """What the rows of other drivers need alone."""
        return RowText(self.table, self.json)


class PostgresDatabase:
    """A `Database` in PostgreSQL, made by `PostgresPool.connect`.

    Its calls raise TimeoutError for time-outs of the server or the network, PostgresError for
    what this driver refuses, TableChangedError and ServerChangedError as the contract says, and
    psycopg's errors for everything else.
    """

    create: Callable[[Any], list[Finding]]
    """Creates the table if it is missing; only a pool with `create` gives a database this call."""

    def __init__(
        self,
        connection: Connection,
        selection: Selection,
        *,
        other: Any = None,
        creates: bool = False,
        two_servers: bool = False,
        json: JsonForm | None = None,
    ) -> None:
        """`two_servers`: a standby is none of the other side's server."""
        self._two_servers = two_servers
        self._connection = connection
        self._selection = selection
        self._other = other
        """What the other side's table is, once that is known."""
        self._json = json
        if creates:
            self.create = self._create
        self._table = KnownTable(selection, connection.run)
        self._compared: ServerSession | None = None
        """The session whose server was seen to have what the one before had saved."""
        self._removing: frozenset[int] = frozenset()
        """The ids whose rows the call removes."""
        self._opened: _Opened | None = None
        self._open_then: list[OpenTransaction] | None = None
        """What was open when the call before this one read the greatest id."""

    def __repr__(self) -> str:
        return f"<PostgresDatabase: {self._selection.table!r} in {self._connection.server.shown}>"

    @property
    def position(self) -> Any:
        """Which server it is and how far that has come, as last heard; costs nothing."""
        state = self._connection.position
        return None if state is None else state.plain()

    def close(self) -> None:
        """End the server session."""
        self._forget_table()
        self._connection.close()

    def get_max_id(self) -> int:
        """Return the greatest id in the table, 0 for an empty one."""
        self._table.greatest_id, self._open_then = self._call(self._max_id)
        return self._table.greatest_id

    def _max_id(self, opened: _Opened) -> tuple[int, list[OpenTransaction] | None]:
        """Return the greatest id, and for a copy the transactions that were open then.

        In this order, each by a snapshot of its own: a row with an id up to the greatest one is
        there already, or one of these transactions commits it.
        """
        run, query_all = self._connection.run, opened.guard.query_all
        if run is not None and run.side == "source" and run.mode == "copy":
            try:
                found = ask(query_all, opened.reader.max_id(), self._open_ones(opened.table))
            except psycopg.Error as error:
                # the role may not see who is open, perhaps: the id is to be had all the same
                if not opened.session.goes_on_after(error):
                    raise
            else:
                return found[0], found[1]
        (greatest,) = ask(query_all, opened.reader.max_id())
        return greatest, None

    def _open_ones(
        self, table: Table, among: Sequence[str] | None = None
    ) -> Question[list[OpenTransaction]]:
        run = self._connection.run
        own = None if run is None else application_name(run).removesuffix(run.side)
        return transactions.open_transactions(table, among, own)

    def get_max_id_in(self, min_id: int, max_id: int) -> int:
        """Return the greatest id in `[min_id, max_id)`, 0 if there is none."""
        return self._call(lambda opened: opened.reader.max_id_in(min_id, max_id))

    def load_rows(self, min_id: int, max_id: int) -> CopyRows:
        """Return the rows with ids in `[min_id, max_id)`, ordered by id: one round trip.

        In a session with `max_batch_bytes`, a batch of more ends earlier: see its `key_range`.
        """
        with versions.refusals():
            return self._call(lambda opened: opened.reader.load(min_id, max_id))

    def load_batch(self, min_id: int, max_id: int, rows: int) -> CopyRows:
        """Return the next `rows` rows with ids in `[min_id, max_id)`, and how far they reach.

        No id is cut in two: rows with the last one's are there too. In a session with
        `max_batch_bytes`, a batch of more ends earlier.
        """
        with versions.refusals():
            return self._call(lambda opened: opened.reader.load_batch(min_id, max_id, rows))

    def load_these(self, ids: Sequence[int]) -> CopyRows:
        """Return the rows with these ids, ordered by id, however many bytes they are."""
        with versions.refusals():
            return self._call(lambda opened: opened.reader.load_these(ids))

    def save_rows(self, rows: Sequence[Row]) -> None:
        """Save the rows, all or none, durably; rows that are there already are not written."""
        if len(rows) == 0:
            return

        def work(opened: _Opened) -> None:
            batch = rows if isinstance(rows, CopyRows) else opened.row_text.copy_rows(rows)
            opened.writer.save(batch)

        self._call(work)

    def describe(self) -> TableDescription:
        """Look at the table: what it is, and what speaks against a copy."""
        run = self._connection.run

        def work(session: ServerSession) -> TableDescription:
            internal_errors = _InternalErrors(session)
            while True:
                self._forget_table()
                self._table.state = None
                looked = self._table.look(session)
                try:
                    described = describe.describe(
                        session, self._selection, looked.table, looked.relations, run
                    )
                    break
                except psycopg.Error as error:
                    passes = internal_errors.passes(error) and session.goes_on_after(error)
                    # or it was altered after that look, which may be an old one
                    if not is_guards(error) and not passes:
                        raise
            if self._two_servers and (described.identity or "").endswith("/"):
                described = replace(described, identity=None)
            state = self._table.state
            return described if state is None else replace(described, state=state.plain())

        return self._in_session(work)

    def survey(self, min_id: int, max_id: int | None, other: Any) -> Survey:
        """Look, for a check, at what a copy of ids in `[min_id, max_id)` would need and do."""
        run = self._connection.run
        return self._in_session(
            lambda session: survey(
                session,
                self._selection,
                other,
                (min_id, max_id),
                side="source" if run is None else run.side,
                creates=hasattr(self, "create"),
            )
        )

    def meet(self, other: Any) -> list[Finding]:
        """Take note of the other side's table; on the target, judge the types that differ.

        If some do, the source's rows come in the text format.
        """
        self._other = other
        self._opened = None
        run = self._connection.run
        if run is None or run.side == "source":
            return []
        return self._call(lambda opened: [*casts.judge(opened.table, other)])

    def _create(self, source: Any) -> list[Finding]:
        """Create the table like the source table, if it is missing; say what differs in it."""
        self._forget_table()
        return self._in_session(lambda session: create.create(session, self._selection, source))

    def end_of_batch(self, min_id: int, max_id: int, rows: int) -> int:
        """Return the `end` for which `[min_id, end)` holds the next `rows` rows below `max_id`."""
        return self._call(lambda opened: opened.reader.end_of_batch(min_id, max_id, rows))

    def checksum(self, min_id: int, max_id: int) -> tuple[int, int]:
        """Return the number of rows with ids in `[min_id, max_id)`, and a checksum of them."""
        return self._call(lambda opened: opened.checksums.of_range(min_id, max_id))

    def row_checksums(self, min_id: int, max_id: int) -> list[tuple[int, int, int]]:
        """Return `(id, rows, checksum)` for each id in `[min_id, max_id)`, in their order."""
        return self._call(lambda opened: opened.checksums.of_rows(min_id, max_id))

    def copied_checksums(self, min_id: int, max_id: int) -> list[tuple[int, int, int]]:
        """Return the same of the copied columns alone, without the generated ones."""
        return self._call(lambda opened: opened.checksums.of_rows(min_id, max_id, copied=True))

    def rows_without_id(self) -> int:
        """Return the number of rows whose key is NULL or negative."""
        return self._call(lambda opened: opened.reader.rows_without_key())

    def delete_rows(self, ids: Sequence[int]) -> int:
        """Remove the rows with these ids, all or none, durably; return how many there were."""
        self._removing = frozenset(ids)
        try:
            return self._call(lambda opened: opened.writer.delete(ids))
        finally:
            self._removing = frozenset()

    def exchange_rows(self, rows: Sequence[Row], surplus: Sequence[int]) -> list[int]:
        """Remove the rows with the ids of `rows` and the `surplus` ones, and save `rows`.

        All or none. If other rows have unique values of these, nothing is changed: returns their
        ids.
        """

        def work(opened: _Opened) -> list[int]:
            batch = rows if isinstance(rows, CopyRows) else opened.row_text.copy_rows(rows)
            return opened.writer.exchange(batch, surplus)

        self._removing = frozenset(surplus)
        try:
            return self._call(work)
        finally:
            self._removing = frozenset()

    def open_transactions(self, among: Sequence[str] | None = None) -> list[OpenTransaction] | str:
        """Return the transactions that may still commit rows with ids that were handed out.

        Or a sentence, if the role may not know. Right after `get_max_id` in a copy, it is what
        was open then.
        """
        then, self._open_then = self._open_then, None
        if among is None and then is not None:
            return then

        def work(opened: _Opened) -> list[OpenTransaction] | str:
            found: list[OpenTransaction]
            try:
                (found,) = ask(opened.session.query_all, self._open_ones(opened.table, among))
            except psycopg.errors.InsufficientPrivilege as error:
                return transactions.untold(error)
            return found

        return self._call(work)

    def confirm(self) -> None:
        """See that the server and the table are those that rows were saved to."""
        self._call(lambda opened: opened.guard.look())

    def finish(self, max_id: int) -> str | None:
        """Set the sequence behind the key past `max_id`, never lower; return a warning or None.

        Before that, see once more that the server and the table are those that rows were saved to.
        """

        def work(opened: _Opened) -> str | None:
            (sequences,) = ask(opened.guard.query_all, find_key_sequences(opened.table))
            return advance_sequences(opened.session, sequences, max_id)

        return self._call(work)

    def _call(self, work: Callable[[_Opened], Result]) -> Result:
        return self._in_session(lambda session: self._on_known_table(session, work))

    def _in_session(self, work: Callable[[ServerSession], Result]) -> Result:
        self._open_then = None
        return self._connection.call(work)

    def _on_known_table(self, session: ServerSession, work: Callable[[_Opened], Result]) -> Result:
        """Do the work on the table that the run looks at.

        If an altered table may be why it failed, the table is looked at again: what changed is
        raised, and the work is done again if nothing did that matters.
        """
        internal_errors = _InternalErrors(session)
        while True:
            try:
                return work(self._open(session))
            except (psycopg.Error, PostgresError) as error:
                if session.is_lost() or not is_due_to_ddl(error):
                    raise
                passes = internal_errors.passes(error)
                self._opened = None
                before, now = self._table.look_again(
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

    def _open(self, session: ServerSession) -> _Opened:
        """Look the table up, once a session."""
        if self._opened is not None and self._opened.session is session:
            return self._opened
        looked = self._table.look(session)
        table = looked.table
        if table is None:
            raise PostgresError(f"there is no table {self._selection.table}", UNDEFINED_TABLE)
        if table.misnamed:
            raise PostgresError(" ".join(table.misnamed), UNDEFINED_COLUMN)
        run = self._connection.run
        side = None if run is None else run.side
        table = versions.for_other(session, table, self._other, side=side)
        if run is None or run.side == "source" or run.mode == "verify":
            check_where(session, table)
        most = None if run is None else run.max_batch_bytes
        # a source is live: its last rows may have been deleted
        wants_key = run is not None and (run.may_write or run.deletes)
        guard = Guard(session, table, looked.relations, wants_greatest_key=wants_key)
        self._see_greatest_key(session, guard)
        reader = Reader(guard, table, most, side=side)
        checksums = Checksums(session, guard, table, reader, other=self._other, side=side)
        writer = Writer(guard, table, acting_on_delete=tuple(acting_on_delete(looked.relations)))
        self._opened = _Opened(session, table, guard, reader, writer, checksums, self._json)
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
        if before.greatest_key not in self._removing:  # an attempt before may have removed it
            compare_greatest_keys(before, session.server)
        self._compared = session

    def _forget_table(self) -> None:
        self._table.forget()
        self._opened = self._open_then = None
