# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""The ledger: which shard of a sharded run is how far, in a table on the target.

Every engine can run a task twice, and a frozen host can wake. So a shard is claimed by the number
of its attempt, and each save changes the shard's row in its own transaction, if that attempt still
has it: what another attempt has claimed meanwhile is rolled back. A claim waits for the save that
is under way, and so begins where that one has ended.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from pipecopy.contracts import Session, ShardLostError, TargetInUseError
from pipecopy.postgres.application_name import short_host
from pipecopy.postgres.errors import UNDEFINED_OBJECT, PostgresError
from pipecopy.postgres.guard import fail
from pipecopy.postgres.names import literal, quoted, readings
from pipecopy.postgres.session import ServerSession
from pipecopy.shard import Part, Shard, ShardState

DEFAULT_LEDGER = "pipecopy_shards"
_RUN_LOCK_CLASS = 0x70697073
"""The first key of the advisory lock on a run ("pips"); the second is from the run's id."""
_LOST = "pipecopy: another attempt has the shard"
"""What a statement says of an attempt that may save no more."""
_FIELDS = (
    ("run", "text NOT NULL"),
    ("table", "text NOT NULL"),
    ("shard", "integer NOT NULL"),
    ("first", "bigint NOT NULL"),
    ("last", "bigint NOT NULL"),
    ("next_id", "bigint NOT NULL"),
    ("attempt", "integer NOT NULL"),
    ("rows", "bigint NOT NULL"),
    ("state", "text NOT NULL"),
    ("host", "text"),
    ("updated", "timestamp with time zone NOT NULL"),
    ("error", "text"),
    ("plan", "jsonb"),
)
_NOW = "pg_catalog.clock_timestamp()"


def _eq(column: str, value: str) -> str:
    return f'"{column}" OPERATOR(pg_catalog.=) {value}'


def _is_not(column: str, value: str) -> str:
    return f'"{column}" OPERATOR(pg_catalog.<>) {literal(value)}'


