"""A copy in shards, as the command has it: what it does instead of `copy_table`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pipecopy
from pipecopy.cli.options import Engine, GoOn, Shards
from pipecopy.config import Config
from pipecopy.contracts import ConnectionPool
from pipecopy.operations.shards.plan import TableCopy
from pipecopy.report import CopyReport

_CONNECT = 10.0
"""Seconds in which a scheduler has to answer."""


def copying(shards: Shards, engine: Engine, go_on: GoOn) -> Callable[..., CopyReport]:
    """Return what copies so; it is called as `copy_table` is."""

    def copy(
        config: Config,
        pool: ConnectionPool,
        source: str,
        target: str,
        *,
        resume: bool,
        from_id: int,
        to_id: int | None,
        **how: Any,
    ) -> CopyReport:
        del resume  # the ledger says where to begin
        sides = (config, pool, source, target)
        if go_on.run is not None and go_on.shard is not None:
            return pipecopy.copy_shard(*sides, run=go_on.run, shard=go_on.shard, **how)
        sharded = partial(
            pipecopy.copy_sharded,
            pool=pool,
            from_name=source,
            to_name=target,
            shards=shards.shards or 1,
            jobs=engine.jobs or processors(shards.shards),
            shard_retries=engine.shard_retries,
            run=go_on.run,
            from_id=from_id,
            to_id=to_id,
            **how,
        )
        return _on_engine(engine, config, sharded)

    return copy


def copying_tables(shards: Shards, engine: Engine, go_on: GoOn) -> Callable[..., CopyReport]:
    """Return what copies several tables so; it is called as `copy_tables` is."""

    def copy(
        config: Config, tables: Sequence[TableCopy], source: str, target: str, **how: Any
    ) -> CopyReport:
        if go_on.run is not None and go_on.shard is not None:
            run, shard = go_on.run, go_on.shard
            sides = (source, target)
            return pipecopy.copy_shard_of_tables(
                config, tables, *sides, run=run, shard=shard, **how
            )
        sharded = partial(
            pipecopy.copy_tables,
            tables=tables,
            from_name=source,
            to_name=target,
            shards=shards.shards,
            jobs=engine.jobs or processors(shards.shards),
            shard_retries=engine.shard_retries,
            run=go_on.run,
            **how,
        )
        return _on_engine(engine, config, sharded)

    return copy


def _on_engine(engine: Engine, config: Config, sharded: Callable[..., CopyReport]) -> CopyReport:
    """Copy by that engine, within what is left of the limits."""
    began = time.monotonic()
    with _executor(engine, config.full_copy_timeout) as executor:
        left = config.full_copy_timeout - (time.monotonic() - began)
        limits = replace(config, full_copy_timeout=max(0.001, left))
        return sharded(config=limits, executor=executor)


def processors(shards: int | None) -> int:
    """Return how many shards are copied at once by default."""
    processors = len(os.sched_getaffinity(0))
    return processors if shards is None else min(shards, processors)


@contextmanager
def _executor(engine: Engine, left: float) -> Iterator[Executor | None]:
    """Give what copies the shards; None for threads. Raises ConfigError and HostError."""
    if engine.dask is None:
        yield None
        return
    from pipecopy.engines.dask import cluster  # noqa: PLC0415 - for this option alone

    with cluster(engine.dask, limit=min(_CONNECT, left)) as executor:
        yield executor
