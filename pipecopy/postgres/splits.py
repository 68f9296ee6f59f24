# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""Where the next many batches of a table end, for a plan: with the number of rows of each.

By the index on the key: batch by batch, until the server's clock says that it took long enough. It
reads the index alone, as far as VACUUM has been there: 600,000 rows in 3,200 batches took 0.04 s
then, else 0.12 to 0.25 s in the order of ids, 0.9 s shuffled (PostgreSQL 16 and 18, all cached).
Without such an index, with a condition, or with tables that inherit, it is all rows at once, in the
planner's best way: another index may lead to the rows of a condition.
"""

from __future__ import annotations

from psycopg import errors

from pipecopy.postgres.guard import Guard
from pipecopy.postgres.questions import Rows
from pipecopy.postgres.reader import BIGGEST, condition
from pipecopy.postgres.table import Table

_TOO_LONG = (
    errors.QueryCanceled,  # by the limit of the statement, or by an administrator
    errors.LockNotAvailable,
    errors.SerializationFailure,  # a standby cancels what keeps it from going on
    errors.ConfigurationLimitExceeded,  # a sort takes more room in files than the role may have
)
_PATIENCE = 2
"""How many times the seconds asked for a statement may take: one batch may be a long way."""


def ends_of_batches(
    guard: Guard, table: Table, ids: tuple[int, int], rows: int, *, most: int, seconds: float
) -> list[tuple[int, int]]:
    """Return `(end, rows)` of the next batches with ids in `[first, past_last)`.

    As the contract says: none if the first one takes too long, or waits for a lock that long, or an
    administrator cancels it.
    """
    in_order = table.ordered_index and not table.has_children and table.where is None
    first, past_last = ids
    last = min(past_last - 1, BIGGEST)
    if in_order:
        # a sort of all that is left, for each batch, would be the planner's if it knew no better
        query = "SET LOCAL enable_sort TO off; "
        query += _one_by_one(table, first, last, rows, most=most, seconds=seconds)
    else:
        query = _all_at_once(table, first, last, rows, most)
    limit = max(1, int(1000 * _PATIENCE * seconds))
    try:
        found = guard.query(
            f"SET LOCAL statement_timeout TO {limit}; SET LOCAL jit TO off; {query}"
        )
    except _TOO_LONG:
        return []
    is_end = not in_order or (found and found[-1][1] < rows)
    return _ends(found, past_last if is_end else None)


def _ends(found: Rows, past_last: int | None) -> list[tuple[int, int]]:
    """Return where the batches end; the last one at `past_last`, if no row is after them."""
    ends = [(int(key) + 1, int(rows)) for key, rows in found if key is not None]
    if past_last is None:
        return ends
    return [*ends[:-1], (past_last, ends[-1][1] if ends else 0)]


def _one_by_one(
    table: Table, first: int, last: int, rows: int, *, most: int, seconds: float
) -> str:
    """Select the batches by the index, each from where the one before ends."""
    key, of = table.key_sql, "pipecopy_batches"
    return (
        f"WITH RECURSIVE {of} (last, rows, number) AS ("
        f"SELECT ({first - 1})::bigint, {rows}::bigint, 0"
        f" UNION ALL SELECT next.last, next.rows, {of}.number OPERATOR(pg_catalog.+) 1"
        f" FROM {of} CROSS JOIN LATERAL ("
        f"SELECT pg_catalog.max({key})::bigint, pg_catalog.count(*) FROM ("
        f"SELECT {key} FROM {table.sql} WHERE {key} OPERATOR(pg_catalog.>) {of}.last"
        f" AND {key} OPERATOR(pg_catalog.<=) {last}"
        f" ORDER BY {table.key_order()} FETCH FIRST {rows} ROWS WITH TIES"
        ") AS batch) AS next (last, rows)"
        f" WHERE {of}.number OPERATOR(pg_catalog.<) {most}"
        f" AND {of}.rows OPERATOR(pg_catalog.>=) {rows}"
        f" AND {of}.last OPERATOR(pg_catalog.<) {last}"
        " AND pg_catalog.clock_timestamp() OPERATOR(pg_catalog.<) (pg_catalog.statement_timestamp()"
        f" OPERATOR(pg_catalog.+) interval '{seconds:.6f} s')"
        f") SELECT last, rows FROM {of} WHERE number OPERATOR(pg_catalog.>) 0 ORDER BY number"
    )


def _all_at_once(table: Table, first: int, last: int, rows: int, most: int) -> str:
    """Select the batches of all rows, however big: those with one id have the same rank."""
    each = f"(pg_catalog.count(*) OVER () OPERATOR(pg_catalog./) {most} OPERATOR(pg_catalog.+) 1)"
    return (
        f"SELECT pg_catalog.max(id)::bigint, pg_catalog.count(*) FROM (SELECT {table.key_sql},"
        f" (pg_catalog.rank() OVER (ORDER BY {table.key_order()}) OPERATOR(pg_catalog.-) 1)"
        f" OPERATOR(pg_catalog./) greatest({rows}, {each})"
        f" FROM {table.sql} WHERE {condition(table, first, last)}"
        ") AS ranked (id, number) GROUP BY number ORDER BY number"
    )
