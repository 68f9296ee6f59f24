"""PgBouncer between a copy and its servers, if the system has it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Literal

import psycopg
import pytest

from tests.support.databases import TemporaryDatabase
from tests.support.home import as_server_user, give_to_server_user, home
from tests.support.servers import free_port


def binary() -> str:
    """Return the path of PgBouncer; skip the test if there is none."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which("pgbouncer", path=path)
    if found is None:
        pytest.skip("PgBouncer is not installed (Debian's package pgbouncer)")
    return found


@contextlib.contextmanager
def pgbouncer(
    mode: Literal["session", "transaction"], databases: Mapping[str, TemporaryDatabase]
) -> Iterator[dict[str, str]]:
    """Run a PgBouncer of the test's own; give the URI of each database through it."""
    command = binary()
    port = free_port()
    folder = home() / f"pgbouncer{port}"
    folder.mkdir()
    lines = [
        "[databases]",
        *(
            f"{name} = host={db.server.host} port={db.server.port} dbname={db.name}"
            for name, db in databases.items()
        ),
        "[pgbouncer]",
        f"pool_mode = {mode}",
        "listen_addr = 127.0.0.1",
        f"listen_port = {port}",
        "unix_socket_dir =",
        "auth_type = trust",
        f"auth_file = {folder / 'users'}",
        "ignore_startup_parameters = extra_float_digits",
        "server_idle_timeout = 1",  # what it keeps for the next client goes soon after a test
    ]
    (folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n")
    (folder / "users").write_text('"postgres" ""\n')
    for path in (folder, *folder.iterdir()):
        give_to_server_user(path)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [command, str(folder / "pgbouncer.ini")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # signals to the test's process group are not for it
            env={},
            cwd="/",
            **as_server_user(),
        )
    uris = {name: f"postgresql://postgres@127.0.0.1:{port}/{name}" for name in databases}
    try:
        _wait_until_ready(process, next(iter(uris.values())))
        yield uris
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder)


def _wait_until_ready(process: subprocess.Popen[bytes], uri: str) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            psycopg.connect(uri, application_name="tests", connect_timeout=5).close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.02)  # it has no event for this but its log
        else:
            return
