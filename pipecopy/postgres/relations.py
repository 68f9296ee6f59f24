# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""What belongs to a table, such as partitions, triggers and what is below a view; and its token.

The *token* is made of the versions of the rows that describe all that in the server's catalogs: any
DDL changes it. It goes along with each statement on the table (see guard.py), and costs 0.1 ms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipecopy.postgres.names import about_table, literal
from pipecopy.postgres.session import Line
from pipecopy.postgres.table import Table, fires
from pipecopy.postgres.types import types_token


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


def find_relations(line: Line, name: str) -> Relations:
    """Look for what belongs to the table of that name, in one round trip.

    All of it is seen by one snapshot: what changes later changes the token.
    """
    found = line.query(about_table(name, _RELATIONS))
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
_RELATIONS = f"""
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
           SELECT 'trigger', tgname, tgrelid, '', pg_get_triggerdef(oid) || tgenabled::text
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