@dataclass(frozen=True)
class Ledger:
    """The ledger of that name, in any session."""

    name: str

    @property
    def sql(self) -> str:
        """Its name as SQL reads it."""
        return quoted(*readings(self.name)[0])

    # -- a run

    def plan(self, session: ServerSession, shards: Sequence[Shard]) -> None:
        """Write the shards of a run; make the ledger first if there is none.

        Raises TargetInUseError if another run of one of the tables is not complete.
        """
        columns = ", ".join(f'"{name}" {type_}' for name, type_ in _FIELDS)
        session.query(
            f"CREATE TABLE IF NOT EXISTS {self.sql} ({columns},"
            # each save changes a row: there is room for the next version beside it
            ' PRIMARY KEY ("run", "shard")) WITH (fillfactor = 50)'
        )
        tables = ", ".join(literal(table) for table in dict.fromkeys(s.table for s in shards))
        listed = ", ".join(f'"{name}"' for name, _ in _FIELDS)
        values = ", ".join(self._values(shard) for shard in shards)
        others = (
            f"{_is_not('run', shards[0].run)} AND {_is_not('state', 'done')}"
            f' AND "table" OPERATOR(pg_catalog.=) ANY (ARRAY[{tables}]::pg_catalog.text[])'
        )
        active = session.query(
            # two plans of one table at once: the second one sees the first
            f"LOCK TABLE {self.sql} IN SHARE ROW EXCLUSIVE MODE;"
            f" INSERT INTO {self.sql} ({listed}) SELECT * FROM (VALUES {values}) AS planned"
            f" WHERE NOT EXISTS (SELECT FROM {self.sql} WHERE {others});"
            f' SELECT "run", "table", pg_catalog.count(*) FROM {self.sql} WHERE {others}'
            ' GROUP BY "run", "table" ORDER BY 1, 2 LIMIT 1'
        )
        for run, table, left in active:
            raise TargetInUseError(
                f"run {run} of {table} is not complete: {left} of its shards are not done",
                f"go on with it (`run='{run}'`), or drop it: pipecopy runs --drop {run}",
            )

    def _values(self, shard: Shard) -> str:
        plan = "NULL" if shard.plan is None else literal(json.dumps(shard.plan))
        return (
            f"({literal(shard.run)}, {literal(shard.table)}, {shard.shard},"
            f" {shard.first}::bigint, {shard.last}::bigint, {shard.next_id}::bigint,"
            f" {shard.attempt}, {shard.rows}::bigint, {literal(shard.state)}, NULL::text,"
            f" {_NOW}, NULL::text, {plan}::jsonb)"
        )

    def shards(self, session: ServerSession, run_id: str | None) -> list[Shard]:
        """Return the shards of a run, or of all; none if there is no ledger."""
        where = "" if run_id is None else f" WHERE {_eq('run', literal(run_id))}"
        columns = ", ".join(f'"{name}"' for name, _ in _FIELDS if name != "updated")
        try:
            rows = session.query(
                f"SELECT {columns}, pg_catalog.to_char(\"updated\" AT TIME ZONE 'UTC',"
                ' \'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"\'), extract(epoch FROM'
                f' {_NOW} OPERATOR(pg_catalog.-) "updated")::double precision'
                f' FROM {self.sql}{where} ORDER BY "run", "shard"'
            )
        except psycopg.errors.UndefinedTable:
            return []
        names = [name for name, _ in _FIELDS if name != "updated"]
        return [
            Shard(
                **dict(zip(names, row[:-2], strict=True)),
                updated=row[-2],
                idle=max(0.0, row[-1]),
            )
            for row in rows
        ]

    def hold(self, session: ServerSession, run_id: str) -> None:
        """Take the run until the session ends. Raises TargetInUseError if another one has it."""
        key = int(run_id, 16) & 0xFFFFFFFF
        ((taken,),) = session.query(
            f"SELECT pg_catalog.pg_try_advisory_lock({_RUN_LOCK_CLASS}, {key}::bit(32)::int)"
        )
        if not taken:
            raise TargetInUseError(
                f"another process is driving run {run_id}", "wait for its end, or stop it"
            )

    def open(self, session: ServerSession, run_id: str) -> None:
        """Set all shards that are not done to `waiting`."""
        session.query(self._set(run_id, "waiting", _is_not("state", "done")))

    def stop(self, session: ServerSession, run_id: str, *, finishing: bool) -> None:
        """Set all shards that are not done to `stopped`, but leave those that failed.

        With `finishing`, those that are `running` to `stopping`.
        """
        which = f"{_is_not('state', 'done')} AND {_is_not('state', 'failed')}"
        if finishing:
            session.query(self._set(run_id, "stopping", _eq("state", literal("running"))))
            which = f"{which} AND {_is_not('state', 'stopping')}"
        session.query(self._set(run_id, "stopped", which))

    def _set(self, run_id: str, state: str, which: str) -> str:
        return (
            f'UPDATE {self.sql} SET "state" = {literal(state)}, "updated" = {_NOW}'
            f" WHERE {_eq('run', literal(run_id))} AND {which}"
        )

    def drop(self, session: ServerSession, run_id: str) -> None:
        """Remove the run, and the ledger if no other one is in it."""
        try:
            ((left,),) = session.query(
                f"DELETE FROM {self.sql} WHERE {_eq('run', literal(run_id))};"
                f" SELECT EXISTS (SELECT FROM {self.sql})"
            )
            if not left:
                # it may have got another run since, or may not be the role's to drop
                session.query(
                    f"DO $$BEGIN LOCK TABLE {self.sql} IN ACCESS EXCLUSIVE MODE;"
                    f" IF NOT EXISTS (SELECT FROM {self.sql}) THEN DROP TABLE {self.sql}; END IF;"
                    "END$$"
                )
        except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
            pass

    # -- a shard

    def claim(self, session: ServerSession, run: Session, number: int, *, stopped: bool) -> Shard:
        """Take the shard: the next attempt begins. See `claim_shard` in contracts.py."""
        host = literal(short_host(run.host or "", 40))
        which = _is_not("state", "done")
        if not stopped:
            which += f" AND {_is_not('state', 'stopped')} AND {_is_not('state', 'stopping')}"
        where = f"{_eq('run', literal(run.run_id))} AND {_eq('shard', str(number))}"
        session.query(
            f'UPDATE {self.sql} SET "state" = \'running\', "host" = {host}, "updated" = {_NOW},'
            ' "attempt" = "attempt" OPERATOR(pg_catalog.+) 1, "error" = NULL'
            f" WHERE {where} AND {which}"
        )
        found = [s for s in self.shards(session, run.run_id) if s.shard == number]
        if not found:
            raise PostgresError(
                f"the ledger {self.sql} has no shard {number} of run {run.run_id}",
                UNDEFINED_OBJECT,
                "plan it first: pipecopy plan",
            )
        return found[0]

    def end(self, session: ServerSession, run: Session, state: str, error: str | None) -> None:
        """Set the state of the shard that this session has claimed."""
        part = _claimed(run)
        past = "" if state != "done" else ', "next_id" = "last" OPERATOR(pg_catalog.+) 1'
        said = "NULL" if error is None else literal(error)
        changes = f'"state" = {literal(state)}, "error" = {said}{past}'
        try:
            # one that may save no more, since the run was stopped, may have saved all
            may_end: Sequence[ShardState] = ("running", "stopping", "stopped")
            session.query(self._change(run.run_id, part, changes, may_end))
        except psycopg.errors.InvalidTextRepresentation as failed:
            if not is_lost(failed):
                raise
            raise ShardLostError(_lost_text(part)) from failed

    def saved(self, run: Session | None, next_id: int, rows: int) -> str | None:
        """Return SQL that goes with a save of rows with ids below `next_id`; None for no shard.

        Rows that an attempt of the same save has counted already, which was cut off after its
        commit, are not counted again.
        """
        if run is None or run.part is None or run.part.role != "shard":
            return None
        part = _claimed(run)
        is_new = f'"next_id" OPERATOR(pg_catalog.<) {next_id}'
        changes = (
            f'"rows" = "rows" OPERATOR(pg_catalog.+) CASE WHEN {is_new} THEN {rows} ELSE 0 END,'
            f' "next_id" = CASE WHEN {is_new} THEN {next_id} ELSE "next_id" END,'
            f" \"state\" = CASE WHEN {_eq('state', literal('running'))} THEN 'running'"
            " ELSE 'stopped' END"
        )
        return self._change(run.run_id, part, changes, ("running", "stopping"))

    def _change(self, run_id: str, part: Part, changes: str, states: Sequence[ShardState]) -> str:
        listed = ", ".join(map(literal, states))
        where = " AND ".join(
            (
                _eq("run", literal(run_id)),
                _eq("shard", str(part.number)),
                _eq("attempt", str(part.attempt)),
                f'"state" OPERATOR(pg_catalog.=) ANY (ARRAY[{listed}]::pg_catalog.text[])',
            )
        )
        return (
            f'WITH changed AS (UPDATE {self.sql} SET {changes}, "updated" = {_NOW}'
            f" WHERE {where} RETURNING 1) SELECT CASE WHEN NOT EXISTS (SELECT FROM changed)"
            f" THEN {fail(literal(_LOST))} END"
        )


def _claimed(run: Session) -> Part:
    if run.part is None or run.part.attempt is None:
        raise PostgresError("the shard has not been claimed in this session")
    return run.part


def is_lost(error: psycopg.Error) -> bool:
    """Return whether it is the ledger's own error."""
    return isinstance(error, psycopg.errors.InvalidTextRepresentation) and _LOST in str(error)


def lost(run: Session | None) -> ShardLostError:
    """Return the error of an attempt that may save no more."""
    return ShardLostError(_lost_text(None if run is None else run.part))


def _lost_text(part: Part | None) -> str:
    number = "" if part is None else f" {part.number}"
    return f"another attempt has claimed shard{number}, or the run was stopped: nothing was saved"
