"""DDL while a run is under way: what of the table has to stay as it is, and what has changed.

A token, which goes along with each statement (see guard.py), shows that something was altered.
Whether it matters follows from two `TableState`s: the run's, and that of another look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipecopy.contracts import Session, TableChangedError, TableEmptiedError
from pipecopy.postgres.guard import Relations
from pipecopy.postgres.names import quoted
from pipecopy.postgres.table import NO_TABLES, Table

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


def from_plain(plain: Any) -> TableState | None:
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


def state_of(table: Table | None, relations: Relations, run: Session | None) -> TableState:
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
        fixed |= fixed_of(row, table)
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


def fixed_of(row: Mapping[str, Any], table: Table) -> dict[str, tuple[int, str]]:
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


def compare(before: TableState, now: TableState, *, refused: bool = False) -> None:
    """See that nothing has changed that matters to a run; `refused`: a row was refused.

    Raises TableChangedError, and TableEmptiedError if a crash has emptied the table.
    """
    changed = _changes(before.fixed, now.fixed)
    changed += [*_lost_labels(before.labels, now.labels), *_rewritten(before, now)]
    new = [*_new(before.firing, now.firing)]
    if refused:
        new += _new(before.constraints, now.constraints)
    if changed or new:
        what = "; ".join([*changed, *new])
        raise TableChangedError(
            f"the table changed while the run was under way: {what}",
            [*changed, *new],
            saved_rows_stand=not changed,
        )
    has_moved = _have_moved(before, now)  # as by SET LOGGED
    if before.cleared != now.cleared and (before.unlogged or now.unlogged or has_moved):
        raise TableEmptiedError(
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
