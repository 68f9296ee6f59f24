"""A second copy over a complete and equal target: its throughput, and the WAL of both copies."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from bench.contenders import Pipecopy
from bench.progress import progress
from bench.servers import Databases


def second_copy(databases: Databases, rows: int, rounds: int) -> dict[str, Any]:
    """Copy twice, in two ways: the second one at once, and after a VACUUM as the next night.

    Whoever first reads a row that was just written marks it as visible. With page checksums, the
    default since PostgreSQL 18, that mark is written to the WAL with its whole page when it is the
    first change after a checkpoint. At once, this falls to the second copy; the next night,
    autovacuum has long done it. A `SELECT count(*)` in its place shows what it comes to.
    """
    contender = Pipecopy(10_000, 1)
    found: dict[str, list[dict[str, float]]] = {
        name: [] for name in ("first", "at once", "vacuumed", "reader")
    }
    for _ in range(rounds):
        for second in ("at once", "vacuumed"):
            databases.empty_target()
            found["first"].append(_copy(contender, databases))
            if second == "vacuumed":
                databases.checkpoint()
                position = databases.wal_position
                databases.target.execute("SELECT count(*) FROM profiles")
                found["reader"].append(_wal_since(position, databases))
                databases.target.execute("VACUUM profiles")
            databases.checkpoint()
            found[second].append(_copy(contender, databases))
            progress(f"second copy, {second}: {found[second][-1]}, first: {found['first'][-1]}")
    return {
        "title": contender.title,
        "rows": rows,
        **{
            name: {figure: round(median(c[figure] for c in copies), 4) for figure in copies[0]}
            for name, copies in found.items()
        },
    }


def _copy(contender: Pipecopy, databases: Databases) -> dict[str, float]:
    position = databases.wal_position
    began = time.monotonic()
    contender.copy(databases)
    seconds = time.monotonic() - began
    return {"seconds": seconds, **_wal_since(position, databases)}


def _wal_since(position: int, databases: Databases) -> dict[str, float]:
    return {"wal_megabytes": (databases.wal_position - position) / 1e6}
