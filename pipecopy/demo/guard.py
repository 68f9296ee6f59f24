"""The guard of a folder, run as a script: `guard.py FOLDER`, with a pipe as standard input.

Nothing is ever written to the pipe. Its end means that the demo, or the test process, is over, in
whatever way: then the servers whose data is in the folder are stopped, and the folder is removed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_OURS = ("postgres", "initdb", "psql")
_PATIENCE = 10.0
_SOON = 3.0
"""Seconds after which a server that was asked to end is killed."""


def main(folder: Path) -> None:
    """Wait for the end of the pipe, and clear up."""
    while os.read(0, 1):
        pass
    began = time.monotonic()
    while folder.exists() and time.monotonic() < began + _PATIENCE:
        # SIGKILL would leave a server's shared memory behind; SIGQUIT does not
        late = time.monotonic() > began + _SOON
        for pid in _processes_of(folder):
            family = (pid, *_children(pid))
            for member in family:
                _send(member, signal.SIGCONT)  # or a stopped one would ignore SIGQUIT
            for member in family if late else (pid,):
                _send(member, signal.SIGKILL if late else signal.SIGQUIT)
        if not any(_processes_of(folder)):
            shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.02)


def _processes_of(folder: Path) -> Iterator[int]:
    """Yield the folder's own processes: its name, unlike any other, is in their arguments.

    That finds a server before it has written its pid, too. Its children name no folder, and end
    with it.
    """
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            name = (process / "comm").read_text().strip()
            if name in _OURS and os.fsencode(folder) in (process / "cmdline").read_bytes():
                yield int(process.name)


def _children(pid: int) -> list[int]:
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found += [int(child) for child in children.read_text().split()]
    return found


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
