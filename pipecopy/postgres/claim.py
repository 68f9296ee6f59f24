# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""Claims: which attempt of a shard may save.

Every engine can run a task twice, and a frozen host can wake. So a shard is claimed by the number
and the token of its attempt, and each save changes the shard's row in the ledger in its own
transaction, if that attempt still has it: what another attempt has claimed meanwhile is rolled
back. A claim waits for the save that is under way, and so begins where that one has ended. After
the claim the sessions of other attempts are ended, since the rows of a COPY that will never be
committed would keep this attempt waiting; and no other attempt opens one from then on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import psycopg

from pipecopy.contracts import ServerChangedError, Session, ShardLostError
from pipecopy.postgres.application_name import short_host
from pipecopy.postgres.errors import UNDEFINED_OBJECT, PostgresError
from pipecopy.postgres.guard import fail
from pipecopy.postgres.ledger import SHARD, Ledger, shard_of
from pipecopy.postgres.ledger_table import refuse_bad_ledger
from pipecopy.postgres.names import CATALOG_PATH, literal
from pipecopy.postgres.orphans import end_other_attempts
from pipecopy.postgres.session import ServerSession
from pipecopy.shard import Part, Shard

_LOST = "pipecopy: another attempt has the shard"
"""What a statement says of an attempt that may save no more."""
_MAY_SAVE = ("running", "stopping")
_NOW = "pg_catalog.clock_timestamp()"


def _is(column: str, value: str) -> str:
    """Return SQL that means the same under any search path."""
    return f'"{column}" OPERATOR(pg_catalog.=) {value}'


def _in(states: Iterable[str]) -> str:
    listed = ", ".join(map(literal, states))
    return f'"state" OPERATOR(pg_catalog.=) ANY (ARRAY[{listed}]::pg_catalog.text[])'


def claim(
    session: ServerSession, ledger: Ledger, run: Session, number: int, *, stopped: bool
) -> Shard:
    """Take the shard: the next attempt begins. See `claim_shard` in contracts.py."""
    token = "" if run.part is None else run.part.token
    which = f'"run" = {literal(run.run_id)} AND "shard" = {number}'
    final = ("done",) if stopped else ("done", "stopped", "stopping")
    try:
        while True:
            rows = session.query(
                f"{CATALOG_PATH}UPDATE {ledger.sql} SET \"state\" = 'running',"
                # not once more for an attempt of this very call, which was cut off after its commit
                f' "attempt" = "attempt" + ("claim" IS DISTINCT FROM {literal(token)})::int,'
                f' "claim" = {literal(token)}, "error" = NULL,'
                f' "host" = {literal(short_host(run.host or "", 40))}, "updated" = {_NOW}'
                f' WHERE {which} AND "state" NOT IN ({", ".join(map(literal, final))});'
                f' SELECT {SHARD}, "claim" FROM {ledger.sql} WHERE {which}'
            )
            if not rows:
                break
            ((*row, claimed_by),) = rows
            shard = shard_of(row)
            if shard.state == "running" and claimed_by == token:
                if shard.attempt > 1:
                    session.query(end_other_attempts(run))
                return shard
            if shard.state in final:
                return shard
            # it was neither, and was taken between the two statements
    except psycopg.errors.UndefinedTable:
        pass
    except (psycopg.errors.UndefinedColumn, psycopg.errors.InsufficientPrivilege):
        refuse_bad_ledger(session, ledger.name)
        raise
    raise PostgresError(
        f"the ledger {ledger.sql} has no shard {number} of run {run.run_id}: it is complete, was"
        " dropped, or a failover of the target has lost it",
        UNDEFINED_OBJECT,
        "plan a new run if it is not complete",
    )


def end(
    session: ServerSession, ledger: Ledger, run: Session, state: str, error: str | None
) -> None:
    """Set the state of the shard that this session has claimed."""
    past = "" if state != "done" else ', "next_id" = "last"::numeric OPERATOR(pg_catalog.+) 1'
    said = "NULL" if error is None else literal(error)
    changes = f'"state" = {literal(state)}, "error" = {said}{past}'
    try:
        # one that may save no more, since the run was stopped, may have saved all, but no error of
        # its own; and an attempt of this very call may have been cut off after its commit
        may_end = {*_MAY_SAVE, state} | (set() if state == "failed" else {"stopped"})
        session.query(_change(ledger, run, changes, *sorted(may_end)))
    except psycopg.Error as failed:
        lost = lost_by(failed, session, ledger, run)
        if lost is None:
            raise
        raise lost from failed


