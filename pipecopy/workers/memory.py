"""Anonymous memory files: nothing is left on disk or in /dev/shm, whatever dies."""

from __future__ import annotations

import os
from typing import Any

from multiprocess import reduction


class MemoryFile:
    """An anonymous file in memory, which travels to a worker in Pebble's `initargs`."""

    def __init__(self, name: str) -> None:
        self.fd = os.memfd_create(f"pipecopy-{name}", os.MFD_CLOEXEC)

    def __getstate__(self) -> dict[str, Any]:
        return {"inherited": reduction.DupFd(self.fd)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.fd = state["inherited"].detach()

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self.fd).st_size

    def tail(self, limit: int, start: int = 0) -> str:
        """Return the last `limit` bytes from byte `start` on as text."""
        size = self.size
        begin = max(start, size - limit)
        return os.pread(self.fd, size - begin, begin).decode(errors="replace")

    def clear(self) -> None:
        """Give the memory back."""
        os.ftruncate(self.fd, 0)

    def close(self) -> None:
        """Close this process's descriptor; the memory goes with the last one."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
