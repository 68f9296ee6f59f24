"""Shards: ranges of ids that are copied by themselves, and what a run of them is known by."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

ShardState: TypeAlias = Literal["waiting", "running", "stopping", "done", "failed", "stopped"]
"""`running`: an attempt has claimed it, which may be gone; `stopping`: that one may save once more;
`failed`: it ended with an error; `stopped`: the run ended before it, and no attempt of that run may
save any more."""


_PLAIN = re.compile(r'(?:"[a-z_][a-z0-9_]*"\.)?"[a-z_][a-z0-9_]*"')
"""A name that means the same without its quotes."""


def table_text(name: str) -> str:
    """Return a table's name as people write it: `"public"."profiles"` is `public.profiles`."""
    return name.replace('"', "") if _PLAIN.fullmatch(name) else name


LEDGER_CALLS = (
    "plan_shards",
    "shards",
    "hold_run",
    "open_shards",
    "claim_shard",
    "end_shard",
    "stop_shards",
    "drop_run",
    "end_run",
)
"""What a target offers that keeps the ledger: all of these, see contracts.py."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One shard as the ledger has it: a range of ids of one table of a run."""

    run: str
    """12 hex digits."""
    table: str
    """The target's, as that server writes it, such as `"public"."profiles"`."""
    shard: int
    """From 0 on, over all tables of the run."""
    first: int
    last: int
    """The last id, itself included."""
    next_id: int
    """Every id from `first` on and below it is durably in the target."""
    attempt: int = 0
    """How often it was claimed."""
    rows: int = 0
    """That were saved, exactly."""
    state: ShardState = "waiting"
    host: str | None = None
    """Of the attempt."""
    updated: str | None = None
    """When the row changed last, by the target's clock: UTC, as ISO 8601 has it."""
    idle: float = 0.0
    """Seconds since then."""
    error: str | None = None
    plan: Any = None
    """Of the table, in the row of its first shard: see operations/shards/plan.py."""

    @property
    def read_at(self) -> float:
        """When this was read, by the target's clock: seconds since 1970 UTC."""
        return datetime.fromisoformat(self.updated or "").timestamp() + self.idle

    @property
    def ids(self) -> int:
        """How many ids are left to be copied."""
        return max(0, self.last + 1 - self.next_id)


@dataclass(frozen=True, kw_only=True)
class Part:
    """Which part of a sharded run, or of a verification by several at once, a session is of."""

    role: Literal["run", "table", "shard", "range"]
    """`run`: it keeps the ledger; `table`: it does what comes once for a table, before and after
    its shards; `shard`: it copies one; `range`: it verifies one, or does what comes once for all
    ranges."""
    token: str
    """Hex digits that tell its sessions from those of every other attempt."""
    number: int | None = None
    """Of the shard, or the range; None for what is of all."""
    attempt: int | None = None
    """By which the shard was claimed; None before that."""
    holds: str | None = None
    """The run that it has taken, to drive it; None before that."""
