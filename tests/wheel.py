"""Where PostgreSQL's binaries are, and who may run them: the demo's wheel."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from pipecopy.demo.wheel import give_to_server_user, programs, usable_package
from tests.home import home

__all__ = ["binaries", "give_to_server_user", "server_user"]


def server_user() -> str | None:
    """Return the user that servers run as: PostgreSQL refuses root, so root borrows `nobody`."""
    return "nobody" if os.geteuid() == 0 else None


def binaries(version: int) -> Path:
    """Return the folder with `postgres`, `initdb` and `psql` of that version."""
    return programs(_package(), version)


@functools.cache
def _package() -> Path:
    return usable_package(home())
