"""Verifications of a complete copy, and of one with a single differing row, beside the copy."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from bench.contenders import Pipecopy
from bench.progress import progress
from bench.servers import Databases
from pipecopy import VerifyReport, verify_tables
from pipecopy.postgres import PostgresPool


def verifications(databases: Databases, rows: int, rounds: int) -> dict[str, Any]:
    """Copy, verify, change one row in the target, and verify again."""
    contender = Pipecopy(10_000, 1)
    seconds: dict[str, list[float]] = {"copy": [], "equal": [], "one": []}
    for _ in range(rounds):
        databases.empty_target()
        began = time.monotonic()
        contender.copy(databases)
        seconds["copy"].append(time.monotonic() - began)
        databases.checkpoint()
        _time(seconds["equal"], databases, ())
        stale = rows * 2 // 3
        databases.target.execute(f"UPDATE profiles SET data = NULL WHERE id = {stale}")
        databases.checkpoint()
        _time(seconds["one"], databases, (stale,))
        took = ", ".join(f"{name} {each[-1]:.2f} s" for name, each in seconds.items())
        progress(f"verifications: {took}")
    return {
        "rows": rows,
        "title": contender.title,
        **{name: round(median(each), 4) for name, each in seconds.items()},
    }


def _time(seconds: list[float], databases: Databases, differing: tuple[int, ...]) -> None:
    began = time.monotonic()
    report = _verify(databases)
    seconds.append(time.monotonic() - began)
    if report.differing_ids != differing or report.missing or report.surplus:
        raise AssertionError(f"the verification found something else: {report}")


def _verify(databases: Databases) -> VerifyReport:
    pool = PostgresPool({"PROD": databases.source_conninfo, "STATS": databases.target_conninfo})
    return verify_tables(Pipecopy(10_000, 1).config, pool, "PROD", "STATS")
