# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""Transactions that may still bring rows with ids that were handed out before.

A transaction that draws from a sequence holds a lock on it until its end, and one that writes to a
table, or attaches a partition, one on that: every role sees both in pg_locks. So if a table's key
draws from sequences, only those transactions count, and a report that only reads, a dump or a
transaction that writes elsewhere does not. If no sequence is known, as behind a view, every
transaction of the database counts: one of them may hold an id from elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg

from pipecopy.arguments import function_call
from pipecopy.contracts import OpenTransaction
from pipecopy.finding import Finding, warning
from pipecopy.postgres.names import CATALOG_PATH, literal, quoted
from pipecopy.postgres.questions import Question
from pipecopy.postgres.table import Table

_BELOW = "below "
"""Begins what a standby's transactions are known by: all that its primary had begun to number."""


@dataclass(frozen=True)
class _Found:
    """One transaction of a server that is not a standby."""

    virtual: str
    """Its virtual transaction id; it keeps that when it is prepared, until the server restarts."""
    xid: str | None
    """Its transaction id; None before it writes, and for one that has just ended."""
    pid: int | None
    """The server session's; None for a prepared transaction."""
    user: str | None
    application: str | None
    gid: str | None
    since: datetime | None
    """None if the role may not know it."""

    @property
    def id(self) -> str:
        return f"{self.virtual} {self.xid or ''}"

    def is_one_of(self, ids: Sequence[str]) -> bool:
        for each in ids:
            virtual, _, xid = each.partition(" ")
            if virtual == self.virtual or (xid and xid == self.xid):
                return True
        return False

    def plain(self) -> OpenTransaction:
        who = f"server session {self.pid}"
        if self.pid is None:
            who = f"prepared transaction {self.gid!r}" if self.gid else "a prepared transaction"
        names = ", ".join(name for name in (self.user, self.application) if name)
        since = None if self.since is None else self.since.astimezone(UTC)
        return {
            "id": self.id,
            "who": f"{who} ({names})" if names else who,
            "since": None if since is None else since.isoformat(timespec="seconds"),
        }


def open_transactions(
    table: Table, among: Sequence[str] | None, own_sessions: str | None
) -> Question[list[OpenTransaction]]:
    """Return those that may bring rows to the table; `among` these ids, if they are given.

    `own_sessions` begins the application name of this run's own ones.
    """
    rows = yield CATALOG_PATH + _open(table, own_sessions)
    is_standby, oldest, next_one = rows[0][:3]
    found = [_Found(*row[3:]) for row in rows if row[3] is not None]
    if among is None:
        return _of_primary(oldest, next_one) if is_standby else [each.plain() for each in found]
    for each in among:
        if each.startswith(_BELOW):  # also once the standby is promoted
            return _of_primary(oldest, int(each.removeprefix(_BELOW)))
    if is_standby:  # of several hosts, another one answers now
        who = "open on the primary when last seen; the standby that answers now can't tell"
        return [{"id": each, "who": who} for each in among]
    return [each.plain() for each in found if each.is_one_of(among)]


def untold(error: psycopg.Error) -> str:
    """Return what is said if the role may not see them."""
    return (
        "the role may not see which transactions are open"
        f" ({error.diag.message_primary}): rows that are committed late may be missed"
    )


def _of_primary(oldest: int, below: int) -> list[OpenTransaction]:
    """Return what a standby knows: whether all that had a number below this one have ended.

    The snapshot's own upper end won't do: it is the last one that ended, and some are open beyond.
    """
    if oldest >= below:
        return []
    numbers = f"{oldest}" if oldest == below - 1 else f"{oldest} to {below - 1}"
    who = f"at least one on the primary, by its transaction id ({numbers})"
    return [{"id": f"{_BELOW}{below}", "who": who, "since": None}]


def ids_out_of_order(table: Table) -> Question[list[Finding]]:
    """Warn of sequences behind the key that give lower ids than before to later transactions."""
    if table.kind not in "rp" or table.key is None:
        return []
    rows = yield (
        f"{CATALOG_PATH}WITH RECURSIVE {_sequences(table)}"
        " SELECT n.nspname::text, c.relname::text, s.seqcache, s.seqincrement, s.seqcycle"
        " FROM sequences JOIN pg_sequence s ON s.seqrelid = sequences.oid"
        " JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE s.seqcache > 1 OR s.seqincrement < 0 OR s.seqcycle ORDER BY 1, 2"
    )
    found = []
    for schema, name, cache, increment, cycles in rows:
        sequence = quoted(schema, name)
        remedy = f"run {function_call('verify_tables', repair=True)} later"
        if cache > 1:
            why = f"gives each session {cache} ids at a time (CACHE {cache})"
            remedy = f"ALTER SEQUENCE {sequence} CACHE 1;"
        elif increment < 0:
            why = f"counts down (INCREMENT BY {increment})"
        else:
            why = "starts over at its end (CYCLE)" if cycles else ""
        found.append(
            warning(
                f"the sequence {sequence} behind the key {table.key_sql} {why}: transactions that"
                " begin during a copy may commit rows with ids that it has passed, and those are"
                " missed without a further warning",
                remedy,
            )
        )
    return found


