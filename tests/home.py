"""One temporary folder for all that a test process starts, and a guard that outlives it.

The guard is a small process that waits for the end of the test process, even by SIGKILL, then
ends the servers in the folder and removes it.
"""

from __future__ import annotations

import atexit
import functools
import subprocess
import sys
import tempfile
from pathlib import Path

_LONGEST_SOCKET_FOLDER = 60  # a Unix socket's path has at most 107 bytes


@functools.cache
def home() -> Path:
    """Return the folder; it is made when first asked for, and guarded."""
    parent = tempfile.gettempdir()
    if len(parent) > _LONGEST_SOCKET_FOLDER:
        parent = "/tmp"  # noqa: S108 - mkdtemp makes a folder in it that nobody else can write to
    folder = Path(tempfile.mkdtemp(prefix="pipecopy-tests-", dir=parent))
    folder.chmod(0o755)  # the servers may run as another user
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", Path(__file__).with_name("guard.py"), folder],
        stdin=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C on the terminal is not for it
        cwd="/",
    )
    atexit.register(_end, guard)
    return folder


def _end(guard: subprocess.Popen[bytes]) -> None:
    if guard.stdin:
        guard.stdin.close()
    guard.wait(30)
