# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""How many rows there are, and how big they are when they travel: estimated, without a long look.

A lock of another session's is not waited for long, and the answer is then not known.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from psycopg import errors

from pipecopy.postgres.names import CATALOG_PATH, quoted
from pipecopy.postgres.reader import condition
from pipecopy.postgres.rows import CopyFormat, row_bounds
from pipecopy.postgres.session import ServerSession
from pipecopy.postgres.table import Table

Result = TypeVar("Result")

_PATIENCE = "SET LOCAL lock_timeout = '200ms'; "
_COUNTED = 16 * 1024 * 1024
"""Bytes of a table that is counted: that takes some milliseconds, and an estimate of few rows is
far off."""
_PAGES = 32
"""Pages that are looked at in each of three places."""
_SAMPLE = 100
"""Rows that are looked at in each of three places."""
_SAMPLE_BYTES = 4 * 1024 * 1024
_TOGETHER = 32
"""Ranges that the planner is asked for in the first round trip, then as many as so far: some ms, or
seconds with thousands of partitions."""
_CONSISTENT = 1.5
"""How many times the rows of a range its two halves may have, as the planner expects it."""


def size_of(session: ServerSession, table: Table) -> int | None:
    """Return the bytes of the table, its partitions and its TOAST, without indexes; 0 for empty."""
    return _seen(
        lambda: _size(session, table, "pg_relation_size") and _size(session, table, "pg_table_size")
    )


def rows_of(session: ServerSession, table: Table, first: int, last: int) -> int | None:
    """Return the number of rows that are read with keys from `first` to `last`; None for unknown.

    By the planner's estimate; those of a small table are counted, and those of one that was never
    analyzed follow from how many are in some of its pages, whatever their keys.
    """
    return _seen(lambda: _rows(session, table, first, last))


def rows_below(
    session: ServerSession, table: Table, first: int, ends: Sequence[int], seconds: float
) -> list[int] | None:
    """Return how many rows the planner expects with keys in `[first, end)`, for each of these ends.

    Of the first of them alone, if it takes longer than so many seconds. None if it knows nothing of
    the keys, or a lock keeps it from us.
    """
    return _seen(lambda: _rows_below(session, table, first, ends, seconds))


def has_rows(session: ServerSession, table: Table, first: int, last: int) -> bool | None:
    """Return whether there are rows with keys from `first` to `last`, whatever the condition."""
    found = _seen(lambda: _has_rows(session, table, first, last))
    return None if found is None else bool(found)


def row_bytes_of(
    session: ServerSession, table: Table, form: CopyFormat, first: int, last: int
) -> float | None:
    """Return the bytes of one row in a COPY, on average: by a sample, or by what ANALYZE saw."""
    if table.ordered_index and table.kind in "rpm":
        sampled = _seen(lambda: _sampled(session, table, form, first, last))
        if sampled is not None:
            return sampled
    width = _seen(lambda: _plan(session, table, first, last)[1])
    return None if not width else 2.0 + 4 * len(table.columns) + width


def _rows(session: ServerSession, table: Table, first: int, last: int) -> int:
    if table.kind in "rpm":
        if _size(session, table, "pg_relation_size") <= _COUNTED:
            where = condition(table, first, last)
            return (
                _value(session, f"SELECT pg_catalog.count(*) FROM {table.sql} WHERE {where}") or 0
            )
        if not table.where and _never_analyzed(session, table):
            return _by_density(session, table)
    rows, _ = _plan(session, table, first, last)
    return rows


def _rows_below(
    session: ServerSession, table: Table, first: int, ends: Sequence[int], seconds: float
) -> list[int] | None:
    until = time.monotonic() + seconds
    last = ends[-1] - 1
    middle = (first + last) // 2
    whole, lower, upper = _expected(
        session, table, [(first, last), (first, middle), (middle, last)]
    )
    if lower + upper > _CONSISTENT * whole + 2:  # at least 1 is expected of any ids
        return None  # without statistics it takes any two ids to have the same share between them
    found: list[int] = []
    while len(found) < len(ends) and (not found or time.monotonic() < until):
        asked = ends[len(found) :][: max(_TOGETHER, len(found))]
        found += _expected(session, table, [(first, end - 1) for end in asked])
    return found


def _expected(session: ServerSession, table: Table, ranges: Iterable[tuple[int, int]]) -> list[int]:
    """Return how many rows the planner expects in each range of keys, in one round trip."""
    explains = (
        f"EXPLAIN (FORMAT JSON) SELECT FROM {table.sql} WHERE {condition(table, *each)}"
        for each in ranges
    )
    answers = session.query_all(_PATIENCE + "; ".join(explains))
    return [int(plans[0]["Plan"]["Plan Rows"]) for ((plans,),) in answers]


