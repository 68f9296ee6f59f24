# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""Guard: each statement on the table goes with a look at whether it is still the same table.

The look comes after the statement, in the same query string and so in the same transaction and
round trip: nothing that was written by way of a changed table is committed, and nothing that was
read is used. A COPY out takes its snapshot before it has the table's lock, and would read an empty
table after it has waited for one that was emptied and filled again: a statement before it takes
the lock. The look is a prepared statement: to plan it takes three times as long as to run it (0.1
and 0.04 ms, PostgreSQL 16 and 18).

It compares a *token*: the versions of the rows that describe the table in the server's catalogs,
with all that belongs to it (`Relations`). Any DDL changes one of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.pq.abc import PGresult

from pipecopy.postgres import failover
from pipecopy.postgres.errors import INTERNAL_ERROR, PostgresError
from pipecopy.postgres.names import CATALOG_PATH, literal
from pipecopy.postgres.questions import Question, Rows
from pipecopy.postgres.session import ServerSession
from pipecopy.postgres.table import Table, fires
from pipecopy.postgres.types import types_token
from pipecopy.postgres.wire import CopyRead

_CHANGED = "pipecopy: the table was altered"
"""What a statement says that met another table than the one that was looked at."""
_ABOUT_THE_SESSION = ("08", "25", "40", "53", "54", "55", "57", "58", "XX")
"""Classes of SQLSTATE of errors that no DDL on a table brings about."""
_INTEGRITY = "23"
_DUE_TO_DDL = ("08P01", INTERNAL_ERROR)
"""Of a binary value that is too short for its column, and of a relation that is gone since the
statement was parsed, though their classes are others."""


class Guard:
    """Runs statements on one table in one session.

    Each raises psycopg's errors; those for which `is_due_to_ddl` holds call for another look.
    """

    def __init__(
        self,
        session: ServerSession,
        table: Table,
        relations: Relations,
        *,
        wants_greatest_key: bool = False,
    ) -> None:
        """`wants_greatest_key`: a lost tail of the table is to be seen by it, too."""
        self._session = session
        self._table = table
        lsn = "NULL" if session.server.lsn is None else f"({failover.LSN})::pg_catalog.text"
        greatest = "NULL::bigint"
        if table.ordered_index and (wants_greatest_key or session.server.lsn is None):
            greatest = f"({greatest_key(table)})::bigint"
        self._statement = f"SELECT {_if_same(table, relations, lsn)}, {greatest}"
        self._name = ""
        self._is_prepared = False

    @property
    def greatest_key(self) -> int | None:
        """The table's, as last heard; None if it is empty, or not known."""
        return self._session.server.greatest_key

    @property
    def session(self) -> ServerSession:
        """The session in which it looks."""
        return self._session

    @property
    def _look_sql(self) -> str:
        """The look, for the end of a query string; it is prepared with the first one that works."""
        if self._is_prepared:
            return f"EXECUTE {self._name}"
        # a name of its own, since a statement that fails may have come so far, or not
        self._name = f"pipecopy_{os.urandom(8).hex()}"
        return f"PREPARE {self._name} AS {self._statement}; EXECUTE {self._name}"

    @property
    def _results_of_look(self) -> int:
        """How many results the look adds to those of a query string."""
        return 1 if self._is_prepared else 2

    def query(self, statements: str) -> Rows:
        """Run statements in one round trip and transaction; return the rows of the last SELECT."""
        return self.query_all(statements)[-1]

    def query_all(self, statements: str) -> list[Rows]:
        """Run statements in one round trip and transaction; return the rows of each SELECT."""
        *rows, (seen,) = self._session.query_all(f"{statements}; {self._look_sql}")
        self._seen(*seen)
        return rows

    def copy_out(self, statements: str, most: int | None = None) -> CopyRead:
        """Run a COPY TO STDOUT, and other statements with it, in one round trip.

        Of more than `most` bytes the first are returned, and the rest is cancelled; the look then
        costs a round trip of its own.
        """
        read = self._session.copy_out(f"{statements}; {self._look_sql}", most)
        if read.beyond is not None:
            self.look()
        else:
            self._seen_in(read.results[-1])
        return read

    def copy_in(
        self, statements: str, chunks: Iterable[bytes | memoryview], last: Sequence[str] = ()
    ) -> list[PGresult]:
        """Run a COPY FROM STDIN, and the statements after it in the same transaction.

        Returns the results of the COPY and of what follows it, but not those of the `last` ones.
        """
        own = slice(-self._results_of_look - len(last))
        results = self._session.copy_in("; ".join([statements, *last, self._look_sql]), chunks)
        self._seen_in(results[-1])
        return results[own]

    def look(self) -> None:
        """See that the table is still the same, and that the session is still on its server."""
        self._seen(*self._session.query(self._look_sql)[0])

    def _seen_in(self, result: PGresult) -> None:
        lsn, greatest = (result.get_value(0, column) for column in (0, 1))
        self._seen(
            None if lsn is None else lsn.decode(), None if greatest is None else int(greatest)
        )

    def _seen(self, lsn: str | None, greatest_key: int | None) -> None:
        """Take note of a look that found nothing changed."""
        self._is_prepared = True
        self._session.reached(lsn, greatest_key)


