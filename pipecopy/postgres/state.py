# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""What must not change while a run is under way: a table as it was looked at, as a value.

It goes two ways. A *token*, made of the versions of the rows that describe the table in the
server's catalogs, goes along with each statement on the table (see guard.py): any DDL changes it,
and it costs 0.1 ms. When it has changed, the `TableState` tells whether the change matters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipecopy.contracts import ServerChangedError, TableChangedError
from pipecopy.postgres.names import CATALOG_PATH, about_table, literal, quoted
from pipecopy.postgres.session import Line
from pipecopy.postgres.table import NO_TABLES, Table, fires
from pipecopy.postgres.types import types_token
from pipecopy.report import with_remedy

_LONGEST_SHOWN = 80
"""Characters of a value that a message shows."""


@dataclass(frozen=True, kw_only=True)
class TableState:
    """One side's table as a run looks at it."""

    columns: tuple[str, ...]
    """Those that are copied, in their order."""
    fixed: Mapping[str, tuple[int, str]]
    """What has to stay as it is: its number in the catalogs and its definition, by its name."""
    labels: Mapping[str, tuple[str, ...]]
    """Those of the enums in its columns: more may come."""
    firing: Mapping[str, str]
    """What changes or follows the rows that are written, such as a trigger: it may go, but none
    may come."""
    constraints: Mapping[str, str]
    """What may refuse a row: looked at if a row was refused."""
    versions: Mapping[str, str]
    """The version of each column's entry in the catalogs."""
    files: Mapping[str, int]
    """In which file the rows of each relation are: another one if they were written anew."""
    unlogged: bool
    cleared: str
    """When a crash last emptied what the server does not log."""

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
    firing: tuple[Mapping[str, Any], ...]
    """Triggers and rules that fire, by name."""
    cascades: tuple[Mapping[str, Any], ...]
    """Foreign keys by which a row that is removed changes rows of other tables."""
    constraints: Mapping[str, str]
    """And unique indexes."""
    versions: Mapping[str, str]
    """Of the entries of the table's columns."""
    cleared: str


def state_from_plain(plain: Any) -> TableState | None:
    """Return what `TableState.plain` made plain values of; None if it is nothing of the kind."""
    if not isinstance(plain, Mapping):
        return None
    return TableState(
        columns=tuple(plain["columns"]),
        fixed={name: (value[0], value[1]) for name, value in plain["fixed"].items()},
        labels={name: tuple(labels) for name, labels in plain["labels"].items()},
        firing=dict(plain["firing"]),
        constraints=dict(plain["constraints"]),
        versions=dict(plain["versions"]),
        files=dict(plain["files"]),
        unlogged=plain["unlogged"],
        cleared=plain["cleared"],
    )


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


_MAY_COME = ("the column ", "the unique index ")
"""Of what is fixed: a column that comes is not copied, and an index makes saving no less safe."""
_NO_TABLE = TableState(
    columns=(),
    fixed={},
    labels={},
    firing={},
    constraints={},
    versions={},
    files={},
    unlogged=False,
    cleared="",
)


def state_of(
    table: Table | None, relations: Relations, *, written: bool, compared: bool, deletes: bool
) -> TableState:
    """Return what has to stay as it is.

    `written`: rows are saved there; `compared`: with the other side's; `deletes`: and are removed.
    """
    if table is None:
        return _NO_TABLE
    fixed = {f"the table {table.sql}": (table.oid, NO_TABLES.get(table.kind, "a table"))}
    by_condition = table.where is not None and (compared or not written)
    read = (*table.columns, *(table.others if by_condition else ()))
    for column in read:
        text = column.shape.spelled(labels=False)
        if written and column.always_identity:
            text += " GENERATED ALWAYS AS IDENTITY"
        fixed[f"the column {quoted(column.name)}"] = (column.number, text)
    for column in table.generated if written or compared else ():
        text = f"{column.shape.spelled(labels=False)} GENERATED ALWAYS AS ({column.expression})"
        fixed[f"the column {quoted(column.name)}"] = (column.number, text)
    for row in relations.rows:
        fixed |= _fixed(row, table)
    if written and table.unique_index is not None:
        fixed[f"the unique index on {table.key_sql}"] = (0, "valid")
    firing = [*relations.firing] if written else []
    if written and (deletes or table.unique_index is None):
        firing += relations.cascades
    unlogged = any(row["persistence"] == "u" for row in relations.rows)
    return TableState(
        columns=tuple(column.name for column in table.columns),
        fixed=fixed,
        labels={
            f"the enum {enum.oid} in the column {quoted(column.name)}": enum.labels
            for column in read
            for enum in column.shape.within
            if enum.kind == "e"
        },
        firing={f"the {f['kind']} {f['name']} of {f['of']}": f["definition"] for f in firing},
        constraints=_constraints(table, relations) if written else {},
        versions={
            f"the column {quoted(column.name)}": relations.versions.get(column.name, "")
            for column in read
        },
        files={row["name"]: row["file"] for row in relations.rows if row["file"]},
        unlogged=unlogged,
        cleared=relations.cleared,
    )


