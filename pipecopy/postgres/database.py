"""PostgresDatabase: the calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import psycopg

from pipecopy.contracts import (
    ForeignKey,
    ListedTable,
    OpenTransaction,
    Row,
    SavedRows,
    Session,
    Survey,
    TableDescription,
)
from pipecopy.finding import Finding
from pipecopy.postgres import (
    analyze,
    busy,
    casts,
    create,
    describe,
    estimate,
    patterns,
    splits,
    transactions,
    versions,
)
from pipecopy.postgres.application_name import run_names_begin
from pipecopy.postgres.connection import Connection
from pipecopy.postgres.guard import is_guards
from pipecopy.postgres.inspect import survey
from pipecopy.postgres.ledger import Ledger
from pipecopy.postgres.ledger_table import DEFAULT_LEDGER, ledger_findings
from pipecopy.postgres.lock import is_shared, take_lock
from pipecopy.postgres.look import KnownTable, Looked
from pipecopy.postgres.names import readings
from pipecopy.postgres.opened import InternalErrors, Opened, Opener
from pipecopy.postgres.questions import Question, ask
from pipecopy.postgres.rows import CopyRows
from pipecopy.postgres.rowtext import JsonForm
from pipecopy.postgres.selection import Selection
from pipecopy.postgres.sequence import advance_sequences, find_key_sequences
from pipecopy.postgres.session import ServerSession
from pipecopy.postgres.shard_calls import ShardCalls
from pipecopy.postgres.table import Table

Result = TypeVar("Result")


class PostgresDatabase(ShardCalls):
    """A `Database` in PostgreSQL, made by `PostgresPool.connect`.

    Its calls raise TimeoutError for time-outs of the server or the network, PostgresError for
    what this driver refuses, TableChangedError and ServerChangedError as the contract says, and
    psycopg's errors for everything else.
    """

    create: Callable[[Any], list[Finding]]
    """Creates the table if it is missing; only a pool with `create` gives a database this call."""
    analyze: Callable[[], str | None]
    """Analyzes the table; only a pool with `analyze` gives a database this call."""

    def __init__(
        self,
        connection: Connection,
        selection: Selection,
        *,
        other: Any = None,
        creates: bool = False,
        analyzes: bool = False,
        two_servers: bool = False,
        json: JsonForm | None = None,
        ledger: str = DEFAULT_LEDGER,
    ) -> None:
        """`two_servers`: a standby is none of the other side's server."""
        self._two_servers = two_servers
        self._connection = connection
        self._selection = selection
        if creates:
            self.create = self._create
        if analyzes:
            self.analyze = self._analyze
        self._table = KnownTable(selection, connection.run)
        self._ledger = Ledger(ledger)
        self._opener = Opener(connection, self._table, other=other, json=json, ledger=self._ledger)
        self._lag = busy.Lag()
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

    def _max_id(self, opened: Opened) -> tuple[int, list[OpenTransaction] | None]:
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
        return transactions.open_transactions(table, among, self._own_sessions)

    @property
    def _own_sessions(self) -> str | None:
        """What the application names of this run's sessions begin with."""
        run = self._connection.run
        return None if run is None else run_names_begin(run.run_id)

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

    def save_rows(self, rows: Sequence[Row]) -> SavedRows:
        """Save the rows, all or none, durably; rows that are there already are not written."""
        if len(rows) == 0:
            return SavedRows(inserted=0, updated=0, unchanged=0)
        return self._call(lambda opened: opened.writer.save(opened.copy_rows(rows)))

    def describe(self) -> TableDescription:
        """Look at the table: what it is, and what speaks against a copy."""
        run = self._connection.run

        def work(session: ServerSession) -> TableDescription:
            internal_errors = InternalErrors(session)
            while True:
                self._forget_table()
                if run is None or run.part is None or run.described is None:
                    self._table.state = None  # else that of the plan is what has to be there
                looked = self._table.look(session)
                self._lock_what_came(session, looked)
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
            if run is not None and run.plans_shards:
                described = self._of_ledger(session, run, described)
            if self._two_servers and (described.identity or "").endswith("/"):
                described = replace(described, identity=None)
            state = self._table.state
            return described if state is None else replace(described, state=state.plain())

        return self._in_session(work)

    def _of_ledger(
        self, session: ServerSession, run: Session, described: TableDescription
    ) -> TableDescription:
        """Return it with what keeps a sharded run from keeping its ledger.

        Raises TargetInUseError if another run of the table is not complete.
        """
        found = ledger_findings(session, self._ledger.name)
        if not found:
            self._ledger.refuse_others(session, run.run_id, described.table)
        return replace(described, findings=(*found, *described.findings))

    def _lock_what_came(self, session: ServerSession, looked: Looked) -> None:
        """Take the lock on a target table that was not there yet when the session began."""
        run = self._connection.run
        writes = run is not None and run.locks_table
        if writes and looked.table is not None and not session.facts.locked:
            timeout = session.facts.statement_timeout
            table, shared = self._selection.table, is_shared(run)
            take_lock(session.query, table, timeout, shared=shared)

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
                analyzes=hasattr(self, "analyze"),
            )
        )

    def meet(self, other: Any) -> list[Finding]:
        """Take note of the other side's table; on the target, judge the types that differ.

        If some do, the source's rows come in the text format.
        """
        self._opener.meet(other)
        run = self._connection.run
        if run is None or run.side == "source":
            return []
        return self._call(lambda opened: [*casts.judge(opened.table, other)])

    def _create(self, source: Any) -> list[Finding]:
        """Create the table like the source table, if it is missing; say what differs in it."""
        self._forget_table()
        shared = is_shared(self._connection.run)
        return self._in_session(
            lambda session: create.create(session, self._selection, source, shared=shared)
        )

    def _analyze(self) -> str | None:
        """Analyze the table; return a warning of what could not be."""
        return self._call(lambda opened: analyze.analyze(opened.session, opened.table))

    def end_of_batch(self, min_id: int, max_id: int, rows: int) -> int:
        """Return the `end` for which `[min_id, end)` holds the next `rows` rows below `max_id`."""
        return self._call(lambda opened: opened.reader.end_of_batch(min_id, max_id, rows))

    def ends_of_batches(
        self, min_id: int, max_id: int, rows: int, most: int, seconds: float
    ) -> list[tuple[int, int]]:
        """Return `(end, rows)` of as many of the next batches as are found in so many seconds."""
        find = partial(splits.ends_of_batches, ids=(min_id, max_id), rows=rows, most=most)
        return self._call(lambda opened: find(opened.guard, opened.table, seconds=seconds))

    def estimated_rows(self, min_id: int, ends: Sequence[int], seconds: float) -> list[int] | None:
        """Return how many rows the planner expects in each `[min_id, end)`; None if it can't."""
        estimated = partial(estimate.rows_below, first=min_id, ends=ends, seconds=seconds)
        return self._call(lambda opened: estimated(opened.session, opened.table))

    def tables(self, wanted: Sequence[str], names: Sequence[str]) -> list[list[ListedTable]]:
        """Return the tables that each of these patterns means, and each of the names."""
        find, ledger = patterns.find_tables, readings(self._ledger.name)[0][-1]
        return self._in_session(lambda session: find(session, wanted, names, ledger))

    def foreign_keys(self, tables: Sequence[str]) -> list[ForeignKey]:
        """Return the foreign keys that are enforced between these tables."""
        return self._in_session(lambda session: patterns.foreign_keys(session, tables))

    def checksum(self, min_id: int, max_id: int) -> tuple[int, int]:
        """Return the number of rows with ids in `[min_id, max_id)`, and a checksum of them."""
        return self._call(lambda opened: opened.checksums.of_range(min_id, max_id))

    def row_checksums(self, min_id: int, max_id: int) -> list[tuple[int, int, int]]:
        """Return `(id, rows, checksum)` for each id in `[min_id, max_id)`, in their order."""
        return self._call(lambda opened: opened.checksums.of_rows(min_id, max_id))

    def copied_checksums(self, min_id: int, max_id: int) -> list[tuple[int, int, int]]:
        """Return the same of the copied columns alone, without the generated ones."""
        return self._call(lambda opened: opened.checksums.of_rows(min_id, max_id, copied=True))

    def value_checksums(
        self, ids: Sequence[int], columns: Sequence[Sequence[str]]
    ) -> list[tuple[int, list[int | None]]]:
        """Return `(id, checksums)` of the rows' values in each of these lists of columns."""
        return self._call(lambda opened: opened.checksums.of_values(ids, columns))

    def unique_indexes(self) -> list[tuple[str, list[str]]]:
        """Return the name and the columns of each unique index of copied columns, not of the key.

        Those of expressions and of a part of the rows are left out.
        """
        return self._call(lambda opened: opened.checksums.unique_indexes())

    def rows_without_id(self) -> int:
        """Return the number of rows whose key is NULL or negative."""
        return self._call(lambda opened: opened.reader.rows_without_key())

    def delete_rows(self, ids: Sequence[int]) -> int:
        """Remove the rows with these ids, all or none, durably; return how many there were."""
        with self._opener.removing(ids):
            return self._call(lambda opened: opened.writer.delete(ids))

    def exchange_rows(
        self, rows: Sequence[Row], surplus: Sequence[int]
    ) -> tuple[list[int], list[int]]:
        """Remove the rows with the ids of `rows` and the `surplus` ones, and save `rows`.

        All or none. If other rows have unique values of these, nothing is changed. Returns the ids
        of those, and of the rows that had each other's values; none if that can't be told.
        """
        with self._opener.removing(surplus):
            return self._call(
                lambda opened: opened.writer.exchange(opened.copy_rows(rows), surplus)
            )

    def open_transactions(self, among: Sequence[str] | None = None) -> list[OpenTransaction] | str:
        """Return the transactions that may still commit rows with ids that were handed out.

        Or a sentence, if the role may not know. Right after `get_max_id` in a copy, it is what
        was open then.
        """
        then, self._open_then = self._open_then, None
        if among is None and then is not None:
            return then

        def work(opened: Opened) -> list[OpenTransaction] | str:
            found: list[OpenTransaction]
            try:
                (found,) = ask(opened.session.query_all, self._open_ones(opened.table, among))
            except psycopg.errors.InsufficientPrivilege as error:
                return transactions.untold(error)
            return found

        return self._call(work)

    def lag(self) -> tuple[float, str | None]:
        """Return by how many seconds the last of the standbys is behind, and its name.

        The name is None for the server itself, a standby, and if none is behind.
        """
        return self._in_session(self._lag.ask)

    def active_sessions(self) -> int:
        """Return how many sessions are active on the server, without those of this run."""
        return self._in_session(lambda session: busy.active_sessions(session, self._own_sessions))

    def confirm(self) -> None:
        """See that the server and the table are those that rows were saved to."""
        self._call(lambda opened: opened.guard.look())

    def finish(self, max_id: int) -> str | None:
        """Set the sequence behind the key past `max_id`, never lower; return a warning or None.

        Before that, see once more that the server and the table are those that rows were saved to.
        """

        def work(opened: Opened) -> str | None:
            (sequences,) = ask(opened.guard.query_all, find_key_sequences(opened.table))
            return advance_sequences(opened.session, sequences, max_id)

        return self._call(work)

    def _call(self, work: Callable[[Opened], Result]) -> Result:
        return self._in_session(lambda session: self._opener.work(session, work))

    def _in_session(self, work: Callable[[ServerSession], Result]) -> Result:
        self._open_then = None
        return self._connection.call(work)

    def _forget_table(self) -> None:
        self._opener.forget()
        self._open_then = None
