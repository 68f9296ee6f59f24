# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""The ledger: which shard of a sharded run is how far, in a table on the target.

It is the one truth of a run: a target that failed over and lost commits has lost the ledger's with
them, and the run goes on from what it says.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import psycopg

from pipecopy.arguments import argument, function_call
from pipecopy.contracts import TargetInUseError
from pipecopy.errors import Holder
from pipecopy.postgres.errors import UNDEFINED_TABLE, PostgresError
from pipecopy.postgres.guard import fail
from pipecopy.postgres.ledger_table import (
    COLUMNS,
    ledger_sql,
    make_ledger,
    refuse_bad_ledger,
)
from pipecopy.postgres.lock import held, share_instead, take_lock, take_run
from pipecopy.postgres.names import CATALOG_PATH, literal, table_oid
from pipecopy.postgres.session import ServerSession
from pipecopy.shard import Shard, table_text
from pipecopy.units import counted, seconds_text

_LEDGER_LOCK_CLASS = 0x7069706C
"""The first key of the advisory lock of a plan ("pipl"); the second is the ledger's oid."""
_LOCKED = 0.2
"""Seconds for which a shard that is locked is waited for, as it is stopped."""
_MOST_TRIES = 5
"""Of a plan: another run, which ends, may drop the ledger that has just been made."""
_BETWEEN_SHARDS = 600.0
"""Seconds for which a run may rest, as between two shards that a scheduler starts one by one."""
_NOW = "clock_timestamp()"
_OTHERS = "pipecopy: the ledger has other runs"
_FIELDS = [name for name in COLUMNS if name not in ("claim", "updated")]
_QUOTED = ", ".join(f'"{name}"' for name in _FIELDS)
SHARD = (
    f"{_QUOTED},"
    """ to_char("updated" AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),"""
    f' extract(epoch FROM {_NOW} - "updated")::double precision'
)
"""What `shard_of` makes a shard of: as the catalogs' path reads it, as all SQL of this file."""


def shard_of(row: Sequence[object]) -> Shard:
    """Return the shard of a row of the ledger."""
    fields = dict(zip(_FIELDS, row, strict=False))
    updated, idle = row[len(_FIELDS) : len(_FIELDS) + 2]
    fields["next_id"] = int(str(fields["next_id"]))
    return Shard(**fields, updated=updated, idle=max(0.0, float(str(idle))))  # type: ignore[arg-type] # as the columns have them


