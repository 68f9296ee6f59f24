# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""The table as a run looks at it: each session sees, as it starts, that it still is that table.

A partition that came meanwhile is no change if no batch has missed a row of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from pipecopy.contracts import Session, TableDescription
from pipecopy.postgres.ddl import TableState, compare, fixed_of, from_plain, state_of
from pipecopy.postgres.guard import RELATIONS, Relations, relations_from
from pipecopy.postgres.names import about_table
from pipecopy.postgres.questions import Rows
from pipecopy.postgres.selection import Selection
from pipecopy.postgres.session import ServerSession
from pipecopy.postgres.table import TABLE, Table, table_from


@dataclass(frozen=True)
class Looked:
    """The table as one server session has seen it last."""

    session: ServerSession
    table: Table | None
    relations: Relations

    @property
    def token(self) -> str:
        """It changes with anything that is altered."""
        return self.relations.token + ("" if self.table is None else self.table.types_token)


class KnownTable:
    """The table as the run looks at it; each server session sees that it still is."""

    def __init__(self, selection: Selection, run: Session | None) -> None:
        self.selection = selection
        self._run = run
        described = None if run is None else run.described
        self._looked: Looked | None = None
        self.state = (
            from_plain(described.state) if isinstance(described, TableDescription) else None
        )
        """None before the first look."""
        self.greatest_id = None if run is None else run.greatest_id
        """The greatest one that is copied, once that is known."""

    def look(self, session: ServerSession, *, refused: bool = False) -> Looked:
        """Look at the table, once a session; `refused`: a row was, perhaps by a new constraint.

        Raises TableChangedError if it is not the one that the run looks at.
        """
        if self._looked is not None and self._looked.session is session:
            return self._looked
        rows = session.take_answers()
        while True:
            *_, of_relations, of_table = rows or self._ask(session)
            relations, table = relations_from(of_relations), table_from(of_table, self.selection)
            session.relations = relations.oids
            is_one = relations.oid == (None if table is None else table.oid)
            if is_one and not (rows and table is None):  # it may have been created since
                break
            rows = None
        known = self.state
        if known is not None:
            table = None if table is None else table.with_columns(known.columns)
            written = self._run is None or self._run.may_write
            known = _with_new_partitions(
                session, known, table, relations, self.greatest_id, written=written
            )
            state = state_of(table, relations, self._run)
            compare(known, state, refused=refused)
            self.state = replace(known, versions=state.versions, files=state.files)
        elif table is not None:
            self.state = state_of(table, relations, self._run)
        self._looked = Looked(session, table, relations)
        return self._looked

    def _ask(self, session: ServerSession, tries: int = 5) -> list[Rows]:
        """Ask for the rows of a look; again if a relation is gone since that was parsed."""
        try:
            return session.query_all(look_sql(self.selection))
        except psycopg.errors.InternalError_:
            if tries == 1:
                raise
            return self._ask(session, tries - 1)

    def look_again(
        self, session: ServerSession, *, refused: bool = False
    ) -> tuple[Looked | None, Looked]:
        """Look once more in the same session; return what was seen before, and now."""
        before, self._looked = self._looked, None
        return before, self.look(session, refused=refused)

    def forget(self) -> None:
        """Look once more the next time, in the same session too."""
        self._looked = None


def look_sql(selection: Selection) -> str:
    """Return SQL for a look at the table; its rows are those of the last two statements.

    The relations first: what changes while the rest is looked at changes the token.
    """
    return about_table(selection.table, f"{RELATIONS}; {TABLE}")


def _with_new_partitions(
    session: ServerSession,
    known: TableState,
    table: Table | None,
    relations: Relations,
    greatest_id: int | None,
    *,
    written: bool,
) -> TableState:
    """Return what is known with the partitions that have come, and have no row of the run's.

    A table that is partitioned by time gets new ones every day: as long as they have no row with
    an id up to the greatest one that is copied, no batch has missed any. If rows are `written`,
    those in a new one may be the run's own, and the unique index sees to all others.
    """
    if table is None or table.key is None:
        return known
    fixed = dict(known.fixed)
    takes_any = written and table.unique_index is not None
    for row in relations.rows:
        new = fixed_of(row, table)
        if row["is_child"] and not fixed.keys() & new.keys():
            fixed |= new if takes_any or not _has_rows(session, row, table, greatest_id) else {}
    return replace(known, fixed=fixed)


def _has_rows(
    session: ServerSession, row: Mapping[str, Any], table: Table, greatest_id: int | None
) -> bool:
    """Return whether a partition has, or may have, rows with ids up to the greatest one."""
    oid = row["oid"]
    ((size, bound),) = session.ask_catalogs(
        f"SELECT pg_relation_size({oid}), pg_get_partition_constraintdef({oid})"
    )
    if table.kind != "p" or bound is None:  # a view's columns have names of their own
        return bool(size) or row["kind"] == "f"
    until = "" if greatest_id is None else f" AND {table.key_sql} <= {greatest_id}"
    # by the table itself: that is what the role has a right to
    ((found,),) = session.ask_catalogs(
        f"SELECT EXISTS (SELECT FROM {table.sql} WHERE ({bound}){until})"
    )
    return bool(found)
