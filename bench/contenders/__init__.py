"""Who copies; the first one is the limit, and the ratios are shares of its throughput."""

from __future__ import annotations

from bench.contenders.contender import Contender
from bench.contenders.dlt import Dlt
from bench.contenders.floor import Floor
from bench.contenders.pgcopydb import Pgcopydb
from bench.contenders.pgloader import Pgloader
from bench.contenders.pipe import Pipe
from bench.contenders.pipecopy import Pipecopy
from bench.contenders.sling import Sling
from bench.contenders.upsert import Upsert

__all__ = ["Contender", "Pipe", "Pipecopy", "contenders"]


def contenders(data_set: str, rows: int) -> list[Contender]:
    """Return who copies this data set of so many rows.

    Rows of 50 KB and of 20 MB are for those alone whose users would have such: batches of
    different sizes hold the same rows there, since their bytes are bounded.
    """
    tenth = max(1, rows // 10)
    if data_set != "small":
        return [
            Pipe("binary"),
            Pipe("text", once=True),
            Pipecopy(10_000, 1),
            Pgcopydb(),
            Pgloader(),
            Sling(),
            Upsert(tenth),
        ]
    return [
        Pipe("binary"),
        Pipe("text"),
        *(Pipecopy(size, ahead) for size in (1_000, 10_000, 100_000) for ahead in (0, 1)),
        Floor(1_000),
        Floor(10_000),
        Pgcopydb(),
        Pgloader(),
        Sling(),
        Upsert(tenth),
        Dlt(tenth),
    ]
