"""The demo's servers, in a temporary folder, on Unix sockets that only this user can reach."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipecopy.demo import wheel
from pipecopy.errors import PipecopyError

_START_TIMEOUT = 30.0
_STATUS_LINE = 7  # of postmaster.pid
_LONGEST_SOCKET_FOLDER = 60  # a Unix socket's path has at most 107 bytes
_CLEAN = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
"""The environment of the servers: a user's PG… variables are not for them."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server that runs."""

    version: int
    folder: Path
    psql: Path

    @property
    def conninfo(self) -> str:
        """How libpq reaches it; the guard finds a psql by the folder's name in it."""
        return f"host='{self.folder}' user=postgres dbname=postgres"


@contextmanager
def guarded_folder(prefix: str = "pipecopy-demo-") -> Iterator[Path]:
    """Give a folder which is removed, and whose servers are stopped, when this process ends.

    A process of its own sees to it, so that it happens even when this one is killed.
    """
    parent = tempfile.gettempdir()
    folder = tempfile.mkdtemp(
        prefix=prefix,
        dir=parent if len(parent) <= _LONGEST_SOCKET_FOLDER else "/tmp",  # noqa: S108 - made for us alone
    )
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", Path(__file__).with_name("guard.py"), folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a signal to the demo's process group is not for it
        cwd="/",
    )
    try:
        yield Path(folder)
    finally:
        if guard.stdin:
            guard.stdin.close()
        guard.wait(15)


def start(versions: Mapping[str, int], home: Path, package: Path) -> list[Server]:
    """Make servers of these names and versions; wait until they take connections."""
    launches = [
        _Launch(home / name, version, wheel.programs(package, version))
        for name, version in versions.items()
    ]
    for made in [launch.make() for launch in launches]:
        made.wait(_START_TIMEOUT)
    for launch, process in [(launch, launch.run()) for launch in launches]:
        launch.wait_until_ready(process)
    return [launch.server for launch in launches]


class _Launch:
    """The start of one server, in steps that several take at the same time."""

    def __init__(self, folder: Path, version: int, programs: Path) -> None:
        folder.mkdir(mode=0o700)
        wheel.give_to_server_user(folder)
        self.server = Server(version=version, folder=folder, psql=programs / "psql")
        self._programs = programs
        self._folder = folder
        self._data = folder / "data"
        self._log = folder / "log"

    def make(self) -> subprocess.Popen[bytes]:
        """Begin to make its files."""
        options = ("-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        return self._start("initdb", "-D", self._data, *options)

    def run(self) -> subprocess.Popen[bytes]:
        """Begin to run it."""
        settings = ("listen_addresses=", "dynamic_shared_memory_type=mmap")
        options = [part for setting in settings for part in ("-c", setting)]
        return self._start("postgres", "-D", self._data, "-k", self._folder, *options)

    def wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until it takes connections."""
        deadline = time.monotonic() + _START_TIMEOUT
        while not self._says_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                said = self._log.read_text(errors="replace").strip().splitlines()
                why = said[-1] if said else "it said nothing"
                raise PipecopyError(f"the demo's server did not start: {why}")
            time.sleep(0.01)  # its pid file is all that tells

    def _says_ready(self) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > _STATUS_LINE and lines[_STATUS_LINE].strip() == "ready"

    def _start(self, program: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            process: subprocess.Popen[bytes] = subprocess.Popen(
                (self._programs / program, *arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # the guard ends it, not a Ctrl-C
                env=_CLEAN,
                cwd="/",
                **wheel.as_server_user(),
            )
        return process