def _constraints(table: Table, relations: Relations) -> dict[str, str]:
    needed = (column.name for column in table.others if column.needs_value)
    return {
        **relations.constraints,
        **{f"the column {quoted(name)}, which needs a value,": "" for name in needed},
    }


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
    *,
    written: bool,
) -> TableState:
    """Return what is known with the partitions that have come, and have no row of the run's.

    A table that is partitioned by time gets new ones every day: as long as they have no row with
    an id up to the greatest one that is copied, no batch has missed any. Where rows are `written`,
    those in a new one may be the run's own, and the unique index sees to all others.
    """
    if table is None or table.key is None:
        return known
    fixed = dict(known.fixed)
    takes_any = written and table.unique_index is not None
    for row in relations.rows:
        new = _fixed(row, table)
        if row["is_child"] and not fixed.keys() & new.keys():
            fixed |= new if takes_any or not _has_rows(line, row, table, greatest_id) else {}
    return replace(known, fixed=fixed)


def _has_rows(line: Line, row: Mapping[str, Any], table: Table, greatest_id: int | None) -> bool:
    """Tell whether a partition has rows with ids up to the greatest one, as far as can be told."""
    oid = row["oid"]
    ((size, bound),) = line.query(
        f"{CATALOG_PATH}SELECT pg_relation_size({oid}), pg_get_partition_constraintdef({oid})"
    )
    if table.kind != "p" or bound is None:  # a view's columns have names of their own
        return bool(size) or row["kind"] == "f"
    until = "" if greatest_id is None else f" AND {table.key_sql} <= {greatest_id}"
    # by the table itself: that is what the role has a right to
    ((found,),) = line.query(
        f"{CATALOG_PATH}SELECT EXISTS (SELECT FROM {table.sql} WHERE ({bound}){until})"
    )
    return bool(found)


def compare_states(before: TableState, now: TableState, *, refused: bool = False) -> None:
    """See that nothing has changed that matters to a run; `refused`: a row was refused.

    Raises TableChangedError, and ServerChangedError if a crash has emptied the table.
    """
    changed = _changes(before.fixed, now.fixed)
    changed += [*_lost_labels(before.labels, now.labels), *_rewritten(before, now)]
    new = [*_new(before.firing, now.firing)]
    if refused:
        new += _new(before.constraints, now.constraints)
    if changed or new:
        what = "; ".join([*changed, *new])
        raise TableChangedError(
            with_remedy(f"the table changed while the run was under way: {what}.", "run it again."),
            [*changed, *new],
            saved_rows_stand=not changed,
        )
    has_moved = _have_moved(before, now)  # as by SET LOGGED
    if before.cleared != now.cleared and (before.unlogged or now.unlogged or has_moved):
        raise ServerChangedError(
            "the server was started again after a crash, which has emptied the UNLOGGED table"
        )


def _new(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [f"{name} is new" for name, value in now.items() if before.get(name) != value]


def _have_moved(before: TableState, now: TableState) -> bool:
    """Tell whether rows were written anew, to another file."""
    return any(now.files.get(name, file) != file for name, file in before.files.items())


def _rewritten(before: TableState, now: TableState) -> list[str]:
    """Name the columns that were altered while the rows were written anew: by ALTER … USING.

    VACUUM FULL and TRUNCATE write rows anew as well, and a right to a column alters its entry.
    """
    if not _have_moved(before, now):
        return []
    return [
        f"the values of {name} were written anew"
        for name, version in before.versions.items()
        if name in now.fixed and now.versions.get(name) != version
    ]


def _lost_labels(
    before: Mapping[str, tuple[str, ...]], now: Mapping[str, tuple[str, ...]]
) -> list[str]:
    """Name the enums that lack a label, or have them in another order: one was renamed."""
    found = []
    for name, labels in before.items():
        left = iter(now.get(name, ()))
        if not all(label in left for label in labels):
            found.append(f"labels of {name} were renamed")
    return found


def _changes(
    before: Mapping[str, tuple[int, str]], now: Mapping[str, tuple[int, str]]
) -> list[str]:
    table = next(iter(before), None)
    if table is not None and table not in now:
        return [f"{table} was dropped or renamed"]
    if table is not None and before[table] != now[table]:  # which explains all the rest
        return [f"{table} is another one of that name"]
    found = []
    for name in dict.fromkeys([*before, *now]):
        was, is_ = before.get(name), now.get(name)
        if was == is_ or (was is None and name.startswith(_MAY_COME)):
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