def _never_analyzed(session: ServerSession, table: Table) -> bool:
    """Return whether the planner would guess: of a range of ids, it takes a two-hundredth."""
    return bool(
        _value(
            session,
            f"{CATALOG_PATH}SELECT bool_or(reltuples < 0 AND pg_relation_size(oid) > 0)::int"
            f" FROM pg_class WHERE relkind IN ('r', 'm') AND oid IN ({_with_heirs(table)})",
        )
    )


def _by_density(session: ServerSession, table: Table) -> int:
    """Return how many rows there are if all pages have as many as some of the biggest heir's.

    The bytes of a row as it travels tell little of how many fit into a page.
    """
    heirs = session.query(
        f"{_PATIENCE}{CATALOG_PATH}SELECT oid::bigint,"
        " pg_relation_size(oid) / current_setting('block_size')::int FROM pg_class"
        f" WHERE relkind IN ('r', 'm') AND oid IN ({_with_heirs(table)}) ORDER BY 2 DESC"
    )
    oid, pages = heirs[0]
    begins = {0, max(0, pages // 2 - _PAGES // 2), max(0, pages - _PAGES)}
    counts = (
        f"SELECT pg_catalog.count(*) FROM {table.sql}"
        f" WHERE tableoid OPERATOR(pg_catalog.=) {oid}::pg_catalog.oid"
        f" AND ctid OPERATOR(pg_catalog.>=) '({begin},0)'::pg_catalog.tid"
        f" AND ctid OPERATOR(pg_catalog.<) '({begin + _PAGES},0)'::pg_catalog.tid"
        for begin in begins
    )
    counted = session.query_all(_PATIENCE + "; ".join(counts))
    looked_at = len(begins) * min(pages, _PAGES)
    return int(sum(rows for ((rows,),) in counted) / looked_at * sum(size for _, size in heirs))


def _has_rows(session: ServerSession, table: Table, first: int, last: int) -> int | None:
    if not table.ordered_index and _size(session, table, "pg_relation_size") > _COUNTED:
        return None  # to look would be to read all of it
    where = condition(replace(table, where=None), first, last)
    return _value(session, f"SELECT EXISTS (SELECT FROM {table.sql} WHERE {where})::int")


def _size(session: ServerSession, table: Table, of: str) -> int:
    found = _value(
        session,
        f"{CATALOG_PATH}SELECT sum({of}(oid))::bigint FROM pg_class WHERE relkind IN ('r', 'm')"
        f" AND oid IN ({_with_heirs(table)})",
    )
    return found or 0


def _plan(session: ServerSession, table: Table, first: int, last: int) -> tuple[int, int]:
    """Return how many rows the planner expects, and of how many bytes."""
    ((plans,),) = session.query(
        f"{_PATIENCE}EXPLAIN (FORMAT JSON) SELECT {_columns(table)} FROM {table.sql}"
        f" WHERE {condition(table, first, last)}"
    )
    plan = plans[0]["Plan"]
    return int(plan["Plan Rows"]), int(plan["Plan Width"])


def _sampled(
    session: ServerSession, table: Table, form: CopyFormat, first: int, last: int
) -> float | None:
    """Look at some of the first rows, of those in the middle, and of the last.

    Without the user's condition: by it, a hundred rows may be far apart.
    """
    size = rows = 0
    whole = replace(table, where=None)
    upwards, downwards = table.key_order(), table.key_order("DESC")
    for begin, order in ((first, upwards), ((first + last) // 2, upwards), (first, downwards)):
        read = session.copy_out(
            f"{_PATIENCE}COPY (SELECT {_columns(table)} FROM {table.sql}"
            f" WHERE {condition(whole, begin, last)} ORDER BY {order} LIMIT {_SAMPLE})"
            f" TO STDOUT (FORMAT {form})",
            _SAMPLE_BYTES,
        )
        bounds = list(row_bounds(read.raw, form))
        rows += len(bounds)
        size += sum(end - begin for begin, end in bounds)
    return size / rows if rows else None


def _value(session: ServerSession, query: str) -> int | None:
    ((value,),) = session.query(_PATIENCE + query)
    return None if value is None else int(value)


def _seen(look: Callable[[], Result]) -> Result | None:
    """Return what the look shows; None if a lock, or a missing right, keeps it from us."""
    try:
        return look()
    except (errors.LockNotAvailable, errors.InsufficientPrivilege):
        return None


def _columns(table: Table) -> str:
    return ", ".join(quoted(column.name) for column in table.columns)


def _with_heirs(table: Table) -> str:
    """Return SQL, for a query of the catalogs, for the table, its heirs and its partitions."""
    return (
        f"WITH RECURSIVE heirs AS (SELECT {table.oid}::oid AS oid UNION"
        " SELECT inhrelid FROM pg_inherits JOIN heirs ON inhparent = heirs.oid)"
        " SELECT oid FROM heirs"
    )
