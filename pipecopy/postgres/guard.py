# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""Guard: each statement on the table goes with a look at whether it is still the same table.

The look comes after the statement, in the same query string and so in the same transaction and
round trip: nothing that was written by way of a changed table is committed, and nothing that was
read is used. A COPY out takes its snapshot before it has the table's lock, and would read an empty
table after it has waited for one that was emptied and filled again: a statement before it takes
the lock. The look is a prepared statement: to plan it takes three times as long as to run it (0.1
and 0.04 ms, PostgreSQL 16 and 18).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

import psycopg
from psycopg.pq.abc import PGresult

from pipecopy.postgres import failover
from pipecopy.postgres.errors import PostgresError
from pipecopy.postgres.names import literal
from pipecopy.postgres.relations import Relations, token_now, types_token_now
from pipecopy.postgres.session import Line
from pipecopy.postgres.table import Table
from pipecopy.postgres.wire import CopyRead

_CHANGED = "pipecopy: the table was altered"
"""What a statement says that met another table than the one that was looked at."""
_ABOUT_THE_SESSION = ("08", "25", "40", "53", "54", "55", "57", "58", "XX")
"""Classes of SQLSTATE of errors that no DDL on a table brings about."""
_INTEGRITY = "23"
_BAD_DATA = "08P01"
"""Of a binary value that is too short for its column, though its class is another."""


class Guard:
    """Runs statements on one table in one session.

    Each raises psycopg's errors; `is_due_to_ddl` tells those that call for another look.
    """

    def __init__(
        self, line: Line, table: Table, relations: Relations, *, wants_greatest_key: bool = False
    ) -> None:
        """`wants_greatest_key`: a lost tail of the table is to be seen by it, too."""
        self._line = line
        self._table = table
        same = [f"{token_now(table, relations)} OPERATOR(pg_catalog.=) {literal(relations.token)}"]
        if table.types_token:
            now = types_token_now(table)
            same.append(f"{now} OPERATOR(pg_catalog.=) {literal(table.types_token)}")
        lsn = "NULL" if line.server.lsn is None else f"({failover.LSN})::pg_catalog.text"
        greatest = "NULL::bigint"
        if table.ordered_index and (wants_greatest_key or line.server.lsn is None):
            greatest = f"({greatest_key(table)})::bigint"
        self._statement = (
            f"SELECT CASE WHEN {' AND '.join(same)} THEN {lsn}"
            f" ELSE {fail(literal(_CHANGED))}::pg_catalog.text END, {greatest}"
        )
        self._name = ""
        self._is_prepared = False

    @property
    def _look_sql(self) -> str:
        """The look, for the end of a query string; it is prepared with the first one that works."""
        if self._is_prepared:
            return f"EXECUTE {self._name}"
        # a name of its own, since a statement that fails may have come so far, or not
        self._name = f"pipecopy_{secrets.token_hex(8)}"
        return f"PREPARE {self._name} AS {self._statement}; EXECUTE {self._name}"

    @property
    def _results_of_look(self) -> int:
        """How many results the look adds to those of a query string."""
        return 1 if self._is_prepared else 2

    def query(self, statements: str) -> list[tuple[Any, ...]]:
        """Run statements in one round trip and transaction; return the last one's rows."""
        last_own = -1 - self._results_of_look
        results = self._line.query_all(f"{statements}; {self._look_sql}")
        self._seen(*results[-1][0])
        return results[last_own]

    def copy_out(self, statements: str, most: int | None = None) -> CopyRead:
        """Run a COPY TO STDOUT, and other statements with it, in one round trip.

        Of more than `most` bytes the first are returned, and the rest is cancelled; the look then
        costs a round trip of its own.
        """
        read = self._line.copy_out(f"{statements}; {self._look_sql}", most)
        if read.beyond is not None:
            self.look()
        else:
            self._seen_in(read.results[-1])
        return read

    def copy_in(self, statements: str, chunks: Iterable[bytes | memoryview]) -> list[PGresult]:
        """Run a COPY FROM STDIN, and the statements after it in the same transaction.

        Returns the results of the COPY and of what follows it.
        """
        own = slice(-self._results_of_look)
        results = self._line.copy_in(f"{statements}; {self._look_sql}", chunks)
        self._seen_in(results[-1])
        return results[own]

    def look(self) -> None:
        """See that the table is still the same, and that the session is still on its server."""
        self._seen(*self._line.query(self._look_sql)[0])

    def _seen_in(self, result: PGresult) -> None:
        lsn, greatest = (result.get_value(0, column) for column in (0, 1))
        self._seen(
            None if lsn is None else lsn.decode(), None if greatest is None else int(greatest)
        )

    def _seen(self, lsn: str | None, greatest_key: int | None) -> None:
        """Take note of a look that found nothing changed."""
        self._is_prepared = True
        self._line.reached(lsn, greatest_key)


def is_due_to_ddl(error: psycopg.Error | PostgresError) -> bool:
    """Tell whether an altered table may have brought the error about."""
    state = error.sqlstate
    return state is not None and (state == _BAD_DATA or not state.startswith(_ABOUT_THE_SESSION))


def is_refused_by_constraint(error: psycopg.Error | PostgresError) -> bool:
    """Tell whether a constraint, or a unique index, has refused a row."""
    return error.sqlstate is not None and error.sqlstate.startswith(_INTEGRITY)


def is_guards(error: psycopg.Error | PostgresError) -> bool:
    """Tell whether it is the guard's own error."""
    return isinstance(error, psycopg.errors.InvalidTextRepresentation) and _CHANGED in str(error)


def fail(text: str) -> str:
    """Return SQL that fails, and quotes the text, which is SQL too; so it rolls all back.

    SQL has no `raise` outside of a function: a cast does it, of what is not known to the planner.
    """
    return f"pg_catalog.concat({text})::int"


def greatest_key(table: Table) -> str:
    return f"SELECT pg_catalog.max({table.key_sql}) FROM {table.sql}"
