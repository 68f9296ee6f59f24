"""What the soak runs on: two servers behind proxies, the table under load, one copy at a time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench import load
from pipecopy.contracts import Side
from tests.support.databases import TemporaryDatabase
from tests.support.home import home
from tests.support.profiles import TABLE, add_profiles
from tests.support.proxy import Proxy
from tests.support.servers import QUICK, PostgresServer
from tests.support.standbys import Standby

MARK = "SOAK_OF_PIPECOPY"
"""The variable by which processes are known, also those whose parent is gone."""

# what a server that is shut down at once has written is in the system's memory: no fsync is
# needed for it to be there again
_SETTINGS = {
    **QUICK,
    "autovacuum_naptime": "10s",
    "wal_retrieve_retry_interval": "100ms",  # a standby soon follows a server that was restarted
}
_LATENCY = 0.002
"""Seconds each way: a copy so takes long enough for several faults to strike it."""
_LOADS = 2
_FIRST_ROWS = 4_000


Mode = Literal["library", "command"]
"""`copy_table` in this process, or `pipecopy copy` in one of its own."""


class NoVictimError(Exception):
    """Nobody is there to be struck."""


@dataclass(frozen=True)
class Marked:
    """A process of the soak's."""

    pid: int
    name: str
    command: str

    def __str__(self) -> str:
        return f"{self.pid} ({self.name}) {self.command[:80]}"


class Load:
    """The sessions that insert and update meanwhile."""

    def __init__(self, database: TemporaryDatabase, folder: Path, seed: int) -> None:
        self._file = folder / "load"
        self.goes_to(database)
        self._processes = [
            load.start("soak", str(self._file), f"{seed} load {number}", quiet=True)
            for number in range(_LOADS)
        ]
        self.pids = frozenset(process.pid for process in self._processes)

    def goes_to(self, database: TemporaryDatabase) -> None:
        """Send it to this database as soon as it has to connect again."""
        new = self._file.with_suffix(".new")
        new.write_text(database.server.socket_conninfo(database.name))
        new.rename(self._file)

    @property
    def running(self) -> bool:
        return all(process.poll() is None for process in self._processes)

    def stop(self) -> None:
        """Stop it, and wait until what it has begun is committed."""
        load.stop(*self._processes)


@dataclass
class Site:
    """One server, the proxy through which the copies reach it, and the standby that follows it."""

    server: PostgresServer
    proxy: Proxy
    standby: Standby | None = None

    def uri(self, dbname: str) -> str:
        return self.proxy.uri(dbname)


