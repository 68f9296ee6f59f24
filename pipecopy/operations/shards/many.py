"""copy_tables and what goes with it: many tables, each with a pool of its own, in one run."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Executor

from pipecopy.config import Config
from pipecopy.events import Observer
from pipecopy.operations.shards.by_hand import OneShard
from pipecopy.operations.shards.keeper import refuse_bad_tables
from pipecopy.operations.shards.plan import TableCopy
from pipecopy.operations.shards.sharded import How, copy_all, plan_all
from pipecopy.report import CopyReport
from pipecopy.sharded import PlanReport, ShardedReport


def copy_tables(
    config: Config,
    tables: Sequence[TableCopy],
    from_name: str,
    to_name: str,
    *,
    jobs: int,
    shards: int | None = None,
    executor: Executor | None = None,
    shard_retries: int = 3,
    run: str | None = None,
    observer: Observer | None = None,
    stop: threading.Event | None = None,
) -> ShardedReport:
    """Copy many tables from one database to another in one run, as `copy_sharded` copies one.

    All tables are planned before the first row, `jobs` at once: those that are missing are created
    then. A table that refers to another one of them by a foreign key, on the target, is copied
    after that; otherwise the biggest shards come first.

    Args:
        config: the limits of the whole run; the rates are those of all shards together.
        tables: what is copied, each with its own `pool` and its `config` (but for
            `full_copy_timeout`), into a target table of its own. The pools lead to the same
            databases, and name the same ledger.
        from_name: the source's name, for the pools.
        to_name: the target's name, for the pools.
        jobs: how many shards are copied at once, at most.
        shards: how many there are, at most, of all tables together; each table has one at least,
            and the more the bigger it is. None for as many as their sizes and `jobs` suggest.
        executor: as for `copy_sharded`, as are `shard_retries`, `observer` and `stop`.
        shard_retries: how often a shard is run again that was lost or crashed.
        run: the run to go on with, by its `run_id`; None for a new one. It has the same tables.
        observer: is called with each event; those of a table have its name.
        stop: once another thread sets it, nothing else begins.

    Returns:
        How it went, with a `ShardedTable` for each of the tables.

    Raises what `copy_sharded` raises; the error of one table ends the run. ConfigError if two
    tables would be copied into the same one.

    """
    how = How(
        shards=shards,
        jobs=jobs,
        executor=executor,
        shard_retries=shard_retries,
        run=run,
        observer=observer,
        stop=stop,
    )
    return copy_all(config, tables, from_name, to_name, how)


def plan_tables(
    config: Config,
    tables: Sequence[TableCopy],
    from_name: str,
    to_name: str,
    *,
    jobs: int,
    shards: int | None = None,
    observer: Observer | None = None,
    stop: threading.Event | None = None,
) -> PlanReport:
    """Plan the shards of many tables in one run, for others to copy: see `plan_sharded`.

    Args:
        config: the limits of the plan, and how it waits (`wait`).
        tables: as for `copy_tables`, as are `shards` and the two names.
        from_name: the source's name, for the pools.
        to_name: the target's name, for the pools.
        jobs: how many tables are planned at once; without `shards`, also how many shards are meant
            to be copied at once.
        shards: how many there are, at most, of all tables together.
        observer: is called with each event, in a thread of its own.
        stop: once another thread sets it, the plan is given up.

    Raises what `plan_sharded` raises. A warning names the tables that have to be copied before
    others, since those refer to them.

    """
    how = How(shards=shards, jobs=jobs, observer=observer, stop=stop)
    return plan_all(config, tables, from_name, to_name, how)


def copy_shard_of_tables(
    config: Config,
    tables: Sequence[TableCopy],
    from_name: str,
    to_name: str,
    *,
    run: str,
    shard: int,
    observer: Observer | None = None,
    stop: threading.Event | None = None,
) -> CopyReport:
    """Copy one shard of a run of these tables, which are all that it has: see `copy_shard`."""
    refuse_bad_tables(tables)
    one = OneShard(config, tables, (from_name, to_name), run=run, number=shard)
    return one.copy(observer, stop)
