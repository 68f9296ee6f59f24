# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""DDL while a run is under way: the table as the run looked at it, compared with a later look.

A token, which goes along with each statement (see guard.py), shows that something was altered.
Whether it matters follows from two `TableState`s: the run's, and that of another look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipecopy.contracts import ServerChangedError, Session, TableChangedError, TableDescription
from pipecopy.finding import with_remedy
from pipecopy.postgres.guard import RELATIONS, Relations, relations_from
from pipecopy.postgres.names import about_table, quoted
from pipecopy.postgres.session import ServerSession
from pipecopy.postgres.table import NO_TABLES, TABLE, Selection, Table, table_from

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
    """In which file the rows of each relation are: another one if they were rewritten."""
    unlogged: bool
    cleared: str
    """When a crash last emptied what the server does not log."""

    def plain(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


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
        self._selection = selection
        self._run = run
        described = None if run is None else run.described
        self._looked: Looked | None = None
        self.state = (
            _from_plain(described.state) if isinstance(described, TableDescription) else None
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
            *_, of_relations, of_table = rows or session.query_all(look_sql(self._selection))
            relations, table = relations_from(of_relations), table_from(of_table, self._selection)
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
            state = _state_of(table, relations, self._run)
            _compare(known, state, refused=refused)
            self.state = replace(known, versions=state.versions, files=state.files)
        elif table is not None:
            self.state = _state_of(table, relations, self._run)
        self._looked = Looked(session, table, relations)
        return self._looked

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


def _from_plain(plain: Any) -> TableState | None:
    """Return what `TableState.plain` made plain values of; None if it is nothing of the kind."""
    if not isinstance(plain, Mapping):
        return None
    tuples = {
        "columns": tuple(plain["columns"]),
        "fixed": {name: tuple(value) for name, value in plain["fixed"].items()},
        "labels": {name: tuple(labels) for name, labels in plain["labels"].items()},
    }
    return TableState(**{**plain, **tuples})


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


def _state_of(table: Table | None, relations: Relations, run: Session | None) -> TableState:
    """Return what has to stay as it is for what the run does with the table."""
    if table is None:
        return _NO_TABLE
    written = run is None or run.may_write
    compared = run is not None and run.mode == "verify"
    deletes = run is not None and run.deletes
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
        new = _fixed(row, table)
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


def _compare(before: TableState, now: TableState, *, refused: bool = False) -> None:
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
    """Return whether rows were rewritten, to another file."""
    return any(now.files.get(name, file) != file for name, file in before.files.items())


def _rewritten(before: TableState, now: TableState) -> list[str]:
    """Name the columns that were altered while the rows were rewritten: by ALTER … USING.

    VACUUM FULL and TRUNCATE write a new file as well, and a right to a column alters its entry.
    """
    if not _have_moved(before, now):
        return []
    return [
        f"the values of {name} were rewritten"
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
