"""Peak memory of all processes of a copy together, for ever more rows."""

from __future__ import annotations

from typing import Any

from bench.datasets import fill_small, grow_small
from bench.parts.command import PROCESSES, running
from bench.processes import Watch
from bench.progress import progress
from bench.servers import Databases, Servers

_SHARES = (0.1, 1, 4)  # of the small data set's rows
_BATCH = 10_000


def peak_memory(servers: Servers, small_rows: int) -> dict[str, Any]:
    """Return the peaks, by rows."""
    sizes = [max(1, int(share * small_rows)) for share in _SHARES]
    with servers.filled("memory", sizes[0], fill_small) as databases:
        return {"batch_size": _BATCH, "peaks": [_peak(databases, rows) for rows in sizes]}


def _peak(databases: Databases, rows: int) -> dict[str, Any]:
    grow_small(databases.source, rows)
    databases.empty_target()
    with running(databases, _BATCH) as process, Watch([process.pid], memory=True) as watch:
        process.wait()
    usage = watch.usage
    parts: dict[str, float] = {}
    for name, size in usage.parts.items():
        role = PROCESSES.get(name, "supervisor")
        parts[role] = round(parts.get(role, 0) + size / 1e6, 1)
    progress(f"peak memory at {rows:,} rows: {usage.memory / 1e6:.1f} MB, {parts}")
    return {
        "rows": rows,
        "megabytes": round(usage.memory / 1e6, 1),
        "parts": parts,
        "samples": usage.samples,
    }
