# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""The sequence behind the key: after the last batch it is set past it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import psycopg

from pipecopy.finding import Finding, warning
from pipecopy.postgres.names import CATALOG_PATH, literal, quoted
from pipecopy.postgres.questions import Question
from pipecopy.postgres.session import ServerSession
from pipecopy.postgres.table import Table

NEXT_VALUE = """
    'nextval(''' || replace({sequence}::regclass::text, '''', '''''') || '''::regclass)'
""".strip()
"""What pg_get_expr writes of a default that is the next value of the sequence with this oid, and
nothing more (a backslash as it is); by a search path on which no other `nextval` comes first."""


@dataclass(frozen=True)
class KeySequence:
    """What the key draws from: a sequence, or a default whose sequence is not known."""

    oid: int | None
    schema: str | None
    name: str | None
    largest: int | None
    increment: int | None
    default: str | None
    """The default, if it is anything but the sequence's next value."""

    @property
    def sql(self) -> str:
        """The sequence's name as SQL reads it."""
        return quoted(self.schema or "", self.name or "")

    def why_left(self, max_id: int | None) -> Finding | None:
        """Return a warning if it is left as it is, None if it can be set past `max_id`."""
        subject = f"the sequence {self.sql}" if self.name else "what it draws from"
        if self.default is not None:
            return warning(
                f"the key's default is {self.default}, not the bare nextval of a sequence:"
                f" {subject} is left as it is",
                "see that the next ids from this default are above the copied ones",
                what="sequence",
            )
        if self.increment is not None and self.increment < 0:
            return warning(
                f"the sequence {self.sql} behind the key counts down, and is left as it is",
                "see that its next values are none of the copied ids",
                what="sequence",
            )
        if max_id is not None and self.largest is not None and max_id > self.largest:
            return warning(
                f"the sequence {self.sql} ends at {self.largest}, below the last id {max_id}, and"
                " is left as it is",
                f"ALTER SEQUENCE {self.sql} AS bigint NO MAXVALUE;",
                what="sequence",
            )
        return None


def advance_sequences(
    session: ServerSession, sequences: Iterable[KeySequence], max_id: int
) -> str | None:
    """Set each sequence past `max_id`; return a warning if that can't be done.

    A sequence that is past it already stays as it is. Time-outs and broken connections are raised.
    """
    warnings = [
        str(left)
        for found in sequences
        if (left := found.why_left(max_id) or _advance_one(session, found, max_id)) is not None
    ]
    return " ".join(warnings) or None


def _advance_one(session: ServerSession, found: KeySequence, max_id: int) -> Finding | None:
    sequence, step = found.sql, found.increment
    # in whole steps: what another server gives between them stays its own
    past = f"last_value + ({max_id} - last_value + {step} - 1) / {step} * {step}"
    try:
        session.ask_catalogs(
            f"SELECT setval({literal(sequence)}, {past}) FROM {sequence}"
            f" WHERE last_value < {max_id} OR (last_value = {max_id} AND NOT is_called)",
        )
    except psycopg.Error as error:
        if error.sqlstate is None or error.sqlstate.startswith(("57", "55", "08", "25P")):
            raise  # a time-out, or the end of the session
        return warning(
            f"the sequence {sequence} could not be set past the copied ids"
            f" ({error.diag.message_primary})",
            f"SELECT setval({literal(sequence)}, {max_id});",
        )
    return None


def find_key_sequences(table: Table) -> Question[list[KeySequence]]:
    """Find what the key's identity or default draws from.

    A default that has the text of its nextval's name, or a function that calls nextval, depends on
    no sequence: only its text shows it.
    """
    rows = yield CATALOG_PATH + _key_sequences(table)
    return [KeySequence(*row) for row in rows]


def _key_sequences(table: Table) -> str:
    return f"""
        WITH key_default AS (  -- the column's own, or its domain's
            SELECT CASE WHEN d.oid IS NULL THEN 'pg_type'::regclass ELSE 'pg_attrdef'::regclass
                   END AS classid,
                   coalesce(d.oid, t.oid) AS oid,
                   CASE WHEN d.oid IS NULL THEN pg_get_expr(t.typdefaultbin, 0)
                        ELSE pg_get_expr(d.adbin, d.adrelid) END AS text
            FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
            LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
            WHERE a.attrelid = {table.oid} AND a.attnum = {table.keyed.number}
              AND a.attidentity = ''
        ), behind AS (
            SELECT objid AS oid, NULL AS text FROM pg_depend
            WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass
              AND refobjid = {table.oid} AND refobjsubid = {table.keyed.number}
              AND deptype = 'i'
          UNION
            SELECT c.oid, nullif(k.text, {NEXT_VALUE.format(sequence="c.oid")})
            FROM key_default k
            JOIN pg_depend d ON d.classid = k.classid AND d.objid = k.oid
                            AND d.refclassid = 'pg_class'::regclass
            JOIN pg_class c ON c.oid = d.refobjid AND c.relkind = 'S'
        )
        SELECT c.oid, n.nspname, c.relname, s.seqmax, s.seqincrement, behind.text
        FROM behind
        JOIN pg_class c ON c.oid = behind.oid AND c.relkind = 'S'
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_sequence s ON s.seqrelid = c.oid
      UNION ALL
        SELECT NULL, NULL, NULL, NULL, NULL, k.text
        FROM key_default k
        WHERE NOT EXISTS (SELECT FROM behind)
          AND (k.text ~ 'nextval\\(' OR EXISTS (
              SELECT FROM pg_depend d WHERE d.classid = k.classid AND d.objid = k.oid
              AND d.refclassid = 'pg_proc'::regclass
              AND pg_get_functiondef(d.refobjid) ~* 'nextval'))
        ORDER BY 2, 3"""
