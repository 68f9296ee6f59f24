"""CPU seconds of the client, by process, beside psql's two."""

from __future__ import annotations

from statistics import median
from typing import Any

from bench.contenders import Pipe
from bench.parts.command import PROCESSES, running
from bench.processes import Watch
from bench.progress import progress
from bench.servers import Databases


def cpu_seconds(databases: Databases, rows: int, rounds: int) -> dict[str, Any]:
    """Run the binary pipe and the command, at its default batch size, in turn."""
    pipes: list[dict[str, float]] = []
    copies: list[dict[str, float]] = []
    for _ in range(rounds):
        databases.empty_target()
        pipes.append(_of_the_pipe(databases))
        databases.empty_target()
        with running(databases) as process, Watch([process.pid], memory=False) as watch:
            process.wait()
        copies.append({PROCESSES.get(k, "supervisor"): v for k, v in watch.usage.cpu.items()})
        progress(f"CPU seconds: {copies[-1]}, {pipes[-1]}")
    return {"rows": rows, "pipecopy": _medians(copies), "psql": _medians(pipes)}


def _of_the_pipe(databases: Databases) -> dict[str, float]:
    both = Pipe("binary").start(databases)
    seconds = {}
    watches = [Watch([process.pid], memory=False) for process in both]
    with watches[0], watches[1]:
        for process in reversed(both):
            process.wait()
    for name, watch in zip(("reader", "writer"), watches, strict=True):
        seconds[name] = sum(watch.usage.cpu.values())
    return seconds


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(median(each.get(name, 0.0) for each in rounds), 3) for name in rounds[0]}
