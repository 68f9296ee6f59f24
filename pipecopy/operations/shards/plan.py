"""The plan of a sharded run: the shards of each table, and what stays as the plan has found it.

The greatest id is read once, so that all shards together are the copy that one pair of processes
would have made. The source's position and both tables as they were described go into the ledger:
whoever copies a shard, on any host and at any time, goes on from there, or says what changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipecopy.arguments import function_call
from pipecopy.config import Config
from pipecopy.contracts import ConnectionPool, Side, TableDescription
from pipecopy.finding import Finding, problem
from pipecopy.operations.fit import fit, refuse, too_narrow
from pipecopy.operations.settle import Settling
from pipecopy.operations.split import Piece, Spread, spread
from pipecopy.operations.turn import in_turn
from pipecopy.report import CopyReport
from pipecopy.shard import Shard
from pipecopy.supervisor.run import Run


@dataclass(frozen=True, kw_only=True)
class TableCopy:
    """A table that a sharded run copies, and how."""

    pool: ConnectionPool
    config: Config
    from_id: int = 0
    to_id: int | None = None
    if_planned: bool = False
    """A run that is gone on with leaves it out if it was not planned for it: the table was found by
    a pattern, and may have come since."""

    @property
    def is_range(self) -> bool:
        """Whether it may be a part of the ids."""
        return self.from_id > 0 or self.to_id is not None

    @property
    def name(self) -> str | None:
        """The source's table as the pool was told it; None if the pool has no `table`."""
        return getattr(self.pool, "table", None)

    @property
    def target_name(self) -> str | None:
        """The target's table, likewise."""
        return getattr(self.pool, "target_table", None)

    @property
    def selection(self) -> Any:
        """What of it is copied, as plain values; None if the pool does not tell."""
        return getattr(self.pool, "selection", None)


@dataclass(frozen=True, kw_only=True)
class TablePlan:
    """What is known of one table before its shards are copied."""

    table: str
    """The target's, as that server writes it."""
    selection: Any
    first_id: int
    max_id: int
    known: Mapping[Side, Mapping[str, Any]]
    """Fields of the `Session` of each side's first worker."""
    rows: int | None
    """About how many there are; None if that is not known."""
    spread: Spread | None = None
    """Of them over the ids; None if there are no ids, or the shards are known already."""
    bytes: int | None = None
    """In the source's database; None if that is not known."""

    def pieces(self, parts: int) -> list[Piece]:
        """Return the ids of so many shards, at most; without ids, of one that has none."""
        if self.spread is None:
            return [Piece(first=self.first_id, last=self.first_id - 1, rows=0)]
        return self.spread.pieces(parts)

    def plain(self) -> dict[str, Any]:
        """Return what the ledger keeps of it, as values that JSON has."""
        source, target = self.known["source"], self.known["target"]
        return {
            "selection": self.selection,
            "first_id": self.first_id,
            "max_id": self.max_id,
            "rows": self.rows,
            "bytes": self.bytes,
            "position": source.get("position"),
            "source": _plain(source.get("described")),
            "target": _plain(target.get("described")),
        }

    @classmethod
    def of_plain(cls, table: str, plain: Mapping[str, Any]) -> TablePlan:
        """Return what `plain` made values of."""
        return cls(
            table=table,
            selection=plain["selection"],
            first_id=plain["first_id"],
            max_id=plain["max_id"],
            known={
                "source": {
                    "position": plain["position"],
                    "described": _described(plain["source"]),
                    "greatest_id": plain["max_id"],
                },
                "target": {"described": _described(plain["target"])},
            },
            rows=plain["rows"],
            bytes=plain.get("bytes"),
        )


def _plain(described: Any) -> Any:
    if not isinstance(described, TableDescription):
        return None
    return {"table": described.table, "key": described.key, "state": described.state}


def _described(plain: Any) -> TableDescription | None:
    return None if plain is None else TableDescription(**plain)


def plan_table(run: Run[CopyReport], table: TableCopy, parts: int) -> TablePlan:
    """Look at both tables, create the target if that is asked for, see how the rows are spread.

    They can be split into at most `parts` shards then.

    Waits for open transactions as a copy does (`Config.settle`). Raises what a copy raises before
    its first batch, and TableMismatchError for a target without a unique index on the key.
    """

    def look() -> Any:
        run.connect()
        return fit(run)

    of_source, of_target = in_turn(run, look)
    refuse(run, without_unique_index(of_target))
    greatest = run.call(run.source, "get_max_id")
    max_id = greatest if table.to_id is None else min(greatest, table.to_id)
    settling = Settling(run)
    refuse(run, too_narrow(of_target, max_id))
    if 0 < max_id >= table.from_id:
        settling.wait(
            "the shards were planned",
            f"rows with ids up to {max_id} may be missing in the target",
            remedy=f"run {function_call('verify_tables', repair=True)} when they have ended, or"
            " copy with `settle`",
        )
    run.update(first_id=table.from_id, next_id=table.from_id, max_id=max_id)
    ids_spread = spread(run, table.from_id, max_id, parts) if max_id >= table.from_id else None
    return TablePlan(
        table=of_target.table if isinstance(of_target, TableDescription) else "",
        selection=table.selection,
        first_id=table.from_id,
        max_id=max_id,
        known={
            "source": {
                "position": run.source.session.position,
                "described": of_source,
                "greatest_id": max_id,
            },
            "target": {"described": of_target},
        },
        rows=0 if ids_spread is None else ids_spread.rows,
        spread=ids_spread,
    )


def without_unique_index(target: Any) -> list[Finding]:
    """Return the problem of a target that shards can't be copied into."""
    if not isinstance(target, TableDescription) or target.has_unique_key is not False:
        return []
    key = target.key.replace('"', '""')
    found = problem(
        f"the target {target.table} has no unique index on the key {target.key}, without which"
        " two attempts of a shard could save a row twice",
        f'CREATE UNIQUE INDEX CONCURRENTLY ON {target.table} ("{key}");',
        what="key",
    )
    return [replace(found, side="target")]


def shards_of(run_id: str, plans: Iterable[tuple[TablePlan, int]]) -> list[Shard]:
    """Return the shards of all tables as the ledger has them before the first attempt.

    A table has so many, at most, but one at least: the ledger knows of all.
    """
    shards: list[Shard] = []
    for plan, parts in plans:
        for number, piece in enumerate(plan.pieces(parts)):
            shards.append(
                Shard(
                    run=run_id,
                    table=plan.table,
                    shard=len(shards),
                    first=piece.first,
                    last=piece.last,
                    next_id=piece.first,
                    plan=None if number else plan.plain(),
                )
            )
    return shards
