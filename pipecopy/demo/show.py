"""The demo, from the start of its servers to the comparison of their tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipecopy.cli.display import Screen
from pipecopy.cli.displays import display_for
from pipecopy.cli.endings import Ending
from pipecopy.cli.exits import Exit
from pipecopy.cli.streams import Outlet
from pipecopy.cli.text import summary_lines
from pipecopy.config import Config
from pipecopy.contracts import ConnectionPool
from pipecopy.demo import psql, rows, wheel
from pipecopy.demo.hang import HangingPool
from pipecopy.demo.psql import OpenTransaction
from pipecopy.demo.servers import Server, guarded_folder, start
from pipecopy.demo.story import Hangs, remark
from pipecopy.events import Event
from pipecopy.operations.copy import copy_table
from pipecopy.postgres import PostgresPool
from pipecopy.report import CopyReport

_BATCHES = 20
_FULL_COPY_TIMEOUT = 3600.0


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where it happens."""

    prod: Server
    stats: Server
    folder: Path
    rows: int

    @property
    def pool(self) -> PostgresPool:
        """The two databases by their names."""
        return PostgresPool({"PROD": self.prod.conninfo, "STATS": self.stats.conninfo})

    def config(self, call_timeout: float) -> Config:
        """Return the limits of the copy."""
        return Config(
            batch_size=max(1, self.rows // _BATCHES),
            max_retries=3,
            retries_delay=0.5,
            call_timeout=call_timeout,
            full_copy_timeout=_FULL_COPY_TIMEOUT,
            read_ahead=1,
        )


def show(err: Outlet, *, rows: int, hang: bool) -> Ending:
    """Show the demo on `err`."""
    with _stage(err, rows) as stage:
        report = _copy_with_hangs(stage, err) if hang else _copy(stage, err)
        _tell(err, *summary_lines(report), *report.warnings)
        return _comparison(stage, err)


@contextmanager
def _stage(err: Outlet, count: int) -> Iterator[Stage]:
    with guarded_folder() as folder:
        _tell(err, f"Starting PROD (PostgreSQL 16) and STATS (PostgreSQL 18) in {folder}")
        wheel.give_to_server_user(folder)
        package = wheel.usable_package(folder)
        prod, stats = start({"prod": 16, "stats": 18}, folder, package)
        stage = Stage(prod=prod, stats=stats, folder=folder, rows=count)
        _tell(err, f"Filling the table profiles on PROD with {count:,} rows")
        psql.run((stage.prod, rows.TABLE), (stage.stats, rows.TABLE))
        psql.run((stage.prod, rows.filling(count)))
        yield stage
    _tell(err, "The servers are stopped, and their folder is removed.")


def _copy(stage: Stage, err: Outlet) -> CopyReport:
    _tell(err, "Copying it to STATS")
    with Screen(display_for(err, quiet=False)) as screen:
        return copy_table(stage.config(30.0), stage.pool, "PROD", "STATS", observer=screen)


def _copy_with_hangs(stage: Stage, err: Outlet) -> CopyReport:
    hangs = Hangs(deadlock_at=max(1, stage.rows * 3 // 10), locked_at=max(1, stage.rows * 6 // 10))
    pool: ConnectionPool = HangingPool(
        pool=stage.pool, hang_at=hangs.deadlock_at, memory=stage.folder / "has-hung"
    )
    other = OpenTransaction(stage.stats, rows.one_row(hangs.locked_at))
    _tell(err, "Copying it to STATS; two calls on the way will hang")

    def observe(event: Event) -> None:
        screen(event)
        if hangs.blocked_save_ended(event):
            other.roll_back()

    display = display_for(err, quiet=False)
    with Screen(display, remark=lambda event: remark(event, hangs)) as screen:
        return copy_table(stage.config(2.0), pool, "PROD", "STATS", observer=observe)


def _comparison(stage: Stage, err: Outlet) -> Ending:
    _tell(err, "Comparing the two tables, by a checksum of all values on each server")
    sums = psql.run((stage.prod, rows.CHECKSUM), (stage.stats, rows.CHECKSUM))
    for name, line in zip(("PROD", "STATS"), sums, strict=True):
        count, checksum = line.split("|")
        _tell(err, f"  {name:5} {int(count):,} rows, {checksum}")
    equal = sums[0] == sums[1]
    _tell(err, "The tables are equal." if equal else "The tables differ!")
    return Ending(code=Exit.DONE if equal else Exit.MISMATCH)


def _tell(err: Outlet, *lines: str) -> None:
    for line in lines:
        err.write(f"{line}\n")
