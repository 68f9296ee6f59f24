"""Nothing is left behind: what a test process has, before and after a test.

Processes are known by a variable in their environment, so that those whose parent died are
found too.
"""

from __future__ import annotations

import contextlib
import gc
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support.servers import running_servers

MARK = "TEST_OF_PIPECOPY"
PATIENCE = 3.0
"""Seconds in which everything must be gone: SPEC.md's bound for server sessions."""
_COPYING = ("pipecopy.workers.forkserver", "-m pipecopy")
"""What is in the command line of a copy's own processes."""


@dataclass(frozen=True)
class Belongings:
    """What there is now."""

    children: frozenset[psutil.Process]
    marked: frozenset[str]
    threads: frozenset[threading.Thread]
    files: frozenset[str]
    descriptors: Counter[str] = field(hash=False)

    @classmethod
    def now(cls, mark: str) -> Belongings:
        servers = {server.pid for server in running_servers()}
        return cls(
            children=frozenset(p for p in psutil.Process().children() if p.pid not in servers),
            marked=frozenset(_marked(mark)),
            threads=frozenset(threading.enumerate()),
            files=frozenset(_files()),
            descriptors=Counter(_descriptors()),
        )

    def added_since(self, before: Belongings) -> list[str]:
        """Return what is new, one line each."""
        return [
            *(f"process {_told(p)}" for p in self.children - before.children),
            *(f"process {text}" for text in self.marked),
            *(f"thread {t.name}" for t in self.threads - before.threads),
            *(f"file {name}" for name in sorted(self.files - before.files)),
            *(
                f"{count} descriptors: {kind}"
                for kind, count in (self.descriptors - before.descriptors).items()
            ),
            *_sessions(),
        ]


@contextlib.contextmanager
def nothing_left_behind(test: str) -> Iterator[None]:
    """See that all that came during the block is gone soon after it."""
    mark = f"{os.getpid()} {test}"
    before = Belongings.now(mark)
    os.environ[MARK] = mark
    try:
        yield
    finally:
        del os.environ[MARK]
    for server in running_servers():
        server.resume()
    deadline = time.monotonic() + PATIENCE
    while left := Belongings.now(mark).added_since(before):
        if time.monotonic() > deadline:
            raise AssertionError("left behind:\n" + "\n".join(left))
        gc.collect()  # a cycle may hold a closed pool's descriptors
        time.sleep(0.05)


def left_of_copies(files_before: frozenset[str]) -> list[str]:
    """Return what is left of all copies of the test under way, one line each.

    Unlike the look after each test, it leaves alone what the test itself still needs.
    """
    mark = os.environ[MARK]
    return [
        *(f"process {text}" for text in _marked(mark, _COPYING)),
        *(f"file {name}" for name in sorted(set(_files()) - files_before)),
        *(f"memory file {kind}" for kind in _descriptors() if kind.startswith("/memfd:pipecopy")),
        *_sessions(),
    ]


def files_now() -> frozenset[str]:
    """Return the temporary files that there are."""
    return frozenset(_files())


def _sessions() -> Iterator[str]:
    for server in running_servers():
        for s in server.sessions("pipecopy/"):
            shown = f"{s['state']} {s['query'][:80]}"
            yield f"session {s['application_name']} on {server!r}: {shown}"


def _marked(mark: str, commands: tuple[str, ...] = ("",)) -> Iterator[str]:
    """Yield the processes that have the mark, and one of these texts in their command line."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.environ().get(MARK) != mark:
                continue
            line = " ".join(process.cmdline())
            if any(command in line for command in commands):
                yield _told(process)


def _told(process: psutil.Process) -> str:
    try:
        return f"{process.pid} ({process.status()}): {' '.join(process.cmdline())[:200]}"
    except psutil.Error:
        return f"{process.pid}"


def _files() -> Iterator[str]:
    for folder in ("/dev/shm", tempfile.gettempdir()):  # noqa: S108 - to look into, not to write
        for path in Path(folder).iterdir():
            if not path.name.startswith("PostgreSQL."):  # any server's on this machine
                yield str(path)


def _descriptors() -> Iterator[str]:
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(link.readlink())
            if target.startswith(("/memfd:", "socket:", "pipe:", "anon_inode:")):
                yield target if target.startswith("anon") else target.split(":[", maxsplit=1)[0]
