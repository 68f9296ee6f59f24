"""Sharded runs as commands have them: what a copy with shards does instead of `copy_table`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pipecopy
from pipecopy.cli.options import Engine, GoOn, Shards
from pipecopy.config import Config
from pipecopy.contracts import ConnectionPool
from pipecopy.report import CopyReport


def copying_shards(shards: Shards, engine: Engine, go_on: GoOn) -> Callable[..., CopyReport]:
    """Return what copies in shards, or goes on with a run; it is called as `copy_table` is."""

    def copy(
        config: Config, pool: ConnectionPool, source: str, target: str, *, resume: bool, **how: Any
    ) -> CopyReport:
        del resume  # it does not go with shards
        return pipecopy.copy_sharded(
            config,
            pool,
            source,
            target,
            shards=shards.shards or 1,
            jobs=engine.jobs or len(os.sched_getaffinity(0)),
            shard_retries=engine.shard_retries,
            run=go_on.run,
            **how,
        )

    return copy
