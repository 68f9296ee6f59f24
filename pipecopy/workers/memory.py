"""Anonymous memory files: nothing is left on disk or in /dev/shm, whatever dies."""

from __future__ import annotations

import fcntl
import os
from typing import Any, Self

from multiprocess import reduction


class MemoryFile:
    """An anonymous file in memory, which travels to a worker in Pebble's `initargs`."""

    def __init__(self, name: str, *, append: bool = False) -> None:
        """Make one; with `append`, every write goes to the end, also after `clear`."""
        self.fd = os.memfd_create(f"pipecopy-{name}", os.MFD_CLOEXEC)
        if append:
            fcntl.fcntl(self.fd, fcntl.F_SETFL, os.O_APPEND)

    def duplicate(self) -> Self:
        """Return the same file by a descriptor of its own."""
        other = type(self).__new__(type(self))
        other.fd = fcntl.fcntl(self.fd, fcntl.F_DUPFD_CLOEXEC, 3)
        return other

    def is_same(self, other: MemoryFile) -> bool:
        """Tell whether both are the same file."""
        return os.path.sameopenfile(self.fd, other.fd)

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
