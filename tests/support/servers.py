"""A PostgreSQL server is an object: made from the wheel, ended with the test process."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote, urlencode

import psutil
import psycopg
from psycopg.conninfo import make_conninfo

from tests.support.home import as_server_user, binaries, give_to_server_user, home

PASSWORD_USER = "with_password"  # noqa: S105 - a name
PASSWORD = "s3cr3t-W0rd"  # noqa: S105 - of a server that lives for one test run

QUICK = {
    "fsync": "off",  # a server of the tests is never started again after a power failure
    "shared_buffers": "32MB",
    "max_connections": "40",
    "dynamic_shared_memory_type": "mmap",  # in the data folder, where nobody else looks
    "autovacuum_naptime": "600s",
    "log_line_prefix": "%m [%p] %q%a ",
}
"""Settings for tests; a bench wants the defaults."""

_HBA = f"""\
local all all trust
local replication all trust
host all {PASSWORD_USER} 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""
_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_numbers = itertools.count(1)
_servers: list[PostgresServer] = []


def running_servers() -> list[PostgresServer]:
    """Return the servers of this process that are up."""
    return [server for server in _servers if server.running]


class PostgresServer:
    """One server with its own data folder, on a TCP port and on a Unix socket.

    The superuser is `postgres`, trusted without a password; `PASSWORD_USER` needs one over TCP.
    """

    def __init__(self, version: int, settings: Mapping[str, str] = QUICK) -> None:
        self.version = version
        self.settings = dict(settings)
        self.bin = binaries(version)
        self.folder = home() / f"{next(_numbers)}"
        self.data = self.folder / "data"
        self.host = "127.0.0.1"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._admin: psycopg.Connection[Any] | None = None
        self._paused = False

    def __repr__(self) -> str:
        return f"<PostgreSQL {self.version} on port {self.port}>"

    # -- its life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self!r} was not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self, timeout: float = 30) -> None:
        """Start it and wait until it takes connections."""
        if not self.data.exists():
            self.folder.mkdir()
            give_to_server_user(self.folder)
            self._make_data()
        options = {"port": str(self.port), "listen_addresses": self.host, **self.settings}
        command = [str(self.bin / "postgres"), "-D", str(self.data), "-k", str(self.folder)]
        command += [part for item in options.items() for part in ("-c", "=".join(item))]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # signals to the test's process group are not for it
                env={},  # neither a user's PG… variables nor the mark of a test are for it
                cwd="/",
                **as_server_user(),
            )
        _servers.append(self)
        self._wait_until_ready(timeout)
        self._administrate()

    def _make_data(self) -> None:
        _copy_as_server_user(_template(self.version), self.data)

    def _wait_until_ready(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not self._says_ready():
            if not self.running or time.monotonic() > deadline:
                raise RuntimeError(f"{self!r} did not start:\n{self.log}")
            time.sleep(0.01)  # the server has no event for this but its pid file

    def _says_ready(self) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and int(lines[0]) == self.pid and lines[7].strip() == "ready"

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Shut it down and wait until it is gone; `immediate` is what a crash leaves."""
        if self._process is None:
            return
        self._forget_admin()
        self.resume()
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(_SIGNALS[mode])
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None
        _servers.remove(self)

    def kill(self) -> None:
        """End every process of it with SIGKILL, as the OOM killer does."""
        self._forget_admin()
        if self.running:
            family = [psutil.Process(self.pid), *psutil.Process(self.pid).children(recursive=True)]
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(family, timeout=5)
        if self._process is not None:
            self._process.wait(5)

    def restart(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        self.stop(mode)
        self.start()

    def remove(self) -> None:
        """Stop it and remove its folder."""
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def pause(self, pid: int | None = None) -> None:
        """Stop the postmaster, or one backend, by SIGSTOP."""
        self._paused = True
        os.kill(pid or self.pid, signal.SIGSTOP)

    def freeze(self) -> None:
        """Stop every process of it by SIGSTOP: connections are accepted, and nobody answers."""
        self._forget_admin()
        self.pause()  # first, so that it starts no further ones
        for process in psutil.Process(self.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def kill_backend(self, pid: int) -> None:
        """End one backend with SIGKILL; wait until the server has recovered from that."""
        ready = "database system is ready to accept connections"
        before = self.log.count(ready)
        os.kill(pid, signal.SIGKILL)
        self.wait_for_log(ready, before + 1)
        self._forget_admin()

    def wait_for_log(self, text: str, times: int = 1, timeout: float = 20) -> None:
        """Wait until the server's log has the text so many times."""
        deadline = time.monotonic() + timeout
        while self.log.count(text) < times:
            if time.monotonic() > deadline:
                raise AssertionError(f"{self!r} did not say {text!r} {times} times:\n{self.log}")
            time.sleep(0.01)

    def resume(self) -> None:
        """Let every process of it go on, if any was stopped."""
        if not self._paused or not self.running:
            return
        self._paused = False
        family = [psutil.Process(self.pid), *psutil.Process(self.pid).children()]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)

    # -- how to reach it

    def conninfo(self, dbname: str = "postgres", **overrides: Any) -> str:
        """Return a libpq connection string; over TCP unless a `host` says otherwise."""
        parts = {"host": self.host, "port": self.port, "user": "postgres", "dbname": dbname}
        return make_conninfo(**{**parts, **overrides})

    def socket_conninfo(self, dbname: str = "postgres", **overrides: Any) -> str:
        return self.conninfo(dbname, **{"host": self.folder, **overrides})

    def uri(
        self,
        dbname: str = "postgres",
        *,
        user: str = "postgres",
        password: str | None = None,
        port: int | None = None,
        **params: str,
    ) -> str:
        login = quote(user) + (f":{quote(password, safe='')}" if password is not None else "")
        query = f"?{urlencode(params)}" if params else ""
        return f"postgresql://{login}@{self.host}:{port or self.port}/{quote(dbname)}{query}"

    def connect(self, dbname: str = "postgres", **overrides: Any) -> psycopg.Connection[Any]:
        """Return a connection of the test's own, in autocommit mode."""
        overrides = {"application_name": "tests", "connect_timeout": 5, **overrides}
        return psycopg.connect(self.socket_conninfo(dbname, **overrides), autocommit=True)

    # -- what is in it

    def execute(self, sql: str, params: Sequence[Any] = (), *, dbname: str = "postgres") -> None:
        """Run one or more statements; with `params` only one."""
        with self.connect(dbname) as connection:
            connection.execute(sql, params or None)

    def query(
        self, sql: str, params: Sequence[Any] = (), *, dbname: str = "postgres"
    ) -> list[tuple[Any, ...]]:
        with self.connect(dbname) as connection:
            return connection.execute(sql, params or None).fetchall()

    def create_database(
        self,
        name: str,
        *,
        encoding: str = "UTF8",
        locale: str = "C",
        template: str = "template0",
    ) -> None:
        self._administrate().execute(
            f"CREATE DATABASE {name} TEMPLATE {template} ENCODING '{encoding}' LOCALE '{locale}'"
        )

    def drop_database(self, name: str) -> None:
        self._administrate().execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def sessions(self, prefix: str = "", *, dbname: str | None = None) -> list[dict[str, Any]]:
        """Return the client sessions whose application_name begins so, but not the tests' own."""
        rows = self._administrate().execute(
            "SELECT to_jsonb(a) FROM pg_stat_activity a WHERE backend_type = 'client backend'"
            " AND application_name <> 'tests' AND starts_with(application_name, %s)"
            " AND (datname = %s OR %s::text IS NULL)",
            (prefix, dbname, dbname),
        )
        return [row[0] for row in rows]

    def _administrate(self) -> psycopg.Connection[Any]:
        # One connection is kept, for what is asked after every test.
        admin = self._admin
        if admin is not None and not admin.closed:
            try:
                admin.execute("SELECT 1")
            except psycopg.OperationalError:
                admin.close()
        if admin is None or admin.closed:
            admin = self._admin = self.connect()
        return admin

    def _forget_admin(self) -> None:
        if self._admin is not None:
            self._admin.close()
            self._admin = None


@functools.cache
def _template(version: int) -> Path:
    """Return a data folder as initdb leaves it: copying it takes a tenth of initdb's time."""
    folder = home() / f"template{version}"
    folder.mkdir()
    give_to_server_user(folder)
    data = folder / "template"
    command = [str(binaries(version) / "initdb"), "-D", str(data), "-U", "postgres"]
    command += ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
    subprocess.run(command, check=True, capture_output=True, cwd="/", **as_server_user())
    (data / "pg_hba.conf").write_text(_HBA)
    subprocess.run(
        [str(binaries(version) / "postgres"), "--single", "-D", str(data), "-F", "postgres"],
        input=f"CREATE ROLE {PASSWORD_USER} LOGIN PASSWORD '{PASSWORD}'\n",
        check=True,
        capture_output=True,
        text=True,
        cwd="/",
        **as_server_user(),
    )
    return data


def _copy_as_server_user(source: Path, target: Path) -> None:
    # to copy a thousand files and to give them away took a second in Python
    subprocess.run(["/bin/cp", "-R", source, target], check=True, cwd="/", **as_server_user())


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    # Below the range from which the kernel takes ports for outgoing connections, so that nobody
    # gets it while the server is being restarted.
    while True:
        port = random.randint(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
