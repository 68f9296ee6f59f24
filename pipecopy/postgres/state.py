# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""What must not change while a run is under way: a table as it was looked at, as a value.

It goes two ways. A *token*, made of the versions of the rows that describe the table in the
server's catalogs, goes along with each statement on the table (see guard.py): any DDL changes it,
and it costs 0.1 ms. When it has changed, the `TableState` tells whether the change matters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from psycopg import errors

from pipecopy.contracts import ServerChangedError, TableChangedError
from pipecopy.postgres.catalog import NO_TABLES, Table
from pipecopy.postgres.link import Line
from pipecopy.postgres.names import about_table, literal, quoted

_LONGEST_SHOWN = 80
"""Characters of a value that a message shows."""


@dataclass(frozen=True, kw_only=True)
class TableState:
    """One side's table as a run looks at it."""

    columns: tuple[str, ...]
    """Those that are copied, in their order."""
    fixed: Mapping[str, tuple[int, str]]
    """What has to stay as it is: its number in the catalogs and its definition, by its name."""
    firing: Mapping[str, str]
    """What changes or follows the rows that are written, such as a trigger: it may go, but none
    may come."""
    cleared: str | None
    """When a crash last emptied what the server does not log; None for a table that is logged."""

    def plain(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


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
    firing: Mapping[str, str]
    """Triggers and rules."""
    cascades: Mapping[str, str]
    """Foreign keys by which a row that is removed changes rows of other tables."""
    cleared: str


def state_from_plain(plain: Any) -> TableState | None:
    """Return what `TableState.plain` made plain values of; None if it is nothing of the kind."""
    if not isinstance(plain, Mapping):
        return None
    return TableState(
        columns=tuple(plain["columns"]),
        fixed={name: (value[0], value[1]) for name, value in plain["fixed"].items()},
        firing=dict(plain["firing"]),
        cleared=plain["cleared"],
    )


def find_relations(line: Line, name: str) -> Relations:
    """Look for what belongs to the table of that name, in one round trip.

    All of it is seen by one snapshot: what changes later changes the token.
    """
    found = line.query(about_table(name, _RELATIONS))
    ((oid, token, rows, firing, cascades, cleared),) = found
    rows = rows or []
    return Relations(
        oid=oid,
        token=token,
        oids=tuple(row["oid"] for row in rows),
        rows=tuple(rows),
        firing=firing or {},
        cascades=cascades or {},
        cleared=cleared,
    )


def state_of(
    table: Table | None, relations: Relations, *, written: bool, deletes: bool
) -> TableState:
    """Return what has to stay as it is.

    `written`: rows are saved there too; `deletes`: and are removed.
    """
    if table is None:
        return TableState(columns=(), fixed={}, firing={}, cleared=None)
    fixed = {f"the table {table.sql}": (table.oid, NO_TABLES.get(table.kind, "a table"))}
    for column in table.columns:
        text = column.spelled
        if written and column.always_identity:
            text += " GENERATED ALWAYS AS IDENTITY"
        fixed[f"the column {quoted(column.name)}"] = (column.number, text)
    for row in relations.rows:
        fixed |= _fixed(row, table)
    if written and table.unique_index is not None:
        fixed[f"the unique index on {table.key_sql}"] = (0, "valid")
    firing = dict(relations.firing) if written else {}
    if written and (deletes or table.unique_index is None):
        firing |= relations.cascades
    unlogged = any(row["persistence"] == "u" for row in relations.rows)
    return TableState(
        columns=tuple(column.name for column in table.columns),
        fixed=fixed,
        firing=firing,
        cleared=relations.cleared if unlogged else None,
    )


def _fixed(row: Mapping[str, Any], table: Table) -> dict[str, tuple[int, str]]:
    """Return what has to stay as it is of one relation that belongs to the table."""
    name, oid = row["name"], row["oid"]
    found = {}
    if row["is_child"]:
        found[f"the partition {name}"] = (oid, "attached")
    else:
        if oid != table.oid:
            found[f"the relation {name} below the view"] = (oid, row["kind"])
        found[f"row-level security of {name}"] = (0, row["row_security"])
    if row["definition"] is not None:
        found[f"the definition of the view {name}"] = (0, row["definition"])
    if row["kind"] in "rm":
        found[f"the storage of {name}"] = (0, "UNLOGGED" if row["persistence"] == "u" else "logged")
    return found


def with_new_partitions(
    line: Line,
    known: TableState,
    table: Table | None,
    relations: Relations,
    greatest_id: int | None,
) -> TableState:
    """Return what is known with the partitions that have come, and have no row of the run's.

    A table that is partitioned by time gets new ones every day: as long as they have no row with
    an id up to the greatest one that is copied, no batch has missed any.
    """
    if table is None or table.key is None:
        return known
    fixed = dict(known.fixed)
    for row in relations.rows:
        new = _fixed(row, table)
        if row["is_child"] and not fixed.keys() & new.keys():
            until = "" if greatest_id is None else f" OPERATOR(pg_catalog.<=) {greatest_id}"
            among = f"{table.key_sql}{until or ' IS NOT NULL'}"
            try:
                ((has_rows,),) = line.query(
                    f"SELECT EXISTS (SELECT FROM {row['name']} WHERE {among})"
                )
            except errors.InsufficientPrivilege:
                continue
            fixed |= {} if has_rows else new
    return replace(known, fixed=fixed)


def compare_states(before: TableState, now: TableState) -> None:
    """See that nothing has changed that matters to a run.

    Raises TableChangedError, and ServerChangedError if a crash has emptied the table.
    """
    changed = [*_changes(before.fixed, now.fixed)]
    new = [
        f"{name} is new"
        for name, value in now.firing.items()
        if before.firing.get(name, None) != value
    ]
    if changed or new:
        what = "; ".join([*changed, *new])
        raise TableChangedError(
            f"the table changed while the run was under way: {what}",
            [*changed, *new],
            saved_rows_stand=not changed,
        )
    if before.cleared != now.cleared:
        raise ServerChangedError(
            "the server was started again after a crash, which has emptied the UNLOGGED table"
        )


def _changes(
    before: Mapping[str, tuple[int, str]], now: Mapping[str, tuple[int, str]]
) -> Sequence[str]:
    if before and not now:
        return [f"{next(iter(before))} was dropped or renamed"]
    found = []
    for name in dict.fromkeys([*before, *now]):
        was, is_ = before.get(name), now.get(name)
        if was == is_:
            continue
        if was is None:
            found.append(f"{name} is new")
        elif is_ is None:
            found.append(f"{name} is gone")
        elif was[1] == is_[1]:
            found.append(f"{name} is another one of that name")
        elif max(len(was[1]), len(is_[1])) > _LONGEST_SHOWN:
            found.append(f"{name} is another one")
        else:
            found.append(f"{name} was {was[1]} and is {is_[1]}")
    return found


def token_now(table: Table, relations: Relations) -> str:
    """Return SQL for the token of these relations as it is now."""
    oids = ",".join(map(str, relations.oids))
    return _token(
        str(table.oid),
        f"'{{{oids}}}'::pg_catalog.oid[]",
        f"pg_catalog.to_regclass({literal(table.sql)})::pg_catalog.oid",
    )


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
        _versions("pg_inherits", "inhparent", f"ANY({relations})", "inhrelid"),
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
# its partitions.
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
)
SELECT (SELECT oid::bigint FROM target),
       {_token(_TARGET, "ARRAY(SELECT oid FROM relations)", _TARGET)},
       (SELECT json_agg(json_build_object(
           'oid', oid::bigint,
           'name', oid::regclass::text,
           'kind', relkind,
           'is_child', is_child,
           'persistence', relpersistence,
           'row_security', CASE WHEN NOT relrowsecurity THEN 'off'
                                WHEN relforcerowsecurity THEN 'forced' ELSE 'on' END,
           'definition', CASE WHEN relkind = 'v' THEN pg_get_viewdef(oid) END
       ) ORDER BY oid) FROM relations),
       (SELECT json_object_agg(name, definition) FROM (
           SELECT format('the trigger %I of %s', tgname, tgrelid::regclass),
                  pg_get_triggerdef(t.oid) || tgenabled::text
           FROM pg_trigger t JOIN relations r ON r.oid = t.tgrelid
           WHERE NOT tgisinternal AND tgenabled IN ('O', 'A')
             AND NOT EXISTS (SELECT FROM pg_trigger p JOIN relations s ON s.oid = p.tgrelid
                             WHERE p.oid = t.tgparentid)
         UNION ALL
           SELECT format('the rule %I of %s', rulename, ev_class::regclass),
                  pg_get_ruledef(w.oid) || ev_enabled::text
           FROM pg_rewrite w JOIN relations r ON r.oid = w.ev_class
           WHERE ev_type <> '1' AND ev_enabled IN ('O', 'A')
       ) AS firing (name, definition)),
       (SELECT json_object_agg(format('the foreign key %I of %s', conname, conrelid::regclass),
                               pg_get_constraintdef(k.oid))
        FROM pg_constraint k JOIN relations r ON r.oid = k.confrelid
        WHERE contype = 'f' AND confdeltype IN ('c', 'n', 'd') AND conparentid = 0),
       (SELECT coalesce(extract(epoch FROM stats_reset)::text, '') FROM pg_stat_bgwriter)
"""
