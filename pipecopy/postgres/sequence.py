# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""The sequence behind the key, after the last batch."""

from __future__ import annotations

import psycopg

from pipecopy.postgres.catalog import Table
from pipecopy.postgres.link import Line
from pipecopy.postgres.names import literal, quoted


def advance(line: Line, table: Table, max_id: int) -> str | None:
    """Set each sequence behind the key past `max_id`; return a warning where that can't be done.

    A sequence that is past it already stays as it is. Time-outs and broken connections are raised.
    """
    warnings = [
        warning
        for schema, name, largest in line.query(sequences_behind(table))
        if (warning := _advance_one(line, quoted(schema, name), largest, max_id)) is not None
    ]
    return "; ".join(warnings) or None


def _advance_one(line: Line, sequence: str, largest: int, max_id: int) -> str | None:
    if max_id > largest:
        return (
            f"the sequence {sequence} was left as it is: it ends at {largest},"
            f" below the copied id {max_id}"
        )
    name = literal(sequence)
    try:
        line.query(
            f"SELECT setval({name}, {max_id}) FROM {sequence}"
            f" WHERE last_value < {max_id} OR (last_value = {max_id} AND NOT is_called)"
        )
    except psycopg.Error as error:
        if error.sqlstate is None or error.sqlstate.startswith(("57", "55", "08", "25P")):
            raise  # a time-out, or the end of the session
        return (
            f"the sequence {sequence} could not be set past the copied ids"
            f" ({error.diag.message_primary}): SELECT setval({name}, {max_id})"
        )
    return None


def sequences_behind(table: Table) -> str:
    """Find what the key's default draws from, or its identity: ascending sequences only."""
    return f"""
        SELECT n.nspname, c.relname, s.seqmax
        FROM (
            SELECT objid AS oid FROM pg_depend
            WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass
              AND refobjid = {table.oid} AND refobjsubid = {table.keyed.number}
              AND deptype = 'i'
          UNION
            SELECT d.refobjid FROM pg_attrdef a
            JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid
                            AND d.refclassid = 'pg_class'::regclass
            WHERE a.adrelid = {table.oid} AND a.adnum = {table.keyed.number}
        ) AS behind
        JOIN pg_class c ON c.oid = behind.oid AND c.relkind = 'S'
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_sequence s ON s.seqrelid = c.oid
        WHERE s.seqincrement > 0
        ORDER BY 1, 2"""
