"""Rows spread over many ids: a batch holds so many rows across any gaps."""

from __future__ import annotations

import time
from functools import partial
from statistics import median
from typing import Any

from bench.contenders import Pipecopy
from bench.progress import progress
from bench.servers import Servers
from tests.support.databases import TemporaryDatabase
from tests.support.profiles import add_profiles

_SHARE = 0.1  # of the small data set's rows
_IDS = 10**12


def sparse_ids(servers: Servers, small_rows: int, rounds: int) -> dict[str, Any]:
    """Copy the same rows with dense ids and spread over 10**12, in turn."""
    rows = max(1, int(_SHARE * small_rows))
    contender = Pipecopy(10_000, 1)
    seconds: dict[str, list[float]] = {"dense": [], "sparse": []}
    for _ in range(rounds):
        for name, step in (("dense", 1), ("sparse", _IDS // rows)):
            with servers.filled(name, rows, partial(_fill, step)) as databases:
                began = time.monotonic()
                contender.copy(databases)
                seconds[name].append(time.monotonic() - began)
        took = ", ".join(f"{name} {each[-1]:.2f} s" for name, each in seconds.items())
        progress(f"ids that are {took}")
    return {"rows": rows, "ids": _IDS, **{name: median(each) for name, each in seconds.items()}}


def _fill(step: int, table: TemporaryDatabase, rows: int) -> None:
    add_profiles(table, 1, rows + 1, step=step)
