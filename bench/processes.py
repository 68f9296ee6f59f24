"""What the processes of a copy take: CPU seconds beside psql's, and memory at its peak."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Self

from bench import progress
from bench.contenders import Command, Pipe
from bench.servers import Databases, Servers, fill_small, grow_small
from tests.support.memory import MEMORY_FILES, family, memory_of

_ROLES = {
    "pipecopy forker": "fork server",
    "pipecopy source": "reader",
    "pipecopy target": "writer",
    MEMORY_FILES: MEMORY_FILES,
}
"""What a copy's processes are, by their names in /proc; any other one is the supervisor."""
_MEMORY_SHARES = (0.1, 1, 4)  # of the small data set's rows
_MEMORY_BATCH = 10_000  # rows
_INTERVAL = 0.02  # seconds
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(databases: Databases, rows: int, rounds: int) -> dict[str, Any]:
    """Run the binary pipe and the command, at its default batch size, in turn."""
    pipes: list[dict[str, float]] = []
    copies: list[dict[str, float]] = []
    for _ in range(rounds):
        databases.empty_target()
        pipes.append(_cpu_of_the_pipe(databases))
        databases.empty_target()
        with (
            Command(10_000).running(databases) as process,
            _Watch(process.pid, memory=False) as watch,
        ):
            process.wait()
        copies.append(_by_role(watch.usage.cpu))
        progress(f"CPU seconds: {copies[-1]}, {pipes[-1]}")
    return {"rows": rows, "pipecopy": _medians(copies), "psql": _medians(pipes)}


def _cpu_of_the_pipe(databases: Databases) -> dict[str, float]:
    both = Pipe("binary").start(databases)
    reader, writer = (_Watch(process.pid, memory=False) for process in both)
    with reader, writer:
        for process in reversed(both):
            process.wait()
    return {
        "reader": sum(reader.usage.cpu.values()),
        "writer": sum(writer.usage.cpu.values()),
    }


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(median(each.get(name, 0.0) for each in rounds), 3) for name in rounds[0]}


def peak_memory(servers: Servers, small_rows: int) -> dict[str, Any]:
    """Return the peak of all processes of a copy together, for ever more rows."""
    sizes = [max(1, int(share * small_rows)) for share in _MEMORY_SHARES]
    with servers.filled("memory", sizes[0], fill_small) as databases:
        return {"batch_size": _MEMORY_BATCH, "peaks": [_peak(databases, rows) for rows in sizes]}


def _peak(databases: Databases, rows: int) -> dict[str, Any]:
    grow_small(databases.source, rows)
    databases.empty_target()
    with (
        Command(_MEMORY_BATCH).running(databases) as process,
        _Watch(process.pid, memory=True) as watch,
    ):
        process.wait()
    usage = watch.usage
    parts = {role: round(size / 1e6, 1) for role, size in _by_role(usage.parts).items()}
    progress(f"peak memory at {rows:,} rows: {usage.memory / 1e6:.1f} MB, {parts}")
    return {
        "rows": rows,
        "megabytes": round(usage.memory / 1e6, 1),
        "parts": parts,
        "samples": usage.samples,
    }


def _by_role(values: dict[str, Any]) -> dict[str, float]:
    """Return the values of processes by what these are; that of the supervisor is a sum."""
    found: dict[str, float] = {}
    for name, value in values.items():
        role = _ROLES.get(name, "supervisor")
        found[role] = found.get(role, 0) + value
    return found


@dataclass
class _Usage:
    """What was seen of a process and its descendants."""

    cpu: dict[str, float] = field(default_factory=dict)
    """Seconds, user and system, by the process's name."""
    memory: int = 0
    """Bytes at the peak."""
    parts: dict[str, int] = field(default_factory=dict)
    """Bytes at the peak, by the process's name, and those of the memory files."""
    samples: int = 0


class _Watch:
    """Looks at a process and all its descendants 50 times a second, for the time of a block.

    The last 20 ms of a process may be missing.
    """

    def __init__(self, pid: int, *, memory: bool) -> None:
        self._pid = pid
        self._with_memory = memory
        self._seconds: dict[int, tuple[str, float]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.usage = _Usage()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for name, seconds in self._seconds.values():
            self.usage.cpu[name] = self.usage.cpu.get(name, 0.0) + seconds

    def _run(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            pids = list(family(self._pid))
            for pid in pids:
                with contextlib.suppress(OSError):
                    self._seconds[pid] = _cpu(pid)
            if self._with_memory:
                parts = memory_of(pids)
                if sum(parts.values()) > self.usage.memory:
                    self.usage.memory, self.usage.parts = sum(parts.values()), parts
            self.usage.samples += 1
            self._over.wait(max(0.0, began + _INTERVAL - time.monotonic()))


def _cpu(pid: int) -> tuple[str, float]:
    """Return the process's name, and its seconds: user and system."""
    name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
    fields = rest.split()
    return name, (int(fields[11]) + int(fields[12])) / _TICKS