@dataclass
class Scene:
    """All of it."""

    source_site: Site
    target_site: Site
    source: TemporaryDatabase
    targets: dict[str, TemporaryDatabase]
    folder: Path
    """It holds the faults for workers, and the commands' output."""
    load: Load
    supervisor: subprocess.Popen[bytes] | None = None
    """The command that copies, if one does."""
    target: TemporaryDatabase | None = None
    """The database that the copy goes to."""
    rows: int = 0
    """Rows of the source when the copy began."""
    stopped_seconds: float = 0.0
    """For how long the supervisor was stopped."""
    stop_signals: set[signal.Signals] = field(default_factory=set)
    """What was sent to the supervisor to end it; of several, any may be heeded first."""
    stopped_at: float = 0.0
    """When it could heed the first of them, by time.monotonic()."""
    paused: set[Side] = field(default_factory=set)
    """The sides whose postmaster is stopped: nobody can connect there."""
    altered: dict[Side, str] = field(default_factory=dict)
    """The sides whose table was altered in a way that matters, and what undoes that."""
    failed_over: float | None = None
    """When the target began to be another server, one that may lack what was saved."""

    def begin(self, target: TemporaryDatabase, rows: int) -> None:
        """Forget the copy before, and remember the target of the next one."""
        self.target, self.supervisor, self.stop_signals = target, None, set()
        self.rows, self.stopped_seconds = rows, 0.0
        self.failed_over = None
        for site in (self.source_site, self.target_site):
            if site.standby is None:
                site.standby = Standby(site.server)
                site.standby.start()

    def undo(self) -> None:
        """Restore the tables; no copy runs any more."""
        for side, sql in self.altered.items():
            if sql:
                self.database(side).execute(f"SET lock_timeout = '10s'; {sql}")
        self.altered.clear()

    def move(self, side: Side) -> PostgresServer:
        """Make the standby of a side its server from now on; return the one that was."""
        site = self.site(side)
        before, standby = site.server, site.standby
        assert standby is not None  # noqa: S101 - `begin` has started it
        site.server, site.standby = standby, None
        site.proxy.lead_to(standby)
        moved = (self.source,) if side == "source" else tuple(self.targets.values())
        for database in moved:
            database.server = standby
        if side == "source":
            self.load.goes_to(self.source)
        return before

    def site(self, side: Side) -> Site:
        return self.source_site if side == "source" else self.target_site

    def database(self, side: Side) -> TemporaryDatabase:
        if side == "source" or self.target is None:
            return self.source
        return self.target

    def worker(self, side: Side) -> int | None:
        """Return the process id of a side's worker; None if there is none."""
        name = f"pipecopy {side}"[:15]
        return next((process.pid for process in self.processes() if process.name == name), None)

    def processes(self) -> list[Marked]:
        """Return what the copies have started and what still runs, the supervisor included."""
        own = {os.getpid(), *self.load.pids}
        return [process for process in marked() if process.pid not in own]

    def sessions(self) -> list[str]:
        """Return the sessions of copies on both servers."""
        return [
            f"{session['application_name']} on {site.server!r}: {session['state']}"
            for site in (self.source_site, self.target_site)
            for session in site.server.sessions("pipecopy/")
        ]


def marked() -> Iterator[Marked]:
    mark = f"{MARK}={os.environ[MARK]}".encode()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                    name = (folder / "comm").read_text().rstrip("\n")
                    yield Marked(int(folder.name), name, command.decode(errors="replace"))


@contextlib.contextmanager
def scene(seed: int) -> Iterator[Scene]:
    """Set it all up, and remove it at the end, whatever the end is."""
    with (
        contextlib.ExitStack() as stack,
        PostgresServer(16, _SETTINGS) as prod,
        PostgresServer(18, _SETTINGS) as stats,
        Proxy(prod) as source_proxy,
        Proxy(stats) as target_proxy,
        source_proxy.latency(_LATENCY),
        target_proxy.latency(_LATENCY),
    ):
        folder = Path(tempfile.mkdtemp(prefix="soak-", dir=home()))
        _use_temporary_folder(folder / "tmp")
        prod.create_database("prod")
        source = TemporaryDatabase(prod, "prod")
        source.execute(TABLE)
        add_profiles(source, 1, _FIRST_ROWS + 1)
        targets = {}
        for name, table in (("indexed", TABLE), ("plain", TABLE.replace(" PRIMARY KEY", ""))):
            stats.create_database(name)
            targets[name] = TemporaryDatabase(stats, name)
            targets[name].execute(table)
        os.environ[MARK] = f"{os.getpid()} {time.monotonic_ns()}"
        sessions = Load(source, folder, seed)
        stack.callback(sessions.stop)
        sites = (Site(prod, source_proxy), Site(stats, target_proxy))
        stack.callback(_remove_followers, sites)
        yield Scene(
            source_site=sites[0],
            target_site=sites[1],
            source=source,
            targets=targets,
            folder=folder,
            load=sessions,
        )


def _remove_followers(sites: tuple[Site, ...]) -> None:
    """Remove what came after the first two servers; those are removed by who made them."""
    for site in sites:
        for server in (site.standby, site.server):
            if server is not None:
                server.remove()


def _use_temporary_folder(folder: Path) -> None:
    """Have all temporary files of the soak, which ends with this process, in a folder of its own.

    So each that is left is seen.
    """
    folder.mkdir()
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None