class Progress:
    """What each save of a claimed shard does to the shard's row, in one server session.

    It is a prepared statement: to plan it takes longer than to run it.
    """

    def __init__(self, session: ServerSession, ledger: Ledger) -> None:
        self._session, self._ledger = session, ledger
        self._name = ""
        self._prepared_for: Part | None = None

    def saving(self, run: Session | None, next_id: int, rows: int) -> Sequence[str]:
        """Return the statements that go with a save of rows with ids below `next_id`.

        Rows that an attempt of the same save has counted already, which was cut off after its
        commit, are not counted again.
        """
        if run is None or not run.copies_shard:
            return ()
        before = []
        if self._prepared_for != run.part:
            # a name of its own, since a statement that fails may have come so far, or not
            self._name = f"pipecopy_{os.urandom(8).hex()}"
            is_new = '"next_id" OPERATOR(pg_catalog.<) $1'
            changes = (
                f'"rows" = "rows" OPERATOR(pg_catalog.+) CASE WHEN {is_new} THEN $2 ELSE 0 END,'
                f' "next_id" = CASE WHEN {is_new} THEN $1 ELSE "next_id" END,'
                f" \"state\" = CASE WHEN {_is('state', literal('running'))} THEN 'running'"
                " ELSE 'stopped' END"
            )
            change = _change(self._ledger, run, changes, *_MAY_SAVE)
            before = [f"PREPARE {self._name} (numeric, bigint) AS {change}"]
        return (*before, f"EXECUTE {self._name} ({next_id}, {rows})")

    def saved(self, run: Session | None, next_id: int) -> None:
        """Take note of a save that has been committed."""
        if run is not None and run.copies_shard:
            self._prepared_for = run.part
            self._session.saved_below(next_id)


def see_claim(session: ServerSession, ledger: Ledger, run: Session, next_id: int | None) -> None:
    """See, in a new session, that the attempt still has its shard, and all that it has saved.

    `next_id` is where the session before had come to. Raises ShardLostError and ServerChangedError.
    """
    try:
        rows = session.query(
            f'SELECT "next_id" FROM {ledger.sql} WHERE {_claimed_by(run)} AND {_in(_MAY_SAVE)}'
        )
    except psycopg.errors.UndefinedTable:
        rows = []
    if not rows:
        raise _lost_error(run)
    ((now,),) = rows
    if next_id is not None and now < next_id:
        raise ServerChangedError(
            f"the ledger says that ids from {now} on are not saved, and those below {next_id} were:"
            " a new connection leads to another server, or to one that has gone back in time"
        )
    session.saved_below(int(now))


def _change(ledger: Ledger, run: Session, changes: str, *states: str) -> str:
    """Return SQL that changes the row of the claimed shard, and fails if it can't."""
    return (
        f'WITH changed AS (UPDATE {ledger.sql} SET {changes}, "updated" = {_NOW}'
        f" WHERE {_claimed_by(run)} AND {_in(states)} RETURNING 1)"
        f" SELECT CASE WHEN NOT EXISTS (SELECT FROM changed) THEN {fail(literal(_LOST))} END"
    )


def _claimed_by(run: Session) -> str:
    part = _claimed(run)
    return " AND ".join(
        (
            _is("run", literal(run.run_id)),
            _is("shard", str(part.number)),
            _is("attempt", str(part.attempt)),
            _is("claim", literal(part.token)),
        )
    )


def _claimed(run: Session) -> Part:
    if run.part is None or run.part.attempt is None:
        raise PostgresError("the shard has not been claimed in this session")
    return run.part


def lost_by(
    error: psycopg.Error, session: ServerSession, ledger: Ledger, run: Session | None
) -> ShardLostError | None:
    """Return the error of an attempt that may save no more, if that is what struck."""
    if run is None or not run.copies_shard:
        return None
    if isinstance(error, psycopg.errors.InvalidTextRepresentation) and _LOST in str(error):
        return _lost_error(run)
    if isinstance(error, psycopg.errors.UndefinedTable):  # perhaps the ledger, with its last run
        name = literal(ledger.sql)
        ((is_there,),) = session.query(f"SELECT pg_catalog.to_regclass({name}) IS NOT NULL")
        return None if is_there else _lost_error(run)
    return None


def _lost_error(run: Session) -> ShardLostError:
    number = "" if run.part is None else f" {run.part.number}"
    return ShardLostError(
        f"another attempt has claimed shard{number}, or the run was stopped or dropped: nothing was"
        " saved"
    )
