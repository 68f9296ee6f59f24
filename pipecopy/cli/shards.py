"""A copy in shards, as the command has it: what it does instead of `copy_table`."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import pipecopy
from pipecopy.cli.options import Engine, GoOn, Shards
from pipecopy.config import Config
from pipecopy.contracts import ConnectionPool
from pipecopy.report import CopyReport


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
            *sides,
            shards=shards.shards or 1,
            jobs=engine.jobs or _processors(shards.shards),
            shard_retries=engine.shard_retries,
            run=go_on.run,
            from_id=from_id,
            to_id=to_id,
            **how,
        )
        with nullcontext() if engine.dask is None else _cluster(engine.dask) as executor:
            return sharded(executor=executor)

    return copy


def _processors(shards: int | None) -> int:
    """Return how many shards are copied at once by default."""
    processors = len(os.sched_getaffinity(0))
    return processors if shards is None else min(shards, processors)


def _cluster(address: str) -> Any:
    return importlib.import_module("pipecopy.engines.dask").cluster(address)
