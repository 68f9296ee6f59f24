"""The guard of `tests.home`, run as a script: `guard.py FOLDER`, with a pipe as standard input.

Nothing is ever written to the pipe; its end means that the test process is gone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path


def main(folder: Path) -> None:
    while os.read(0, 1):
        pass
    for pid_file in folder.glob("*/data/postmaster.pid"):
        try:
            _end_server(int(pid_file.read_text().split()[0]), pid_file.parent)
        except (OSError, ValueError, IndexError):  # it ended by itself meanwhile
            continue
    # A backend may make its last file while the folder is being removed.
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


def _end_server(pid: int, data: Path) -> None:
    if Path(f"/proc/{pid}/cwd").readlink() != data:
        return  # the pid is someone else's by now
    family = [pid, *_children(pid)]
    for member in family:  # SIGKILL leaves System V shared memory behind, SIGQUIT does not
        _signal(member, signal.SIGCONT)
    _signal(pid, signal.SIGQUIT)
    deadline = time.monotonic() + 3
    while Path(f"/proc/{pid}/cwd").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    for member in family:
        if Path(f"/proc/{member}/comm").exists() and _is_postgres(member):
            _signal(member, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    return [
        int(child)
        for children in Path(f"/proc/{pid}/task").glob("*/children")
        for child in children.read_text().split()
    ]


def _is_postgres(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "postgres"
    except OSError:
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
