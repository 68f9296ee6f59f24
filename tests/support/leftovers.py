"""Nothing is left behind: what a test has started is gone soon after it.

Only what this run has made is looked at: processes that came during the test and are its
children, or carry its mark in their environment, as do those whose parent died; its own temporary
folder; its own threads and descriptors; sessions on its own servers. So a look costs two
milliseconds, and other programs on the machine make no test fail.
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

from tests.support.servers import running_servers
from tests.support.shared_server import stop_other_fork_servers

MARK = "TEST_OF_PIPECOPY"
PATIENCE = 3.0
"""Seconds in which everything must be gone: SPEC.md's bound for server sessions."""
_COPYING = ("pipecopy.workers.forkserver", "-m pipecopy")
"""What is in the command line of a copy's own processes."""


@dataclass(frozen=True)
class Belongings:
    """What there is now."""

    mark: str
    """In the environment of all that the test starts."""
    pids: frozenset[str] = field(default_factory=lambda: frozenset(_pids()))
    threads: frozenset[threading.Thread] = field(
        default_factory=lambda: frozenset(threading.enumerate())
    )
    files: frozenset[str] = field(default_factory=lambda: frozenset(_files()))
    descriptors: Counter[str] = field(default_factory=lambda: Counter(_descriptors()))

    def added(self) -> list[str]:
        """Return what is new since this look, one line each."""
        return [
            *(f"process {process}" for process in self.processes()),
            *(f"thread {t.name}" for t in set(threading.enumerate()) - self.threads),
            *(f"file {name}" for name in self.new_files()),
            *(f"{count} descriptors: {kind}" for kind, count in self.new_descriptors().items()),
            *_sessions(),
        ]

    def new_files(self) -> list[str]:
        return sorted(set(_files()) - self.files)

    def new_descriptors(self) -> Counter[str]:
        return Counter(_descriptors()) - self.descriptors

    def processes(self, commands: tuple[str, ...] = ("",)) -> Iterator[str]:
        """Yield the new processes that have one of these texts in their command line."""
        known = self.pids | {str(server.pid) for server in running_servers()}
        own, mark = f"PPid:\t{os.getpid()}\n", os.fsencode(f"{MARK}={self.mark}")
        for process in (Path("/proc") / pid for pid in _pids() if pid not in known):
            with contextlib.suppress(OSError):  # it has ended, or is another user's
                status = (process / "status").read_text()
                environment = (process / "environ").read_bytes().split(b"\0")
                if own not in status and mark not in environment:
                    continue
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if any(command in line for command in commands):
                    state = status.split("State:")[1].split("\n")[0].strip()
                    yield f"{process.name} {state}: {line[:200]}"


_under_way: list[Belongings] = []
"""The look before the test that is under way."""


@contextlib.contextmanager
def nothing_left_behind() -> Iterator[None]:
    """See that all that came during the block is gone soon after it."""
    before = Belongings(os.environ[MARK])
    _under_way[:] = [before]
    yield
    stop_other_fork_servers()  # else each test would wait until they go by themselves
    for server in running_servers():
        server.resume()
    deadline = time.monotonic() + PATIENCE
    while left := before.added():
        if time.monotonic() > deadline:
            raise AssertionError("left behind:\n" + "\n".join(left))
        time.sleep(0.005)  # a look sends no events
        gc.collect()  # a cycle may hold a closed pool's descriptors


def left_of_copies() -> list[str]:
    """Return what is left of all copies of the test under way, one line each.

    Unlike the look after each test, it leaves alone what the test itself still needs. A fork server
    that only waits for the next copy of this process is stopped first.
    """
    stop_other_fork_servers()
    (before,) = _under_way
    return [
        *(f"process {process}" for process in before.processes(_COPYING)),
        *(f"file {name}" for name in before.new_files()),
        *(f"memory file {kind}" for kind in before.new_descriptors() if "/memfd:" in kind),
        *_sessions(),
    ]


def _sessions() -> Iterator[str]:
    for server in running_servers():
        for s in server.sessions("pipecopy/"):
            shown = f"{s['state']} {s['query'][:80]}"
            yield f"session {s['application_name']} on {server!r}: {shown}"


def _pids() -> Iterator[str]:
    return filter(str.isdigit, os.listdir("/proc"))  # noqa: PTH208 - a tenth of iterdir's time


def _files() -> list[str]:
    return os.listdir(tempfile.gettempdir())  # noqa: PTH208 - as above


def _descriptors() -> Iterator[str]:
    for fd in os.listdir("/proc/self/fd"):  # noqa: PTH208 - as above
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115 - as above
            if target.startswith(("/memfd:", "socket:", "pipe:", "anon_inode:")):
                yield target if target.startswith("anon") else target.split(":[", maxsplit=1)[0]
