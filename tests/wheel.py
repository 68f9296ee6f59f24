"""Where PostgreSQL's binaries are, and who may run them: the demo's wheel."""

from __future__ import annotations

import functools
from pathlib import Path

from pipecopy.demo.wheel import as_server_user, give_to_server_user, programs, usable_package
from tests.home import home

__all__ = ["as_server_user", "binaries", "give_to_server_user"]


def binaries(version: int) -> Path:
    """Return the folder with `postgres`, `initdb` and `psql` of that version."""
    return programs(_package(), version)


@functools.cache
def _package() -> Path:
    return usable_package(home())
