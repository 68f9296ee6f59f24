"""`pipecopy demo`: a copy between two servers of its own, and what it survives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pipecopy.cli.codes import Exit
from pipecopy.cli.exits import Ending, failed
from pipecopy.cli.kinds import Flag, Whole, bounds, described
from pipecopy.cli.main import StoppedBySignal, stop_behind
from pipecopy.cli.options import Err, Output, Signals
from pipecopy.cli.streams import Stream
from pipecopy.demo.faults import FaultyPool, deadlock_in_c
from pipecopy.demo.pair import MOST_ROWS, Pair, started_pair
from pipecopy.demo.servers import OpenTransaction
from pipecopy.events import CallEnded, CallStarted, Event, Where, WorkerKilled
from pipecopy.observers.display import Screen, stamped
from pipecopy.observers.summary import summary_lines
from pipecopy.operations.copy import copy_table
from pipecopy.report import CopyReport
from pipecopy.units import seconds_text


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
        with started_pair(rows, lambda line: _write(err, line)) as pair:
            report = _copy_with_hangs(pair, err) if hang else _copy(pair, err)
            _write(err, *map(stamped, summary_lines(report)))
            return _comparison(pair, err)
    except (Exception, StoppedBySignal) as error:  # noqa: BLE001 - an ending names each
        signals.ignore()
        shown = Output(traceback=traceback)
        return failed(stop_behind(error), shown, "demo")


def _copy(pair: Pair, err: Stream) -> CopyReport:
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
                    return f"{self._cause(where)}\n   Its limit is {seconds_text(limit)}."
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


def _copy_with_hangs(pair: Pair, err: Stream) -> CopyReport:
    hangs = _Hangs(deadlock_at=max(1, pair.rows * 3 // 10), locked_at=max(1, pair.rows * 6 // 10))
    pool = FaultyPool(
        pool=pair.pool,
        at=hangs.deadlock_at,
        strike=deadlock_in_c,
        memory=pair.prod.folder.with_name("has-hung"),
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


def _comparison(pair: Pair, err: Stream) -> Ending:
    _write(err, "Comparing the two tables, by a checksum of all values on each server")
    sums = pair.checksums()
    for name, (count, checksum) in sums.items():
        _write(err, f"  {name:5} {count:,} rows, {checksum}")
    equal = len(set(sums.values())) == 1
    _write(err, "The tables are equal." if equal else "The tables differ!")
    return Ending(code=Exit.DONE if equal else Exit.MISMATCH)


def _write(err: Stream, *lines: str) -> None:
    for line in lines:
        err.write(f"{line}\n")
