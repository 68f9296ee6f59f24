# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""Writer: puts batches into one table, each whole or not at all, and none twice."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Collection, Sequence

import psycopg
from psycopg import errors
from psycopg.pq.abc import PGresult

from pipecopy.contracts import SavedRows, Session
from pipecopy.postgres.claim import Progress, lost_by
from pipecopy.postgres.errors import (
    TRIGGERED_DATA_CHANGE_VIOLATION,
    UNDEFINED_COLUMN,
    UNIQUE_VIOLATION,
    PostgresError,
)
from pipecopy.postgres.exchange import exchange_sql, in_the_way_sql, taken_sql
from pipecopy.postgres.guard import Guard, is_guards
from pipecopy.postgres.ledger import Ledger
from pipecopy.postgres.names import CATALOG_PATH
from pipecopy.postgres.questions import ask
from pipecopy.postgres.reader import also
from pipecopy.postgres.rejected import (
    Place,
    place_in_copy,
    remedy_of,
    rule_of,
    said_of,
    search_sql,
    unique_rules,
)
from pipecopy.postgres.rows import CopyRows
from pipecopy.postgres.table import Table
from pipecopy.postgres.upsert import (
    BATCH,
    BATCH_INDEX,
    BATCH_NAME,
    ROWS_DIFFER,
    SHORT_OF_ROWS,
    SaveSql,
    number,
    written,
)
from pipecopy.postgres.wire import chunks_of
from pipecopy.postgres.writable import without_identity

_REFUSALS = (
    errors.ObjectNotInPrerequisiteState,  # the table is published without a replica identity
    errors.InvalidColumnReference,  # or with columns or a condition that the identity lacks
)
_ENOUGH_TIMES = 2
"""How many times the time of a save that failed has to be left to search for why."""
_NOT_BY_REPAIR = (
    "give a call more time (`call_timeout`), or drop the index or constraint, repair, and create it"
    " again"
)
"""What is to be done about a row that a repair, which is the advice to a copy, can't write."""

_SHORT = 1 / 8
"""The share of the time that is left in which rows are looked for that a message names."""