def _sequences(table: Table) -> str:
    """Return the tables `family` and `sequences` for a WITH RECURSIVE.

    Rows come to a table through those above it too, and are in those below it; each may have a
    default of its own.
    """
    return f"""
        above (oid) AS (
            SELECT {table.oid}::oid
          UNION
            SELECT i.inhparent FROM pg_inherits i JOIN above ON i.inhrelid = above.oid
        ), below (oid) AS (
            SELECT {table.oid}::oid
          UNION
            SELECT i.inhrelid FROM pg_inherits i JOIN below ON i.inhparent = below.oid
        ), family (oid) AS (
            SELECT oid FROM above UNION SELECT oid FROM below
        ), keys AS (
            SELECT a.attrelid, a.attnum FROM pg_attribute a JOIN family ON a.attrelid = family.oid
            WHERE a.attname = {literal(table.keyed.name)} AND NOT a.attisdropped
        ), drawn (oid) AS (  -- an identity's, one that is owned, and what a default draws from
            SELECT d.objid FROM pg_depend d
            JOIN keys ON d.refobjid = keys.attrelid AND d.refobjsubid = keys.attnum
            WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
              AND d.deptype IN ('a', 'i')
          UNION
            SELECT d.refobjid FROM pg_attrdef a
            JOIN keys ON a.adrelid = keys.attrelid AND a.adnum = keys.attnum
            JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid
                            AND d.refclassid = 'pg_class'::regclass
        ), sequences (oid) AS (
            SELECT s.seqrelid FROM pg_sequence s JOIN drawn ON s.seqrelid = drawn.oid
        ), opaque AS (  -- defaults that draw from nothing that is known, such as a function
            SELECT FROM pg_attrdef a
            JOIN keys ON a.adrelid = keys.attrelid AND a.adnum = keys.attnum
            WHERE NOT EXISTS (
                SELECT FROM pg_depend d JOIN pg_sequence s ON s.seqrelid = d.refobjid
                WHERE d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid
                  AND d.refclassid = 'pg_class'::regclass)
        )"""


def _open(table: Table, own_sessions: str | None) -> str:
    """Return SQL for the transactions, and in each row what a standby knows; at least one row.

    What is left out is so for sure: the sessions of another database, and those of no user, such
    as autovacuum's, neither of which ever changes; and this run's own.
    """
    watched = "false"
    if table.kind in "rp":
        watched = "EXISTS (SELECT FROM sequences) AND NOT EXISTS (SELECT FROM opaque)"
    own = "false"
    if own_sessions is not None:
        own = f"starts_with(a.application_name, {literal(own_sessions)})"
    return f"""
        WITH RECURSIVE {_sequences(table)}, locks AS MATERIALIZED (
            SELECT * FROM pg_locks WHERE granted AND pid IS DISTINCT FROM pg_backend_pid()
        ), writers AS (
            SELECT DISTINCT virtualtransaction, pid FROM locks
            WHERE CASE WHEN {watched}
                THEN locktype = 'relation' AND database = {table.database_oid}
                     AND relation IN (SELECT oid FROM family UNION SELECT oid FROM sequences)
                     AND (mode = 'RowExclusiveLock' OR mode = 'ShareUpdateExclusiveLock'
                          AND virtualtransaction IN (SELECT virtualtransaction FROM locks
                                                     WHERE locktype = 'transactionid'))
                ELSE locktype = 'virtualxid' OR locktype = 'transactionid' AND pid IS NULL END
        ), prepared AS (
            SELECT l.virtualtransaction, p.* FROM pg_prepared_xacts p
            JOIN locks l ON l.locktype = 'transactionid' AND l.pid IS NULL
                        AND l.transactionid = p.transaction
        ), found AS (
            SELECT w.virtualtransaction, coalesce(a.backend_xid, p.transaction)::text AS xid, w.pid,
                coalesce(a.usename, p.owner)::text AS owner, a.application_name::text,
                p.gid::text, coalesce(a.xact_start, p.prepared) AS since
            FROM writers w
            LEFT JOIN pg_stat_activity a ON a.pid = w.pid
            LEFT JOIN prepared p
                   ON w.pid IS NULL AND p.virtualtransaction = w.virtualtransaction
            WHERE (a.pid IS NULL OR a.datid = {table.database_oid} AND a.usesysid IS NOT NULL
                                    AND NOT {own})
              AND (p.database IS NULL OR p.database = current_database())
        ), now AS (
            SELECT pg_is_in_recovery() AS is_standby, pg_current_snapshot() AS snapshot
        )
        SELECT is_standby, pg_snapshot_xmin(snapshot)::text::bigint,
            pg_snapshot_xmax(snapshot)::text::bigint + age(pg_snapshot_xmax(snapshot)::xid),
            found.*
        FROM now LEFT JOIN found ON NOT is_standby
        ORDER BY found.since, found.pid"""
