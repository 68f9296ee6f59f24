"""The memory that a process and all its descendants take together, as /proc shows it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

MEMORY_FILES = "memory files"
_BLOCK = 512  # bytes; what st_blocks counts, on every file system


def family(*pids: int) -> Iterator[int]:
    """Yield the processes and all their descendants."""
    for pid in pids:
        yield pid
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            with suppress(OSError):
                yield from family(*map(int, children.read_text().split()))


def memory_of(pids: Iterable[int]) -> dict[str, int]:
    """Return bytes by the process's name, and those of the memory files, each page once.

    A memory file's pages may be mapped by a worker or by nobody; so they are left out of a
    process's proportional set size (`Pss_Shmem`), and all blocks of each file are counted instead.
    """
    parts: dict[str, int] = {}
    files: dict[tuple[int, int], int] = {}
    for pid in pids:
        with suppress(OSError):
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            kilobytes = re.findall(r"^Pss_(?:Anon|File): +(\d+) kB", rollup, re.MULTILINE)
            parts[name] = parts.get(name, 0) + 1024 * sum(map(int, kilobytes))
            files.update(_memory_files(pid))
    return {**parts, MEMORY_FILES: sum(files.values())}


def _memory_files(pid: int) -> Iterator[tuple[tuple[int, int], int]]:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            if str(descriptor.readlink()).startswith("/memfd:"):
                status = descriptor.stat()
                yield (status.st_dev, status.st_ino), status.st_blocks * _BLOCK
