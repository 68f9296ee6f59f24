"""`python -m bench.sharded`: a sharded run beside the same copy by one pair of processes.

Each figure is a ratio of medians of one run, in which both take turns, or a time that is small
enough to be its own measure. It needs a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

from rich.console import Console
from rich.table import Table

from bench import progress
from bench.scenarios import proxy_far_away
from bench.servers import Databases, Servers, fill_small, servers
from pipecopy import Config, copy_sharded, copy_table
from pipecopy.events import BatchSaved, Event, RangeKnown, ShardsKnown

_ROWS = 600_000
_FAR_ROWS = 400_000
_PLANNED = 200
_FEW, _MANY = 10, 60
"""Shards of one batch each: what more of them take, each takes."""
_CONFIG = Config(
    batch_size=10_000,
    max_retries=0,
    retries_delay=0,
    call_timeout=60,
    full_copy_timeout=600,
    read_ahead=1,
)


@dataclass(frozen=True)
class Figure:
    """What was measured."""

    title: str
    goal: float
    unit: str
    """Empty for a ratio."""
    measured: float
    of: str
    """The medians that it is made of."""


def main() -> None:
    options = _options()
    found: list[Figure] = []
    scale, rounds = options.scale, options.rounds
    with servers() as both:
        with both.filled("near", int(_ROWS * scale), fill_small) as databases:
            found += [_two(databases, rounds), _ledger(databases, rounds), _plan(databases, rounds)]
        with both.filled("few", _MANY, fill_small) as databases:
            found.append(_each_shard(databases, rounds))
        found.append(_far(both, int(_FAR_ROWS * scale), rounds))
    _show(found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.sharded", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--scale", type=float, default=1.0, help="of the rows; default: 1")
    return parser.parse_args()


def _two(databases: Databases, rounds: int) -> Figure:
    one, two = _in_turn(
        rounds,
        [partial(_plain, databases, _CONFIG), partial(_sharded, databases, _CONFIG, 2, 2)],
        databases,
    )
    return _ratio("2 shards on this machine, of the time of one pair", 0.85, two, one)


def _ledger(databases: Databases, rounds: int) -> Figure:
    """From the first load to the last save: the plan and the last steps are no cost of a save."""
    config = replace(_CONFIG, batch_size=1_000)
    plain, ledger = _Phase(), _Phase()

    def with_ledger() -> None:
        _sharded(databases, config, 1, 1, observer=ledger)

    def without() -> None:
        copy_table(config, databases.pool, "PROD", "STATS", observer=plain)

    _in_turn(rounds, [without, with_ledger], databases)
    title = "1 shard, 1,000 rows a batch, of the time of a plain copy"
    return _ratio(title, 1.03, ledger.seconds, plain.seconds)


class _Phase:
    """An observer that times what lies between the first load and the last save of each run."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = 0.0

    def __call__(self, event: Event) -> None:
        match event:
            case RangeKnown():
                self._began = event.at
                self.seconds.append(0.0)
            case BatchSaved():
                self.seconds[-1] = event.at - self._began


def _plan(databases: Databases, rounds: int) -> Figure:
    """Until the shards are known, of a run that has just begun."""
    seconds = []
    for _ in range(rounds):
        databases.empty_target()
        known: list[float] = []
        began = time.monotonic()

        def note(event: Event, known: list[float] = known) -> None:
            if isinstance(event, ShardsKnown):
                known.append(time.monotonic())

        _sharded(databases, _CONFIG, _PLANNED, 2, observer=note)
        seconds.append(known[0] - began)
    title = f"to plan {_PLANNED} shards, connecting included"
    return Figure(title, 0.5, " s", median(seconds), "")


def _each_shard(databases: Databases, rounds: int) -> Figure:
    few, many = _in_turn(
        rounds,
        [partial(_sharded, databases, _CONFIG, shards, 1) for shards in (_FEW, _MANY)],
        databases,
    )
    each = (median(many) - median(few)) / (_MANY - _FEW)
    return Figure("each further shard in one process", 0.06, " s", each, "")


def _far(servers: Servers, rows: int, rounds: int) -> Figure:
    config = replace(_CONFIG, batch_size=2_000)
    with (
        servers.filled("far", rows, fill_small) as databases,
        proxy_far_away(databases.source.server) as near,
        proxy_far_away(databases.target.server) as far,
    ):
        slow = databases.by_ports(near, far)
        one, eight = _in_turn(
            rounds,
            [partial(_plain, slow, config), partial(_sharded, slow, config, 8, 8)],
            databases,
        )
    return _ratio("20 ms each way, 2,000 rows a batch, 8 shards, of one pair", 0.30, eight, one)


def _in_turn(
    rounds: int, ways: Sequence[Callable[[], object]], databases: Databases
) -> list[list[float]]:
    """Return the seconds of each way to copy, which take turns."""
    seconds: list[list[float]] = [[] for _ in ways]
    for turn in range(rounds):
        order = range(len(ways)) if turn % 2 else reversed(range(len(ways)))
        for way in order:
            databases.empty_target()
            began = time.monotonic()
            ways[way]()
            seconds[way].append(time.monotonic() - began)
        progress(", ".join(f"{each[-1]:.2f} s" for each in seconds))
    return seconds


def _plain(databases: Databases, config: Config) -> None:
    copy_table(config, databases.pool, "PROD", "STATS")


def _sharded(
    databases: Databases,
    config: Config,
    shards: int,
    jobs: int,
    observer: Callable[[Event], None] | None = None,
) -> None:
    report = copy_sharded(
        config, databases.pool, "PROD", "STATS", shards=shards, jobs=jobs, observer=observer
    )
    if report.rows != databases.source.value("SELECT count(*) FROM profiles"):
        raise AssertionError(f"rows are missing: {report}")


def _ratio(title: str, goal: float, one: list[float], other: list[float]) -> Figure:
    of = f"{median(one):.2f} s of {median(other):.2f} s"
    return Figure(title, goal, "", median(one) / median(other), of)


def _show(found: Sequence[Figure]) -> None:
    table = Table(title=f"Sharded runs, {os.cpu_count()} processors", title_justify="left")
    for name in ("", "goal", "measured", "of"):
        table.add_column(name, justify="left" if name in {"", "of"} else "right")
    for each in found:
        goal, measured = (f"{value:.2f}{each.unit}" for value in (each.goal, each.measured))
        table.add_row(each.title, f"<= {goal}", measured, each.of)
    Console().print(table)


if __name__ == "__main__":
    main()
