"""Where PostgreSQL's binaries are, and who may run them: the demo's wheel, or the machine's."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from pipecopy.demo.servers import as_server_user, give_to_server_user, programs, usable_package
from tests.support.home import home

__all__ = ["as_server_user", "binaries", "give_to_server_user", "why_missing"]

IN_WHEEL = (16, 18)
"""Any other version is where PG14_BIN or such says, or where Debian's packages put it."""


def binaries(version: int) -> Path:
    """Return the folder with `postgres`, `initdb` and `psql` of that version."""
    if version in IN_WHEEL:
        return programs(_package(), version)
    return Path(os.environ.get(f"PG{version}_BIN", f"/usr/lib/postgresql/{version}/bin"))


def why_missing(version: int) -> str:
    """Return why there are no such programs on this machine; empty where there are."""
    if version in IN_WHEEL or (binaries(version) / "postgres").exists():
        return ""
    return (
        f"no PostgreSQL {version} in {binaries(version)}; PG{version}_BIN may name another folder"
    )


@functools.cache
def _package() -> Path:
    return usable_package(home())
