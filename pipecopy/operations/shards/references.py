"""Which tables of a run refer to which: a table is copied after those to which it refers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipecopy.contracts import ForeignKey
from pipecopy.shard import table_text
from pipecopy.supervisor.run import Run


@dataclass(frozen=True, kw_only=True)
class References:
    """The foreign keys between the tables of a run, on the target."""

    comes_after: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """To which tables a table refers; no table refers to itself in the end."""
    keys: Sequence[ForeignKey] = ()
    """Those of which that was made."""
    circular: Sequence[ForeignKey] = ()
    """The others: whatever comes first, a row may come before the one to which it refers."""

    @classmethod
    def of(cls, keys: Sequence[ForeignKey]) -> References:
        """Return what these keys make of an order."""
        after: dict[str, list[str]] = {}
        heeded: list[ForeignKey] = []
        circular: list[ForeignKey] = []
        for key in keys:
            if _leads_to(after, key["refers_to"], key["table"]):
                circular.append(key)
            else:
                after.setdefault(key["table"], []).append(key["refers_to"])
                heeded.append(key)
        return cls(comes_after=after, keys=heeded, circular=circular)

    def depth(self, table: str) -> int:
        """Return how many tables in a row come before this one, at most."""
        return max((1 + self.depth(one) for one in self.comes_after.get(table, ())), default=0)


def references(run: Run[Any], tables: Sequence[str]) -> References:
    """Ask the target for the foreign keys between these tables. Raises what `Run.call` raises."""
    if "foreign_keys" not in run.target.offers:
        return References()
    return References.of(run.call(run.target, "foreign_keys", tables))


def order_text(key: ForeignKey) -> str:
    """Say which table's shards have to be copied first, by whoever copies them one by one."""
    table, first = table_text(key["table"]), table_text(key["refers_to"])
    return (
        f"copy the shards of {first} before those of {table}: the foreign key {key['name']} refers"
        " to it"
    )


def circular_text(key: ForeignKey) -> str:
    """Say that a run which copies both tables may fail for this key, and what to do."""
    table, first, name = table_text(key["table"]), table_text(key["refers_to"]), key["name"]
    to = "the table itself" if first == table else f"{first}, which refers to it in turn"
    return (
        f"the foreign key {name} of {table} refers to {to}: a row that comes before the one to"
        f" which it refers is an error (23503); drop the key before the copy: ALTER TABLE {table}"
        f" DROP CONSTRAINT {name}; and add it again after it"
    )


def _leads_to(after: Mapping[str, Sequence[str]], table: str, goal: str) -> bool:
    return table == goal or any(_leads_to(after, one, goal) for one in after.get(table, ()))