def still_the_same(table: Table, relations: Relations, *, last: bool = False) -> Question[None]:
    """Ask before what is then known to be of the very table that was looked at, and after it.

    Raises what `is_guards` knows if it is another one. The `last` one goes with the catalogs'.
    """
    yield f"{CATALOG_PATH if last else ''}SELECT {_if_same(table, relations, 'NULL')}"


def _if_same(table: Table, relations: Relations, sql: str) -> str:
    """Return SQL for what that SQL, a text, gives if the table is still the same; else it fails."""
    same = [f"{token_now(table, relations)} OPERATOR(pg_catalog.=) {literal(relations.token)}"]
    if table.types_token:
        now = types_token_now(table)
        same.append(f"{now} OPERATOR(pg_catalog.=) {literal(table.types_token)}")
    failing = f"{fail(literal(_CHANGED))}::pg_catalog.text"
    return f"CASE WHEN {' AND '.join(same)} THEN {sql} ELSE {failing} END"


def is_due_to_ddl(error: psycopg.Error | PostgresError) -> bool:
    """Return whether an altered table may have brought the error about."""
    state = error.sqlstate
    return state is not None and (state in _DUE_TO_DDL or not state.startswith(_ABOUT_THE_SESSION))


def is_refused_by_constraint(error: psycopg.Error | PostgresError) -> bool:
    """Return whether a constraint, or a unique index, has refused a row."""
    return error.sqlstate is not None and error.sqlstate.startswith(_INTEGRITY)


def is_guards(error: psycopg.Error | PostgresError) -> bool:
    """Return whether it is the guard's own error."""
    return isinstance(error, psycopg.errors.InvalidTextRepresentation) and _CHANGED in str(error)


def fail(text: str) -> str:
    """Return SQL that fails, and quotes the text, which is SQL too; so it rolls all back.

    SQL has no `raise` outside of a function: a cast does it, of what is not known to the planner.
    """
    return f"pg_catalog.concat({text})::int"


def greatest_key(table: Table) -> str:
    return f"SELECT pg_catalog.max({table.key_sql}) FROM {table.sql}"


@dataclass(frozen=True, kw_only=True)
class Relations:
    """What was found to belong to the table, and the token of it all."""

    oid: int | None
    """The table's; None if there is none of that name."""
    token: str
    oids: tuple[int, ...]
    """The table's, its partitions' and children's; those of the views and tables below a view."""
    rows: tuple[Mapping[str, Any], ...]
    """One for each of them."""
    firing: tuple[Mapping[str, Any], ...]
    """Triggers and rules that fire, by name."""
    cascades: tuple[Mapping[str, Any], ...]
    """Foreign keys by which a row that is removed changes rows of other tables."""
    constraints: Mapping[str, str]
    """And unique indexes."""
    versions: Mapping[str, str]
    """Of the entries of the table's columns."""
    cleared: str


def relations_from(found: Rows) -> Relations:
    """Return what `RELATIONS` found."""
    ((oid, token, rows, firing, cascades, constraints, versions, cleared),) = found
    rows = rows or []
    return Relations(
        oid=oid,
        token=token,
        oids=tuple(row["oid"] for row in rows),
        rows=tuple(rows),
        firing=tuple(firing or ()),
        cascades=tuple(cascades or ()),
        constraints=constraints or {},
        versions=versions or {},
        cleared=cleared,
    )


def token_now(table: Table, relations: Relations) -> str:
    """Return SQL for the token of these relations as it is now."""
    oids = ",".join(map(str, relations.oids))
    return _token(
        str(table.oid),
        f"'{{{oids}}}'::pg_catalog.oid[]",
        f"pg_catalog.to_regclass({literal(table.sql)})::pg_catalog.oid",
    )


def types_token_now(table: Table) -> str:
    """Return SQL for the versions of what the users' types are made of, as they are now."""
    oids = ",".join(map(str, table.types))
    return types_token(f"'{{{oids}}}'")


def _token(table: str, relations: str, named: str) -> str:
    """Return SQL for the token of a table and what belongs to it.

    The version of a row in the catalogs is the transaction that wrote it; VACUUM and ANALYZE
    overwrite theirs in place. `named` is SQL for the table that has the name.
    """
    parts = (
        _versions("pg_class", "oid", f"ANY({relations})", "oid"),
        _versions("pg_attribute", "attrelid", table, "attnum"),
        _versions("pg_index", "indrelid", table, "indexrelid"),
        _versions("pg_trigger", "tgrelid", f"ANY({relations})", "oid"),
        _versions("pg_rewrite", "ev_class", f"ANY({relations})", "oid"),
        _versions("pg_inherits", "inhparent", f"ANY({relations})", "inhrelid, c.inhparent"),
        named,
    )
    listed = ", ';', ".join(parts)
    return f"pg_catalog.concat({listed})"


