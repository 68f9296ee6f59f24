# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""Writer: puts batches into one table, each whole or not at all, and none twice."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import psycopg
from psycopg import errors
from psycopg.pq.abc import PGresult

from pipecopy.postgres.errors import (
    TRIGGERED_DATA_CHANGE_VIOLATION,
    UNDEFINED_COLUMN,
    PostgresError,
)
from pipecopy.postgres.guard import Guard
from pipecopy.postgres.questions import ask
from pipecopy.postgres.reader import also
from pipecopy.postgres.rows import CopyRows
from pipecopy.postgres.table import Table
from pipecopy.postgres.upsert import BATCH_INDEX, ROWS_DIFFER, SHORT_OF_ROWS, SaveSql
from pipecopy.postgres.wire import chunks_of
from pipecopy.postgres.writable import without_identity

_REFUSALS = (
    errors.ObjectNotInPrerequisiteState,  # the table is published without a replica identity
    errors.InvalidColumnReference,  # or with columns or a condition that the identity lacks
)


class Writer:
    """Saves batches in one session, by the cheapest way that is right.

    - *direct*: a COPY into the table, if no row of it can have one of the batch's keys: its
      greatest key is known from the look before. If a row has come since then, the key's unique
      index refuses the batch whole, which is harmless, but an error in the server's log.
    - *upsert*: by a temporary table, writing only the rows that differ.
    - *replace*: by a temporary table too, for a table without a unique index on the key.

    Of a table that is published and has no replica identity the server refuses to update or remove
    rows, even none: only new ones are inserted there, and it is an error if others differ.

    Each is one transaction in two round trips. If a trigger may drop rows it is never *direct*:
    that the COPY took fewer rows than it got would be known only after its commit. (No trigger can
    come meanwhile: see guard.py.) Nor if values hold names, which are read by another search
    path than the one that triggers need.
    """

    def __init__(self, guard: Guard, table: Table) -> None:
        self._guard = guard
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

    def save(self, rows: CopyRows) -> None:
        """Save the rows; raises psycopg's errors, or PostgresError for what this driver refuses."""
        sql = self._sql(rows)
        if self._table.unique_index is not None:
            self._save_by_index(rows, sql)
        else:
            self._save_without_index(rows, sql)

    def _save_by_index(self, rows: CopyRows, sql: SaveSql) -> None:
        if self._is_free(sql) and self._table.takes_direct:
            try:
                self._guard.copy_in(sql.direct, chunks_of(rows.raw))
            except (errors.UniqueViolation, errors.ExclusionViolation):
                # perhaps another index's, but of the same row: the upsert shows which
                pass
            else:
                return
        try:
            results = self._write(rows, sql, sql.upsert, sql.next_taken)
        except (errors.UniqueViolation, errors.ExclusionViolation) as error:
            raise self._explained(error) from error
        next_taken = results[-1].get_value(0, 0)
        self._free_until = math.inf if next_taken is None else int(next_taken)

    def _is_free(self, sql: SaveSql) -> bool:
        """Return whether no row is known with one of the batch's keys."""
        if self._free_until is not None:
            return sql.last < self._free_until
        greatest = self._guard.greatest_key
        return greatest is None or sql.first > greatest

    def _save_without_index(self, rows: CopyRows, sql: SaveSql) -> None:
        if self._highest is None:
            ((highest,),) = self._guard.query(sql.highest)
            self._highest = -math.inf if highest is None else highest
        highest, self._highest = self._highest, None  # unknown again, should this fail
        if sql.first > highest and self._table.takes_direct:
            self._guard.copy_in(sql.direct, chunks_of(rows.raw))
        else:
            self._write(rows, sql, sql.replace)
        self._highest = max(highest, sql.last)

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
            " identity.",
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
            results = self._guard.copy_in(
                "; ".join([*before, sql.plan, sql.copy_batch, then]), chunks_of(rows.raw)
            )
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
        self, error: errors.UniqueViolation | errors.ExclusionViolation
    ) -> PostgresError:
        if error.diag.constraint_name == BATCH_INDEX:
            return PostgresError(
                "the source has more than one row with the same"
                f" {self._table.key_sql}, which is unique in the target",
                error.sqlstate,
            )
        if error.diag.constraint_name == self._table.unique_index:
            return PostgresError(
                f"another session inserted a row with a {self._table.key_sql} of this batch into"
                f" the target table {self._table.sql} at the same time",
                error.sqlstate,
            )
        kind, has = "unique index", "its value"
        if isinstance(error, errors.ExclusionViolation):
            kind, has = "exclusion constraint", "a value that excludes its"
        return PostgresError(
            f"a row violates the {kind} {error.diag.constraint_name} of the target table"
            f" {self._table.sql}, which is not the one on the key: another row has {has}"
            f" ({error.diag.message_primary})",
            error.sqlstate,
        )
