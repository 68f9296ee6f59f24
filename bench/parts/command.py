"""The command, `python -m pipecopy copy`, as a process that can be watched."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from bench.servers import Databases

PROCESSES = {
    "pipecopy forker": "fork server",
    "pipecopy source": "reader",
    "pipecopy target": "writer",
    "memory files": "memory files",
}
"""How the processes of a copy are called, by their names in /proc; the other one supervises."""


@contextlib.contextmanager
def running(databases: Databases, batch_size: int = 10_000) -> Iterator[subprocess.Popen[bytes]]:
    """Start it; whoever uses it waits for its end, which must be a good one."""
    command = [sys.executable, "-m", "pipecopy", "copy", "--quiet"]
    command += ["--batch-size", str(batch_size)]
    command += [databases.source_conninfo, databases.target_conninfo]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()  # it stops cleanly
    if process.returncode:
        raise RuntimeError(f"the command ended with code {process.returncode}")
