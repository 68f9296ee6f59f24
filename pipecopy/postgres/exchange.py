# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""The SQL that saves rows which have each other's unique values: remove all, then insert all.

An upsert writes one row after the other, and meets the value in the row that has yet to give it up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from pipecopy.postgres.guard import Relations
from pipecopy.postgres.names import quoted
from pipecopy.postgres.reader import also
from pipecopy.postgres.rejected import same_values, values_of
from pipecopy.postgres.table import Table
from pipecopy.postgres.upsert import BATCH, SaveSql, refuse_fewer


def exchange_sql(sql: SaveSql, ids: Collection[int], surplus: Collection[int]) -> str:
    """Remove the rows with the batch's ids and the surplus ones, and insert the batch's.

    It is one statement. No other row is removed: one that has left the source, or that no
    condition lets be read there, would not come again.
    A foreign key that refers to them, checked at the end of it, finds them again; one that is ON
    DELETE RESTRICT refuses it. What an insert waits for is counted, since the order of its parts is
    not defined otherwise. Columns that are not copied keep their values.
    """
    table, key = sql.table, sql.table.key_sql
    others = "".join(f", {quoted(column.name)}" for column in table.others)
    listed = sql.column_list()
    removed = "(SELECT pg_catalog.count(*) FROM gone) OPERATOR(pg_catalog.>=) 0"
    again = f"g.{key} OPERATOR(pg_catalog.=) s.{key}"
    goes = _among(key, ids)
    if surplus:
        goes += f" OR {_among(key, surplus)}{also(table)}"
    parts = [
        f"gone AS (DELETE FROM {table.sql} WHERE {goes} RETURNING {key}{others})",
        f"added AS (INSERT INTO {table.sql} ({listed}) OVERRIDING SYSTEM VALUE"
        f" SELECT {sql.column_list('s')} FROM {BATCH} AS s WHERE {removed}"
        + (f" AND NOT EXISTS (SELECT FROM gone AS g WHERE {again})" if others else "")
        + " RETURNING 1)",
    ]
    if others:
        kept = "".join(f", g.{quoted(column.name)}" for column in table.others)
        parts.append(
            f"kept AS (INSERT INTO {table.sql} ({listed}{others}) OVERRIDING SYSTEM VALUE"
            f" SELECT {sql.column_list('s')}{kept} FROM {BATCH} AS s JOIN gone AS g ON {again}"
            f" WHERE {removed} RETURNING 1)"
        )
    saved = "TABLE added UNION ALL TABLE kept" if others else "TABLE added"
    return f"WITH {', '.join(parts)}, saved AS ({saved}) {refuse_fewer('saved', f'TABLE {BATCH}')}"


def in_the_way_sql(rule: Mapping[str, Any], table: Table, ids: Collection[int]) -> str:
    """Find the keys of other rows than these that have a unique value of the batch's."""
    return (
        f"SELECT DISTINCT o.key FROM {values_of(rule, rule['table'], table)} AS o"
        f" JOIN {values_of(rule, BATCH, table)} AS b ON {same_values(rule)}"
        f" WHERE NOT o.key OPERATOR(pg_catalog.=) b.key AND NOT {_among('o.key', ids)} ORDER BY 1"
    )


def taken_sql(rules: Iterable[Mapping[str, Any]], table: Table) -> str:
    """Find the keys of the batch's rows that take a unique value of another row, and of those."""
    return " UNION ".join(
        f"SELECT taken.key FROM {values_of(rule, rule['table'], table)} AS o"
        f" JOIN {values_of(rule, BATCH, table)} AS b ON {same_values(rule)}"
        " AND NOT o.key OPERATOR(pg_catalog.=) b.key"
        " CROSS JOIN LATERAL (VALUES (b.key), (o.key)) AS taken (key)"
        for rule in rules
        if rule["parts"]  # as a search for one refused row has it
    )


def _among(key: str, ids: Collection[int]) -> str:
    return f"{key} OPERATOR(pg_catalog.=) ANY ('{{{','.join(map(str, ids))}}}'::bigint[])"


def acting_on_delete(relations: Relations) -> Iterator[str]:
    """Yield what would change other rows, or do anything else, if rows are removed."""
    for found in relations.firing:
        if found["event"] == "DELETE":
            yield f"the {found['kind']} {found['name']} of {found['of']}"
    for key in relations.cascades:
        yield f"the foreign key {key['name']} of {key['of']} ON DELETE {key['action']}"
