"""A command that really copies, between two files of SQLite: it needs no server."""

from __future__ import annotations

from pathlib import Path

from tests.support.drivers import RecordingPool

_STUB = """
import os
from pathlib import Path
from pipecopy.operations.copy import copy_table as really
from tests.support.drivers import RecordingPool
from tests.support.strikes import Strike

def copy_table(config, pool, from_name, to_name, **how):
    {first}
    pool = RecordingPool(Path({folder!r}), ({strikes}))
    object.__setattr__(pool, "table", {table!r})
    return really(config, pool, "source", "target", **how)
"""


def copying(folder: Path, strikes: str = "", first: str = "pass", table: str = "profiles") -> str:
    """Return a `copy_table` for `run_stubbed`: it copies 500 rows, after the statement `first`.

    `strikes` are the arguments of the pool that come to harm, each with a comma after it.
    """
    RecordingPool(folder).create(range(1, 501))
    return _STUB.format(folder=str(folder), strikes=strikes, first=first, table=table)
