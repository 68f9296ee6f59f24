"""ShardedReport: how far a sharded run came, as a whole and for each of its tables."""

from __future__ import annotations

from dataclasses import dataclass

from pipecopy.report import CopyReport


@dataclass(frozen=True, kw_only=True)
class ShardedTable:
    """One table of a sharded run."""

    table: str | None
    """The source's, as the pool was told it."""
    target_table: str | None
    """The target's, likewise."""
    first_id: int
    max_id: int
    """The last id of the copy; below `first_id` if there was nothing to copy."""
    next_id: int
    """Every id from `first_id` on and below it is durably in the target."""
    shards: int
    done: int
    """Of its shards."""
    rows: int
    """That were saved by all attempts of its shards, as the ledger counts them: exactly."""


@dataclass(frozen=True, kw_only=True)
class ShardedReport(CopyReport):
    """What `copy_sharded` returns, and what the errors that it raises carry.

    `rows` is what the ledger counts, also of what the run had done before it went on; the other
    counts are of the attempts whose end is known, and `inserted`, `updated`, `unchanged` None if
    that is not all of them. `first_id`, `max_id` and `next_id` are those of the table if there is
    one, else 0, None and 0.
    """

    shards: int = 0
    done: int = 0
    """Of the shards."""
    again: int = 0
    """Attempts of shards that were lost, and run again."""
    tables: tuple[ShardedTable, ...] = ()
