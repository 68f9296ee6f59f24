"""Round trips per batch, as a proxy on each side counts them."""

from __future__ import annotations

from typing import Any

from bench.contenders import Pipecopy
from bench.datasets import fill_small
from bench.progress import progress
from bench.servers import Databases, Servers
from tests.support.proxy import Proxy

_ROWS = 20_000
_MORE, _FEWER = 1_000, 2_000  # rows a batch: the slope between them leaves out start and end


def round_trips(servers: Servers) -> dict[str, Any]:
    """Return the round trips per batch, and those that come once: at the start and the end."""
    batches = _ROWS / _MORE - _ROWS / _FEWER
    found: dict[str, Any] = {"batches": int(_ROWS / _MORE)}
    with servers.filled("round_trips", _ROWS, fill_small) as databases:
        for copy in ("first", "second"):
            counts = [_count(databases, size, again=copy == "second") for size in (_MORE, _FEWER)]
            found[copy] = {}
            for side, more, fewer in zip(("load", "save"), *counts, strict=True):
                found[copy][side] = round((more - fewer) / batches, 2)
                found[copy][f"{side} once"] = round(2 * fewer - more, 1)
            progress(f"round trips per batch of a {copy} copy: {found[copy]}")
    return found


def _count(databases: Databases, batch_size: int, *, again: bool) -> tuple[int, int]:
    contender = Pipecopy(batch_size, 1)
    databases.empty_target()
    if again:
        contender.copy(databases)
    with Proxy(databases.source.server) as near, Proxy(databases.target.server) as far:
        contender.copy(databases.by_ports(near.port, far.port))
        return near.round_trips, far.round_trips
