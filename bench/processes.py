"""What the processes of a copy take, as /proc tells: CPU seconds, and memory."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

_INTERVAL = 0.02
_TICKS = os.sysconf("SC_CLK_TCK")
_BLOCK = 512  # bytes; what st_blocks counts, on every file system


@dataclass
class Usage:
    """What was seen of a tree of processes."""

    cpu: dict[str, float] = field(default_factory=dict)
    """Seconds, user and system, by the process's name."""
    memory: int = 0
    """Bytes at the peak."""
    parts: dict[str, int] = field(default_factory=dict)
    """Bytes at the peak, by the process's name, and those of the memory files."""
    samples: int = 0


class Watch:
    """Looks at the processes and all their children 50 times a second, for the time of a block.

    A process's last 20 ms may be missing.
    """

    def __init__(self, roots: Sequence[int], *, memory: bool) -> None:
        self._roots = roots
        self._with_memory = memory
        self._seconds: dict[int, tuple[str, float]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.usage = Usage()

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
            pids = list(_family(self._roots))
            for pid in pids:
                with contextlib.suppress(OSError):
                    self._seconds[pid] = _cpu(pid)
            if self._with_memory:
                parts = _memory(pids)
                if sum(parts.values()) > self.usage.memory:
                    self.usage.memory, self.usage.parts = sum(parts.values()), parts
            self.usage.samples += 1
            self._over.wait(max(0.0, began + _INTERVAL - time.monotonic()))


def _family(roots: Sequence[int]) -> Iterator[int]:
    for pid in roots:
        yield pid
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                yield from _family([int(child) for child in children.read_text().split()])


def _cpu(pid: int) -> tuple[str, float]:
    name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
    fields = rest.split()
    return name, (int(fields[11]) + int(fields[12])) / _TICKS


def _memory(pids: Sequence[int]) -> dict[str, int]:
    """Return the proportional set size by name, and the memory files, each page once.

    A memory file's pages may be mapped by a worker or by nobody; so they are left out of what the
    processes have (`Pss_Shmem`), and all blocks of each file are counted instead.
    """
    parts: dict[str, int] = {}
    files: dict[tuple[int, int], int] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            kilobytes = re.findall(r"^Pss_(?:Anon|File): +(\d+) kB", rollup, re.MULTILINE)
            parts[name] = parts.get(name, 0) + 1024 * sum(map(int, kilobytes))
            files.update(_memory_files(pid))
    parts["memory files"] = sum(files.values())
    return parts


def _memory_files(pid: int) -> Iterator[tuple[tuple[int, int], int]]:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if str(descriptor.readlink()).startswith("/memfd:"):
                stat = descriptor.stat()
                yield (stat.st_dev, stat.st_ino), stat.st_blocks * _BLOCK
