"""A folder in which whoever writes waits in uninterruptible sleep (state D), until it is thawed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_TOOLS = ("mkfs.ext4", "mount", "umount", "fsfreeze")

# Also when the test process is killed: nobody could end what waits there.
_THAW_AT_THE_END = 'read _; fsfreeze -u "$0" 2>/dev/null; umount "$0" || umount -l "$0"'


class FrozenFolder:
    """A small file system in a file, mounted by loop, which can be frozen."""

    def __init__(self, parent: Path) -> None:
        """Mount it; skips the test, with a reason, if that can't be done."""
        missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
        if missing:
            pytest.skip(f"state D needs {', '.join(missing)}")
        if os.geteuid() != 0:
            pytest.skip("state D needs root, to freeze a file system")
        image = parent / "image"
        self.path = parent / "frozen"
        self.path.mkdir()
        with image.open("wb") as file:
            file.truncate(16 << 20)
        _run("mkfs.ext4", "-q", image).check_returncode()
        mounted = _run("mount", "-o", "loop", image, self.path)
        if mounted.returncode:
            pytest.skip(f"state D needs a loop mount: {mounted.stderr.strip()}")
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _THAW_AT_THE_END, self.path],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={"PATH": os.environ["PATH"]},
        )

    def freeze(self) -> None:
        """Let whoever writes wait from now on."""
        _run("fsfreeze", "-f", self.path).check_returncode()

    def thaw(self) -> None:
        """Free whoever waits; nothing happens if it is not frozen."""
        thaw(self.path)

    def remove(self) -> None:
        """Thaw and unmount it."""
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        self._guard.wait(10)


def thaw(folder: Path) -> None:
    """Free whoever waits there, from any process."""
    _run("fsfreeze", "-u", folder)


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True)
