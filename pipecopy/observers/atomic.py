"""A file that is replaced as a whole: whoever reads it sees the former content or the new one."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
from contextlib import suppress
from pathlib import Path

from pipecopy.errors import ConfigError, HostError
from pipecopy.workers.host import start

_FULL = (errno.ENOSPC, errno.EDQUOT)
"""No reason to keep a run from starting: a file that is new would not show it either."""
_PATIENCE = 2.0
"""Seconds that the file system gets to answer before a run; one that hangs may not hold it up."""
_MOST_BYTES = 64 * 2**20
"""Bytes of an existing file; one that has more is another file. A report may have 2,000 reasons."""


class AtomicFile:
    """Writes to `PATH.tmp`, and renames that to PATH.

    A process that is killed leaves at most that one file, which the next one replaces. Several
    processes may write the same file: they take turns.
    """

    def __init__(self, path: str | os.PathLike[str], what: str) -> None:
        """Take the path, and what messages call the file, such as `metrics file`."""
        self._path = os.fspath(path)
        self._what = what
        self._turn = threading.Lock()
        """A look that was not waited for must not undo a later write."""
        self.before = b""
        """What the file had before; empty if there was none."""

    def prepare(self, patience: float = _PATIENCE) -> None:
        """Read the file, and see that it can be replaced.

        Raises ConfigError; not for a full disk, which may have room by the time of the first write.
        A file system that does not answer in so many seconds is not waited for.
        """
        failed: list[Exception] = []

        def look() -> None:
            try:
                with self._turn:
                    self._look()
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller is told
                failed.append(error)

        thread = threading.Thread(target=look, name="pipecopy-file", daemon=True)
        start(thread)
        thread.join(patience)
        for error in failed:
            if isinstance(error, OSError):
                if error.errno in _FULL:
                    return
                raise ConfigError(self._said(error)) from error
            raise error

    def _look(self) -> None:
        path = Path(self._path)
        try:
            info = path.stat()
        except FileNotFoundError:
            descriptor = self._open_temporary()
            self._temporary.unlink()
            os.close(descriptor)
            return
        if not stat.S_ISREG(info.st_mode):
            raise ConfigError(f"{self._what} {self._path} is not a regular file")
        if info.st_size > _MOST_BYTES:
            raise ConfigError(
                f"{self._what} {self._path} has {info.st_size} bytes, so it is another file:"
                " choose another name, or remove it"
            )
        self.before = path.read_bytes()
        # only this shows that it can be: it may be a mount, or another's
        self._replace(self.before)

    def write(self, content: bytes) -> None:
        """Replace the file. Raises HostError."""
        try:
            with self._turn:
                self._replace(content)
        except OSError as error:
            raise HostError(self._said(error), errno=error.errno) from error

    @property
    def _real(self) -> Path:
        """The path of the file itself: a symbolic link stays one."""
        return Path(os.path.realpath(self._path))  # Path.resolve has no OSError for a loop

    @property
    def _temporary(self) -> Path:
        return self._real.with_name(f"{self._real.name}.tmp")

    def _replace(self, content: bytes) -> None:
        descriptor = self._open_temporary()
        try:
            os.ftruncate(descriptor, 0)
            with suppress(FileNotFoundError):  # the mode that someone has given it stays
                os.fchmod(descriptor, stat.S_IMODE(self._real.stat().st_mode))
            left = memoryview(content)
            while left:
                left = left[os.write(descriptor, left) :]
            self._temporary.replace(self._real)
        except BaseException:
            with suppress(OSError):
                self._temporary.unlink()
            raise
        finally:
            os.close(descriptor)

    def _open_temporary(self) -> int:
        """Open the temporary file for this process alone."""
        while True:
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self._temporary, flags, 0o666)
            with suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):  # whoever had the lock has renamed it
                if os.path.samestat(os.fstat(descriptor), self._temporary.stat()):
                    return descriptor
            os.close(descriptor)

    def _said(self, error: OSError) -> str:
        return f"{self._what} {self._path} can't be written: {error.strerror or error}"
