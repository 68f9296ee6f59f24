"""Throughput on a slow line: through proxies that deliver every byte 20 ms later, each way."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.contenders import Pipe, Pipecopy
from bench.rounds import run_rounds
from bench.servers import Databases
from tests.support.servers import PostgresServer

_SECONDS = 0.02


def through_latency(databases: Databases, rows: int, rounds: int) -> dict[str, Any]:
    """Time the binary pipe and pipecopy through the same proxies, in turn."""
    with _proxy(databases.source.server) as near, _proxy(databases.target.server) as far:
        slow = databases.by_ports(near, far)
        results = run_rounds(slow, [Pipe("binary"), Pipecopy(100_000, 1)], rows, rounds)
    return {"milliseconds": 1000 * _SECONDS, "rows": rows, "contenders": results}


@contextlib.contextmanager
def _proxy(server: PostgresServer) -> Iterator[int]:
    """Run a proxy in a process of its own, as one that shared this one would slow the copy."""
    command = [sys.executable, "-m", "tests.support.proxy", server.host, str(server.port)]
    with subprocess.Popen(
        [*command, "--latency", str(_SECONDS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise AssertionError("both are pipes")
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()  # which ends it
