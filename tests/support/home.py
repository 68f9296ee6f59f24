"""Where the tests' servers live, where their programs are, and who may run them.

All that a test process starts is in one temporary folder, and a guard outlives it: the demo's, a
small process that waits for the end of the test process, even by SIGKILL, then ends the servers in
the folder and removes it.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
from pathlib import Path

from pipecopy.demo.servers import (
    as_server_user,
    give_to_server_user,
    guarded_folder,
    programs,
    usable_package,
)

__all__ = ["as_server_user", "binaries", "give_to_server_user", "home", "why_missing"]

IN_WHEEL = (16, 18)
"""Any other version is where PG14_BIN or such says, or where Debian's packages put it."""


@functools.cache
def home() -> Path:
    """Return the folder; it is made when first asked for, and guarded."""
    at_exit = contextlib.ExitStack()
    folder = at_exit.enter_context(guarded_folder("pipecopy-tests-"))
    atexit.register(at_exit.close)
    folder.chmod(0o755)  # the servers may run as another user
    return folder


def binaries(version: int) -> Path:
    """Return the folder with `postgres`, `initdb` and `psql` of that version."""
    if version in IN_WHEEL:
        return programs(_package(), version)
    return Path(os.environ.get(f"PG{version}_BIN", f"/usr/lib/postgresql/{version}/bin"))


def why_missing(version: int) -> str:
    """Return why there are no such programs on this machine; empty if there are."""
    if version in IN_WHEEL or (binaries(version) / "postgres").exists():
        return ""
    return (
        f"no PostgreSQL {version} in {binaries(version)}; PG{version}_BIN may name another folder"
    )


@functools.cache
def _package() -> Path:
    return usable_package(home())