def _versions(catalog: str, column: str, of: str, order: str) -> str:
    return (
        f"(SELECT pg_catalog.string_agg(c.xmin::pg_catalog.text, ',' ORDER BY c.{order})"
        f" FROM pg_catalog.{catalog} AS c WHERE c.{column} OPERATOR(pg_catalog.=) {of})"
    )


_TARGET = "(SELECT oid FROM target)"

# Children are read and written with their table, and the relations below a view are read with it;
# a materialized view has rows of its own. One trigger of a partitioned table has a copy in each of
# its partitions, as has a foreign key.
RELATIONS = f"""
WITH RECURSIVE target (oid) AS (
    SELECT nullif(current_setting('pipecopy.oid'), '')::oid
), reached (oid, is_child) AS (
    SELECT oid, false FROM target WHERE oid IS NOT NULL
  UNION
    SELECT next.oid, next.is_child
    FROM reached CROSS JOIN LATERAL (
        SELECT inhrelid, true FROM pg_inherits
        WHERE inhparent = reached.oid AND NOT inhdetachpending
      UNION ALL
        SELECT d.refobjid, false
        FROM pg_class v JOIN pg_rewrite r ON r.ev_class = v.oid AND r.rulename = '_RETURN'
        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                        AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> v.oid
        WHERE v.oid = reached.oid AND v.relkind = 'v'
    ) AS next (oid, is_child)
), relations AS (
    SELECT c.*, is_child FROM (SELECT oid, bool_or(is_child) FROM reached GROUP BY oid)
        AS found (oid, is_child)
    JOIN pg_class c USING (oid) WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
), triggers AS (
    SELECT t.* FROM pg_trigger t JOIN relations r ON r.oid = t.tgrelid
    WHERE NOT tgisinternal AND {fires("tgenabled")}
), acting AS (
    SELECT k.* FROM pg_constraint k JOIN relations r ON r.oid = k.confrelid
    WHERE contype = 'f' AND confdeltype IN ('c', 'n', 'd')
)
SELECT (SELECT oid::bigint FROM target),
       {_token(_TARGET, "ARRAY(SELECT oid FROM relations)", _TARGET)},
       (SELECT json_agg(json_build_object(
           'oid', oid::bigint,
           'name', oid::regclass::text,
           'kind', relkind,
           'is_child', is_child,
           'persistence', relpersistence,
           'file', relfilenode::bigint,
           'row_security', CASE WHEN NOT relrowsecurity THEN 'off'
                                WHEN relforcerowsecurity THEN 'forced' ELSE 'on' END,
           'definition', CASE WHEN relkind = 'v' THEN pg_get_viewdef(oid) END
       ) ORDER BY oid) FROM relations),
       (SELECT json_agg(json_build_object(
           'kind', kind, 'name', quote_ident(name), 'oid', oid::bigint, 'of', oid::regclass::text,
           'event', event, 'definition', definition) ORDER BY name, oid)
        FROM (
           SELECT 'trigger', tgname, tgrelid, CASE WHEN tgtype & 8 = 8 THEN 'DELETE' ELSE '' END,
                  pg_get_triggerdef(oid) || tgenabled::text
           FROM triggers WHERE tgparentid NOT IN (SELECT oid FROM triggers)
         UNION ALL
           SELECT 'rule', rulename, ev_class,
                  CASE ev_type WHEN '2' THEN 'UPDATE' WHEN '3' THEN 'INSERT' ELSE 'DELETE' END,
                  pg_get_ruledef(w.oid) || ev_enabled::text
           FROM pg_rewrite w JOIN relations r ON r.oid = w.ev_class
           WHERE ev_type <> '1' AND {fires("ev_enabled")}
       ) AS firing (kind, name, oid, event, definition)),
       (SELECT json_agg(json_build_object(
           'kind', 'foreign key', 'name', quote_ident(conname), 'of', conrelid::regclass::text,
           'action', CASE confdeltype WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL'
                                      ELSE 'SET DEFAULT' END,
           'definition', pg_get_constraintdef(oid)) ORDER BY conname, conrelid)
        FROM acting WHERE conparentid NOT IN (SELECT oid FROM acting)),
       (SELECT json_object_agg(name, definition) FROM (
           SELECT format('the constraint %I of %s', conname, conrelid::regclass),
                  k.oid::text  -- its definition would be read under a lock
           FROM pg_constraint k JOIN relations r ON r.oid = k.conrelid
         UNION ALL
           SELECT format('the unique index %s of %s', indexrelid::regclass, indrelid::regclass),
                  indexrelid::text
           FROM pg_index i JOIN relations r ON r.oid = i.indrelid WHERE indisunique
       ) AS constraints (name, definition)),
       (SELECT json_object_agg(attname, xmin::text) FROM pg_attribute
        WHERE attrelid = (SELECT oid FROM target) AND attnum > 0 AND NOT attisdropped),
       (SELECT coalesce(extract(epoch FROM stats_reset)::text, '') FROM pg_stat_bgwriter)
"""
"""SQL for what belongs to a table, to be asked by `about_table`. All of it is seen by one snapshot:
what changes later changes the token."""
