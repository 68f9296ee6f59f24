"""One temporary folder for all that a test process starts, and a guard that outlives it.

The guard is the demo's: a small process that waits for the end of the test process, even by
SIGKILL, then ends the servers in the folder and removes it.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
from pathlib import Path

from pipecopy.demo.servers import guarded_folder


@functools.cache
def home() -> Path:
    """Return the folder; it is made when first asked for, and guarded."""
    at_exit = contextlib.ExitStack()
    folder = at_exit.enter_context(guarded_folder("pipecopy-tests-"))
    atexit.register(at_exit.close)
    folder.chmod(0o755)  # the servers may run as another user
    return folder