@dataclass(frozen=True)
class Ledger:
    """The ledger of that name, in any session."""

    name: str

    @cached_property
    def sql(self) -> str:
        """Its name as SQL reads it."""
        return ledger_sql(self.name)

    def plan(self, session: ServerSession, shards: Sequence[Shard]) -> None:
        """Write the shards of a run; make the ledger first if there is none.

        The session shares the locks of the tables from now on. Raises TargetInUseError if another
        run of one of the tables is not complete, or if anything writes to one of them.
        """
        tables = list(dict.fromkeys(shard.table for shard in shards))
        self._share(session, tables, alone=True)
        for _ in range(_MOST_TRIES):
            make_ledger(session, self.name)
            try:
                active = session.query(self._plan(shards, tables))
            except psycopg.errors.UndefinedTable:
                continue
            self._refuse(active)
            return
        raise PostgresError(f"the ledger {self.sql} is dropped again and again", UNDEFINED_TABLE)

    def _plan(self, shards: Sequence[Shard], tables: Sequence[str]) -> str:
        run, listed = literal(shards[0].run), ", ".join(f'"{name}"' for name in COLUMNS)
        others = self._others(shards[0].run, tables)
        return (
            # two plans of one table at once: the second one sees the first
            f"{CATALOG_PATH}SELECT pg_advisory_xact_lock({_LEDGER_LOCK_CLASS},"
            f" {literal(self.sql)}::regclass::oid::bigint::bit(32)::int);"
            f" INSERT INTO {self.sql} ({listed})"
            f" SELECT * FROM (VALUES {', '.join(map(_values, shards))}) AS planned"
            f" WHERE NOT EXISTS ({others})"
            # an attempt of this very call, which was cut off after its commit
            f' AND NOT EXISTS (SELECT FROM {self.sql} WHERE "run" = {run}); {others}'
        )

    def refuse_others(self, session: ServerSession, run_id: str, table: str) -> None:
        """Raise TargetInUseError if another run of the table is not complete."""
        if self._is_there(session):
            with suppress(psycopg.errors.UndefinedTable):  # another run dropped it just now
                active = session.ask_catalogs(self._others(run_id, [table]))
                if active:  # who is copying it says more than the ledger, and is told by its lock
                    ((oid,),) = session.query(table_oid(table))
                    for error in () if oid is None else held(session.query, oid):
                        raise error
                self._refuse(active)

    def _is_there(self, session: ServerSession) -> bool:
        """Ask before a statement that would fail without a ledger, and be in the server's log."""
        name = literal(self.sql)
        ((found,),) = session.query(f"SELECT pg_catalog.to_regclass({name}) IS NOT NULL")
        return bool(found)

    def _others(self, run_id: str, tables: Iterable[str]) -> str:
        listed = ", ".join(map(literal, tables))
        return (
            'SELECT "run", "table", count(*),'
            f' extract(epoch FROM {_NOW} - max("updated"))::double precision FROM {self.sql}'
            f' WHERE "run" <> {literal(run_id)} AND "state" <> \'done\''
            f' AND "table" = ANY (ARRAY[{listed}]::text[])'
            ' GROUP BY "run", "table" ORDER BY 1, 2 LIMIT 1'
        )

    def _refuse(self, active: Iterable[tuple[str, str, int, float]]) -> None:
        """Raise TargetInUseError for such a run, whose tables nobody has locked at the moment."""
        for run, table, left, idle in active:
            raise TargetInUseError(
                f"the sharded run {run} of {table_text(table)} is not complete, and nobody is"
                f" copying it: {counted(left, 'shard')} not done, last change"
                f" {seconds_text(round(max(0.0, idle)))} ago",
                f"go on with it ({argument(run=run)}), or drop it with"
                f" {function_call('drop_run', run=run)}",
                holder=Holder(
                    who=f"the sharded run {run}", run_id=run, abandoned=idle > _BETWEEN_SHARDS
                ),
            )

    def shards(self, session: ServerSession, run_id: str | None) -> list[Shard]:
        """Return the shards of a run, or of all; none if there is no ledger."""
        where = "" if run_id is None else f' WHERE "run" = {literal(run_id)}'
        try:
            if not self._is_there(session):
                return []
            rows = session.ask_catalogs(
                f'SELECT {SHARD} FROM {self.sql}{where} ORDER BY "run", "shard"'
            )
        except psycopg.errors.UndefinedTable:
            return []
        except (psycopg.errors.UndefinedColumn, psycopg.errors.InsufficientPrivilege):
            refuse_bad_ledger(session, self.name)
            raise
        return [shard_of(row) for row in rows]

    # -- the process that drives a run

    def hold(self, session: ServerSession, run_id: str) -> None:
        """Take the run until the session ends.

        Raises TargetInUseError if another process drives the run.
        """
        take_run(session.query, run_id, session.facts.statement_timeout)

    def hold_again(self, session: ServerSession, run_id: str) -> None:
        """Take the run, and share the locks of its tables, in the place of an earlier session."""
        self.hold(session, run_id)
        self._share_all(session, run_id)

    def _share_all(self, session: ServerSession, run_id: str) -> None:
        tables = [shard.table for shard in self.shards(session, run_id)]
        self._share(session, dict.fromkeys(tables))

    def _share(self, session: ServerSession, tables: Iterable[str], *, alone: bool = False) -> None:
        """Share the locks of the tables; `alone`: nobody else may have one at this moment."""
        for table in tables:
            timeout = session.facts.statement_timeout
            if take_lock(session.query, table, timeout, shared=not alone) and alone:
                session.query(share_instead(table))

    def open(self, session: ServerSession, run_id: str) -> None:
        """Set all shards that are not done to `waiting`, and share the locks of their tables.

        Raises TargetInUseError if another run writes to one of them.
        """
        self._share_all(session, run_id)
        self._set(session, run_id, "waiting", "\"state\" <> 'done'")

    def stop(self, session: ServerSession, run_id: str, *, finishing: bool) -> None:
        """Set all shards that are not done to `stopped`, but leave those that failed.

        With `finishing`, those that are `running` to `stopping`. It times out if a shard is locked
        for long: the session that has it locked may have to be ended first.
        """
        which = "\"state\" NOT IN ('done', 'failed')"
        if finishing:
            self._set(session, run_id, "stopping", "\"state\" = 'running'")
            which = "\"state\" NOT IN ('done', 'failed', 'stopping')"
        # first those that no save has locked: one that is stuck keeps the others from nothing
        free = (
            f'"shard" IN (SELECT "shard" FROM {self.sql} WHERE "run" = {literal(run_id)}'
            f" AND {which} FOR UPDATE SKIP LOCKED)"
        )
        self._set(session, run_id, "stopped", free)
        self._set(session, run_id, "stopped", which, patience=_LOCKED)

    def _set(
        self,
        session: ServerSession,
        run_id: str,
        state: str,
        which: str,
        patience: float | None = None,
    ) -> None:
        """Set the state of these shards; `patience` is how long locked ones are waited for."""
        limit = "" if patience is None else f"SET LOCAL lock_timeout TO {int(1000 * patience)}; "
        session.ask_catalogs(
            f'{limit}UPDATE {self.sql} SET "state" = {literal(state)}, "updated" = {_NOW}'
            f' WHERE "run" = {literal(run_id)} AND {which}'
        )

    def drop(self, session: ServerSession, run_id: str, *, complete: bool) -> list[Shard] | None:
        """Remove the run, and drop the ledger if no other run is in it.

        `complete`: only if all its shards are done; else return those that are not. None if there
        is no such run.
        """
        run = f'"run" = {literal(run_id)}'
        only = f" AND NOT EXISTS (SELECT FROM {self.sql} WHERE {run} AND \"state\" <> 'done')"
        try:
            if not self._is_there(session):
                return None
            ((gone,),) = session.ask_catalogs(
                f"WITH gone AS (DELETE FROM {self.sql} WHERE {run}{only if complete else ''}"
                " RETURNING 1) SELECT count(*) FROM gone"
            )
        except psycopg.errors.UndefinedTable:
            return None
        if not gone:
            left = [shard for shard in self.shards(session, run_id) if shard.state != "done"]
            return left or None
        self._drop_empty(session)
        return []

    def _drop_empty(self, session: ServerSession) -> None:
        try:
            ((is_empty, is_own),) = session.ask_catalogs(
                f"SELECT NOT EXISTS (SELECT FROM {self.sql}), (SELECT pg_has_role(relowner,"
                f" 'USAGE') FROM pg_class WHERE oid = {literal(self.sql)}::regclass)"
            )
            if is_empty and is_own:
                limit = session.facts.statement_timeout or math.inf
                session.query(
                    # who reads it for long keeps it, as does a run that was planned meanwhile
                    f"{CATALOG_PATH}SET LOCAL lock_timeout TO {int(1000 * min(1, limit / 2))};"
                    f" LOCK TABLE {self.sql} IN ACCESS EXCLUSIVE MODE;"
                    f" SELECT CASE WHEN EXISTS (SELECT FROM {self.sql})"
                    f" THEN {fail(literal(_OTHERS))} END; DROP TABLE {self.sql}"
                )
        except (
            psycopg.errors.UndefinedTable,
            psycopg.errors.LockNotAvailable,
            psycopg.errors.InvalidTextRepresentation,
        ):
            pass


def _values(shard: Shard) -> str:
    plan = "NULL" if shard.plan is None else literal(json.dumps(shard.plan))
    values = {
        "run": literal(shard.run),
        "table": literal(shard.table),
        "state": literal(shard.state),
        "updated": _NOW,
        "host": "NULL",
        "error": "NULL",
        "claim": "NULL",
        "plan": plan,
    }
    return ", ".join(
        f"{values.get(name) or getattr(shard, name)}::{type_}" for name, type_ in COLUMNS.items()
    ).join("()")
