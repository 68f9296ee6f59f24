"""The bench from its options to its figures."""

from __future__ import annotations

import argparse
import compileall
import importlib.metadata
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pipecopy
from bench import progress
from bench.calls import idle_call, kill, start_and_stop
from bench.contenders import Contender
from bench.figures import Figures
from bench.processes import cpu_seconds, peak_memory
from bench.render import PICTURE, draw
from bench.rounds import contenders, run_rounds
from bench.scenarios import round_trips, second_copy, sparse_ids, through_latency, verifications
from bench.servers import (
    FULL_ROWS,
    QUICK_ROWS,
    Databases,
    DataSet,
    Servers,
    data_sets,
    servers,
)
from bench.tables import show

_LIMIT = "pipe-binary"
_QUICK_ROUNDS, _ROUNDS = 1, 3

# On the small data set, with its rows and the number of rounds.
_ON_ROWS: dict[str, Callable[[Databases, int, int], dict[str, Any]]] = {
    "second_copy": second_copy,
    "latency": through_latency,
    "cpu": cpu_seconds,
    "verify": verifications,
}
# The names in `_measure_other_parts`.
_OTHERS = ("round_trips", "memory", "idle_call", "kill", "start_and_stop", "sparse")
_DATA_SETS = ("small", "small_600k", "small_2m", "medium", "huge")


def run() -> None:
    """Run the command of sys.argv."""
    options = _options()
    # so that what was started is ended: peers, proxies, servers
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    # as pip does when it installs: a copy's start is part of what is timed
    compileall.compile_dir(Path(pipecopy.__file__).parent, quiet=1)
    rows = options.rows or (QUICK_ROWS if options.quick else FULL_ROWS)
    rounds = options.rounds or (_QUICK_ROUNDS if options.quick else _ROUNDS)
    figures: Figures = {"quick": rows < FULL_ROWS, "rounds": rounds, "machine": _machine()}
    chosen = _Chosen(options.only)
    try:
        with servers() as both:
            figures["versions"] = _versions(both)
            for data_set in data_sets(rows):
                _measure(both, data_set, rounds, chosen, figures)
            _measure_other_parts(both, rows, rounds, chosen, figures)
    finally:  # what was measured before an error may have taken a quarter of an hour
        if "versions" in figures:
            _write(figures, options.json)
    show(figures)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="pipecopy beside psql COPY | psql COPY and what else copies a table, on two"
        " servers of the demo's wheel; the ratio of throughputs, 1.00 is the binary pipe's.",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: to try it")
    parser.add_argument(
        "--rows", type=int, help="of the small data set; all else is scaled with it"
    )
    parser.add_argument("--rounds", type=int, help=f"default: {_ROUNDS}")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        choices=(*_DATA_SETS, *_ON_ROWS, *_OTHERS, *sorted(_names(*_DATA_SETS))),
        default=[],
        help="data sets, other figures, or contenders: %(choices)s",
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        default=Path("figures.json"),
        help="default: %(default)s",
    )
    return parser.parse_args()


def _names(*data_sets: str) -> set[str]:
    return {each.name for data_set in data_sets for each in contenders(data_set, 1)}


class _Chosen:
    """What `--only` names; without a name of a kind, that kind is not narrowed."""

    def __init__(self, names: Collection[str]) -> None:
        self._contenders = _names(*_DATA_SETS) & set(names)
        self._parts = set(names) - self._contenders
        if self._contenders and not self._parts:
            self._parts = {each for each in _DATA_SETS if self._contenders & _names(each)}

    def part(self, name: str) -> bool:
        return not self._parts or name in self._parts

    def of(self, all_of_them: list[Contender]) -> list[Contender]:
        names = self._contenders and self._contenders | {_LIMIT}
        return [each for each in all_of_them if not names or each.name in names]


def _measure(
    both: Servers, data_set: DataSet, rounds: int, chosen: _Chosen, figures: Figures
) -> None:
    """Measure what needs the rows of this data set."""
    parts = [name for name in _ON_ROWS if data_set.name == "small" and chosen.part(name)]
    if not parts and not chosen.part(data_set.name):
        return
    rows = data_set.rows
    progress(f"filling {rows:,} {data_set.title}")
    with both.filled(data_set.name, rows, data_set.fill) as databases:
        if chosen.part(data_set.name):
            taking_part = chosen.of(contenders(data_set.name, rows))
            figures.setdefault("data_sets", {})[data_set.name] = {
                "title": data_set.title,
                "rows": rows,
                "megabytes": round(_size(databases) / 1e6, 1),
                "contenders": run_rounds(
                    databases, taking_part, rows, min(rounds, data_set.most_rounds)
                ),
            }
        for name in parts:
            progress(name)
            figures[name] = _ON_ROWS[name](databases, rows, rounds)


def _size(databases: Databases) -> int:
    # of the values, as COPY sends them
    return int(databases.source.value("SELECT sum(octet_length(data::text) + 8) FROM profiles"))


def _measure_other_parts(
    both: Servers, rows: int, rounds: int, chosen: _Chosen, figures: Figures
) -> None:
    """Measure what makes tables of its own, or needs none."""
    times = 3 if figures["quick"] else 7
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "round_trips": lambda: round_trips(both),
        "memory": lambda: peak_memory(both, rows),
        "idle_call": lambda: idle_call(times, 500 if figures["quick"] else 2_000),
        "kill": lambda: kill(times),
        "start_and_stop": lambda: start_and_stop(both, times),
        "sparse": lambda: sparse_ids(both, rows, rounds),
    }
    for name, part in parts.items():
        if chosen.part(name):
            progress(name)
            figures[name] = part()


def _write(figures: Figures, file: Path) -> None:
    file.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    try:
        draw(figures, file.with_name(PICTURE))
    except ImportError:
        progress("missing: matplotlib, so no picture was drawn")


def _machine() -> dict[str, str]:
    """Return what counts of the machine here; nothing names it."""
    cpu = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "CPU": cpu[1] if cpu else platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
        "kernel": f"Linux {'.'.join(platform.release().split('.')[:2])}",
    }


def _versions(servers: Servers) -> dict[str, str]:
    """Return the versions of all that takes part."""
    prod, stats = (
        str(server.query("SHOW server_version")[0][0]) for server in (servers.prod, servers.stats)
    )
    packages = ("pipecopy", "Pebble", "multiprocess", "psycopg", "sling-linux-amd64", "dlt")
    found = {
        "PostgreSQL": f"{prod} to {stats}, default settings",
        "Python": platform.python_version(),
        **{name: version for name in packages if (version := _package(name))},
    }
    for command in ("pgcopydb", "pgloader"):
        if version := _command(command):
            found[command] = version
    return found


def _package(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _command(name: str) -> str | None:
    path = shutil.which(name)
    if path is None:
        return None
    output = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    version = re.search(r"version\s+\"?([^\s\"]+)", output.stdout + output.stderr)
    return version[1] if version else "of an unknown version"