class Writer:
    """Saves batches in one session, by the cheapest way that is right.

    - *direct*: a COPY into the table, if no row of it can have one of the batch's keys: its
      greatest key is known from the look before. If a row has come since then, the key's unique
      index refuses the batch whole, which is harmless, but an error in the server's log.
    - *upsert*: by a temporary table, writing only the rows that differ.
    - *replace*: by a temporary table too, for a table without a unique index on the key. A row
      counts as updated if it takes the place of others, also of equal ones that are there twice.

    Of a table that is published and has no replica identity the server refuses to update or remove
    rows, even none: only new ones are inserted there, and it is an error if others differ.

    Each is one transaction in two round trips. If a trigger may drop rows it is never *direct*:
    that the COPY took fewer rows than it got would be known only after its commit. (No trigger can
    come meanwhile: see guard.py.) Nor if values hold names, which are read by another search
    path than the one that triggers need.
    """

    def __init__(
        self,
        guard: Guard,
        table: Table,
        *,
        acting_on_delete: Collection[str],
        run: Callable[[], Session | None],
        ledger: Ledger,
    ) -> None:
        """`acting_on_delete`: what does anything else if rows of the table are removed.

        `run` returns the session's run, with the claim of its shard if it copies one.
        """
        self._guard = guard
        self._run = run
        self._ledger = ledger
        self._progress = Progress(guard.session, ledger)
        self._acting_on_delete = tuple(acting_on_delete)
        self._table = table
        self._has_batch_table = False
        self._has_batch_index = False
        self._free_until: float | None = None
        """With a unique index: after a batch that was not saved directly, the next key that is in
        the table: no row is known that a COPY of keys below this would meet."""
        self._highest: float | None = None
        """Without one: no row of the table has a key above this; None for unknown."""
        self._refusal: psycopg.Error | None = None
        """The server's, to update or remove rows."""

    def save(self, rows: CopyRows) -> SavedRows:
        """Save the rows, and say what became of them.

        Raises psycopg's errors, or PostgresError for what this driver refuses.
        """
        sql = self._sql(rows)
        began = time.monotonic()
        try:
            if self._table.unique_index is not None:
                return self._save_by_index(rows, sql)
            return self._save_without_index(rows, sql)
        except psycopg.Error as error:
            lost = lost_by(error, self._guard.session, self._ledger, self._run())
            if lost is not None:
                raise lost from error
            if not isinstance(error, errors.IntegrityError | errors.DataError):
                raise
            explained = None if is_guards(error) else self._explained(error, rows, sql, began)
            if explained is None:
                raise
            raise explained from error

    def _copy_in(self, statements: str, rows: CopyRows) -> list[PGresult]:
        """Run a COPY of a batch, with what its shard's row in the ledger needs to know of it."""
        run, next_id = self._run(), rows.key_range[1]
        progress = self._progress.saving(run, next_id, len(rows))
        results = self._guard.copy_in(statements, chunks_of(rows.raw), progress)
        self._progress.saved(run, next_id)
        return results

    def _save_by_index(self, rows: CopyRows, sql: SaveSql) -> SavedRows:
        if self._is_free(sql) and self._table.takes_direct:
            try:
                self._copy_in(sql.direct, rows)
            except (errors.UniqueViolation, errors.ExclusionViolation):
                # perhaps another index's, but of the same row: the upsert shows which
                pass
            else:
                return _saved(rows, inserted=len(rows))
        results = self._write(rows, sql, sql.upsert, sql.next_taken)
        next_taken = results[-1].get_value(0, 0)
        self._free_until = math.inf if next_taken is None else int(next_taken)
        if self._refusal is not None:
            return _saved(rows, inserted=written(results[-2]))
        saved, new = (number(results[-2], column) for column in (0, 1))
        return _saved(rows, inserted=new, updated=saved - new)

    def _is_free(self, sql: SaveSql) -> bool:
        """Return whether no row is known with one of the batch's keys."""
        run = self._run()
        if self._free_until is None and run is not None and run.copies_shard:
            # others have saved rows with greater keys already
            ((taken,),) = self._guard.query(sql.first_taken)
            self._free_until = math.inf if taken is None else taken
        if self._free_until is not None:
            return sql.last < self._free_until
        greatest = self._guard.greatest_key
        return greatest is None or sql.first > greatest

    def _save_without_index(self, rows: CopyRows, sql: SaveSql) -> SavedRows:
        if self._highest is None:
            ((highest,),) = self._guard.query(sql.highest)
            self._highest = -math.inf if highest is None else highest
        highest, self._highest = self._highest, None  # unknown again, should this fail
        if sql.first > highest and self._table.takes_direct:
            self._copy_in(sql.direct, rows)
            saved = _saved(rows, inserted=len(rows))
        else:
            results = self._write(rows, sql, sql.replace)
            done = written(results[-1])
            updated = 0 if self._refusal is not None else number(results[-2])
            saved = _saved(rows, inserted=done - updated, updated=updated)
        self._highest = max(highest, sql.last)
        return saved

    def delete(self, keys: Sequence[int]) -> int:
        """Remove the rows with these keys; return how many there were."""
        try:
            ((rows,),) = self._guard.query(
                f"WITH gone AS (DELETE FROM {self._table.sql} WHERE {self._table.key_sql}"
                f" OPERATOR(pg_catalog.=) ANY('{{{','.join(map(str, keys))}}}'::bigint[])"
                f"{also(self._table)} RETURNING 1) SELECT pg_catalog.count(*) FROM gone"
            )
        except _REFUSALS as error:
            raise self._refused(error, "rows are to be removed", deletes=True) from None
        return int(rows)

    def exchange(self, rows: CopyRows, surplus: Sequence[int]) -> tuple[list[int], list[int]]:
        """Remove the rows with the batch's keys and the surplus ones, and insert the batch's.

        If other rows have a unique value of these, nothing is changed. Returns the keys of those,
        and of the rows that had each other's values; none if that can't be told.
        """
        if self._acting_on_delete:
            raise PostgresError(
                "rows have each other's unique values: they would have to be removed and"
                " inserted again in one transaction, on which"
                f" {', '.join(self._acting_on_delete)} would act",
                UNIQUE_VIOLATION,
                "drop the unique index, repair, and create it again",
            )
        sql = self._sql(rows)
        ids = rows.keys(self._table.keyed.name)
        began = time.monotonic()
        self._free_until, self._highest = -math.inf, None
        had = self._taken(rows, sql, began)
        try:
            self._by_batch_table(rows, sql, exchange_sql(sql, ids, surplus))
        except errors.InsufficientPrivilege as error:
            raise PostgresError(
                "rows have each other's unique values: they would have to be removed and"
                " inserted again in one transaction, which the role may not do"
                f" ({error.diag.message_primary})",
                UNIQUE_VIOLATION,
                f"GRANT DELETE ON {self._table.sql} TO CURRENT_USER;",
            ) from error
        except _REFUSALS as error:
            raise self._refused(error, "rows are to be removed", deletes=True) from None
        except (errors.IntegrityError, errors.DataError) as error:
            if is_guards(error):
                raise
            (rule,) = ask(self._guard.query_all, rule_of(error))
            is_taken = isinstance(error, errors.UniqueViolation | errors.ExclusionViolation)
            if is_taken and rule:
                search = in_the_way_sql(rule, self._table, [*ids, *surplus])
                if in_the_way := self._keys_found(search, rows, sql, began):
                    return in_the_way, []
            explained = self._explained(error, rows, sql, began)
            if explained is None:
                raise
            if is_taken and error.diag.constraint_name != BATCH_INDEX:
                explained.remedy = _NOT_BY_REPAIR
            raise explained from error
        return [], had

    def _taken(self, rows: CopyRows, sql: SaveSql, began: float) -> list[int]:
        """Return the keys of the rows that have each other's unique values, for a message.

        An empty list if that takes long, or fails.
        """
        (rules,) = ask(self._guard.query_all, unique_rules(self._table))
        search = taken_sql(rules, self._table)
        return self._keys_found(search, rows, sql, began, share=_SHORT) if search else []

    def _write(self, rows: CopyRows, sql: SaveSql, change: str, *then: str) -> list[PGresult]:
        """Write what differs; what is new alone if the server refuses to change rows."""
        if self._refusal is None:
            try:
                return self._by_batch_table(rows, sql, "; ".join([change, *then]))
            except _REFUSALS as error:
                self._refusal = error
        return self._by_batch_table(rows, sql, "; ".join([sql.insert_new, *then]))

    def _refused(self, error: psycopg.Error, what: str, *, deletes: bool) -> Exception:
        """Return an error that says what to do, or the server's own if this is not the cause."""
        (found,) = ask(self._guard.query_all, without_identity(self._table, deletes=deletes))
        if found is None:
            return error
        return PostgresError(
            f"{what}, and the server refuses that: {found.names} is published and has no replica"
            " identity",
            error.sqlstate,
            found.remedy,
        )

    def _by_batch_table(self, rows: CopyRows, sql: SaveSql, then: str) -> list[PGresult]:
        """Run it all in one transaction; return the results from the COPY on."""
        before = []
        needs_index = not rows.unique and self._table.unique_index is not None
        if not self._has_batch_table:
            before.append(sql.create_batch)
        if needs_index and not self._has_batch_index:
            before.append(sql.index_batch)
        try:
            results = self._copy_in("; ".join([*before, sql.plan, sql.copy_batch, then]), rows)
        except errors.InvalidTextRepresentation as error:
            differ = re.search(f"{ROWS_DIFFER}, ([0-9]+)", str(error))
            if differ is not None and self._refusal is not None:
                deletes = self._table.unique_index is None
                what = f"rows of the target table {self._table.sql} differ ({differ[1]} here)"
                raise self._refused(self._refusal, what, deletes=deletes) from error
            short = re.search(f"{SHORT_OF_ROWS}, ([0-9]+ of [0-9]+)", str(error))
            if short is None:
                raise
            raise PostgresError(
                f"the target table {self._table.sql} takes only {short[1]} rows, without"
                " an error (a BEFORE trigger that returns NULL does that): nothing was saved",
                TRIGGERED_DATA_CHANGE_VIOLATION,
            ) from error
        self._has_batch_table = True
        self._has_batch_index |= needs_index
        return results

    def _sql(self, rows: CopyRows) -> SaveSql:
        names = tuple(column.name for column in rows.columns)
        if set(names) != {column.name for column in self._table.columns}:
            raise PostgresError(
                f"the rows have the columns {', '.join(names)}, but the table {self._table.sql} has"
                f" {', '.join(column.name for column in self._table.columns)}",
                UNDEFINED_COLUMN,
            )
        first, past_last = rows.key_range
        return SaveSql(self._table, names, rows.format, first, past_last - 1)

    def _explained(
        self, error: psycopg.Error, rows: CopyRows, sql: SaveSql, began: float
    ) -> PostgresError | None:
        """Return an error that names the row that was refused; None if it can't be told."""
        key = self._table.keyed.name
        constraint = error.diag.constraint_name
        place = place_in_copy(error, BATCH_NAME, rows, key)
        if constraint == BATCH_INDEX:
            id_ = "" if place is None else f", {place.id}"
            return PostgresError(
                f"the source has more than one row with the same {self._table.key_sql}{id_}, which"
                " is unique in the target",
                error.sqlstate,
            )
        if constraint is not None and constraint == self._table.unique_index:
            return PostgresError(
                f"another session inserted a row with a {self._table.key_sql} of this batch into"
                f" the target table {self._table.sql} at the same time",
                error.sqlstate,
            )
        place = place or place_in_copy(error, self._table.name, rows, key)
        try:
            (rule,) = ask(self._guard.query_all, rule_of(error))
            search = search_sql(error, rule, self._table, BATCH)
            if search is not None and (place is None or constraint is not None):
                place = self._found(search, rows, sql, began) or place
        except psycopg.Error:  # the server's own error says what is known
            if place is None:
                return None
            rule = None
        if place is None:
            return None
        return PostgresError(
            said_of(error, place, self._table),
            error.sqlstate,
            remedy_of(error, place, rule, self._table, self._guard.session.encoding),
        )

    def _found(self, search: str, rows: CopyRows, sql: SaveSql, began: float) -> Place | None:
        """Send the rows once more, and search among them, if there is time for that."""
        found = self._search(search, rows, sql, began)
        if found is None or not found.ntuples:
            return None
        id_, other = (found.get_value(0, column) for column in (0, 1))
        is_new = found.get_value(0, 2) == b"t"
        return Place(int(id_ or 0), None, None if other is None else int(other), is_new)

    def _keys_found(
        self, search: str, rows: CopyRows, sql: SaveSql, began: float, *, share: float = 1 / 2
    ) -> list[int]:
        """Return the keys that the search finds; an empty list if it takes long, or fails.

        It fails if the index has a column that is not copied, for one.
        """
        try:
            found = self._search(search, rows, sql, began, share=share)
        except psycopg.Error as error:
            if is_guards(error) or self._guard.session.is_lost():
                raise
            return []
        if found is None:
            return []
        return [int(found.get_value(row, 0) or 0) for row in range(found.ntuples)]

    def _search(
        self, search: str, rows: CopyRows, sql: SaveSql, began: float, *, share: float = 1 / 2
    ) -> PGresult | None:
        """Send the rows once more, and search among them; None if there is no time for that.

        It may take this share of the time that is left.
        """
        took = time.monotonic() - began
        left = (self._guard.session.facts.statement_timeout or math.inf) - took
        if left < _ENOUGH_TIMES * took:
            return None
        limit = (
            ""
            if left == math.inf
            else f"SET LOCAL statement_timeout = {max(1, int(1000 * share * left))}; "
        )
        create = f"{sql.create_batch}; "  # that of before may be gone with what failed
        statements = f"{limit}{create}{sql.copy_batch}; {CATALOG_PATH}{search}"
        results = self._guard.copy_in(statements, chunks_of(rows.raw))
        self._has_batch_table, self._has_batch_index = True, False
        return results[-1]


def _saved(rows: CopyRows, *, inserted: int, updated: int = 0) -> SavedRows:
    unchanged = len(rows) - inserted - updated
    return SavedRows(inserted=inserted, updated=updated, unchanged=unchanged)
