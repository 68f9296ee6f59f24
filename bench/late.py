"""`python -m bench.late`: copies while 40 sessions commit late, without and with `settle`.

Exit code 0 if no row was missed without a warning, and none at all with `settle`; 1 otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from bench import load
from pipecopy import Config, copy_table
from pipecopy.postgres import PostgresPool
from tests.support.databases import TemporaryDatabase, temporary_database
from tests.support.profiles import create_profiles
from tests.support.servers import QUICK, PostgresServer

_FIRST_ROWS = 5_000
_SETTLE = 60.0
_OPEN = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = %(name)s"
    " AND xact_start < %(now)s"
)
_PREPARED = "SELECT count(*) FROM pg_prepared_xacts WHERE gid = ANY (%(gids)s)"


@dataclass
class _Counts:
    """What became of the copies of one kind."""

    copies: int = 0
    rows_missed: int = 0
    with_rows_missed: int = 0
    missed_without_warning: int = 0
    warned: int = 0
    seconds: float = 0.0
    longest: float = 0.0

    def shown(self, kind: str) -> str:
        mean = self.seconds / max(1, self.copies)
        return (
            f"{kind}: {self.copies} copies, {self.rows_missed} rows missed in"
            f" {self.with_rows_missed} of them, {self.missed_without_warning} of these without the"
            f" warning; {self.warned} copies warned; {mean:.2f} s a copy, {self.longest:.2f} s the"
            " longest"
        )


def main() -> None:
    options = _options()
    without, settled = _Counts(), _Counts()
    with _databases() as (source, target), _load(source, options.seed, options.sessions):
        for number in range(options.copies):
            _copy(source, target, 0, without)
            _copy(source, target, _SETTLE, settled)
            if number % 10 == 9:
                print(f"{number + 1} of {options.copies}", file=sys.stderr, flush=True)
    print(without.shown("without settle"))
    print(settled.shown(f"with settle={_SETTLE:g}"))
    bad = without.missed_without_warning or settled.rows_missed or settled.warned
    sys.exit(1 if bad else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.late", description=__doc__)
    parser.add_argument("--copies", type=int, default=200, help="of each kind; default: 200")
    parser.add_argument("--sessions", type=int, default=40, help="default: 40")
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    return parser.parse_args()


@contextlib.contextmanager
def _databases() -> Iterator[tuple[TemporaryDatabase, TemporaryDatabase]]:
    many = {**QUICK, "max_connections": "100", "max_prepared_transactions": "100"}
    with (
        PostgresServer(16, many) as prod,
        PostgresServer(18, QUICK) as stats,
        temporary_database(prod) as source,
        temporary_database(stats) as target,
    ):
        create_profiles(source, _FIRST_ROWS)
        create_profiles(target)
        yield source, target


@contextlib.contextmanager
def _load(source: TemporaryDatabase, seed: int, sessions: int) -> Iterator[None]:
    conninfo = source.server.socket_conninfo(source.name)
    process = load.start("late", conninfo, str(seed), str(sessions))
    try:
        yield
    finally:
        load.stop(process)


def _copy(
    source: TemporaryDatabase, target: TemporaryDatabase, settle: float, counts: _Counts
) -> None:
    config = Config(
        batch_size=500,
        max_retries=0,
        retries_delay=0,
        call_timeout=60,
        full_copy_timeout=300,
        read_ahead=1,
        settle=settle,
    )
    report = copy_table(config, PostgresPool(), source.uri, target.uri)
    _wait_for_the_late(source)
    ids = f"SELECT id FROM profiles WHERE id <= {report.max_id}"
    missed = len(set(source.query(ids)) - set(target.query(ids)))
    warned = any("open when the greatest id was read" in warning for warning in report.warnings)
    counts.copies += 1
    counts.rows_missed += missed
    counts.with_rows_missed += missed > 0
    counts.missed_without_warning += missed > 0 and not warned
    counts.warned += warned
    counts.seconds += report.seconds
    counts.longest = max(counts.longest, report.seconds)


def _wait_for_the_late(source: TemporaryDatabase) -> None:
    """Wait until the transactions of this moment have ended, as a superuser sees it."""
    with source.connect() as connection:
        now = connection.execute("SELECT clock_timestamp()").fetchone()
        _wait_until_none(connection, _OPEN, {"name": load.LATE, "now": now and now[0]})
        # by now each of them has ended or is prepared
        prepared = connection.execute("SELECT gid FROM pg_prepared_xacts").fetchall()
        _wait_until_none(connection, _PREPARED, {"gids": [gid for (gid,) in prepared]})


def _wait_until_none(connection: psycopg.Connection, sql: str, values: dict[str, Any]) -> None:
    while connection.execute(sql, values).fetchone() != (0,):
        time.sleep(0.02)  # the server sends no events


if __name__ == "__main__":
    main()
