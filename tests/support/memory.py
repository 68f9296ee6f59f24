"""The memory that a process and all its descendants take together."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil


def family(pid: int) -> list[int]:
    """Return the process and all its descendants."""
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def memory_of(pids: list[int]) -> int:
    """Return bytes: each process's share of its pages, and each memory file once."""
    return sum(map(_own_share, pids)) + sum(_memory_files(pids).values())


def _own_share(pid: int) -> int:
    """Return the proportional set size without what is mapped of memory files."""
    sizes: dict[str, int] = {}
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, size, _ = line.split()
            sizes[name] = int(size) * 1024
    return sizes.get("Pss:", 0) - sizes.get("Pss_Shmem:", 0)


def _memory_files(pids: list[int]) -> dict[int, int]:
    """Return the allocated bytes of each memory file, by inode."""
    found = {}
    for pid in pids:
        with suppress(OSError):
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    if str(fd.readlink()).startswith("/memfd:"):
                        status = fd.stat()
                        found[status.st_ino] = status.st_blocks * 512
    return found
