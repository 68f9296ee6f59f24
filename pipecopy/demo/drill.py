"""`pipecopy drill`: one fault after another, each in the middle of a copy, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from pipecopy.cli.codes import Exit, exit_code
from pipecopy.cli.exits import Ending, failed
from pipecopy.cli.kinds import Duration, Flag, Whole, bounds, described
from pipecopy.cli.main import StoppedBySignal
from pipecopy.cli.options import Err, Output, Signals
from pipecopy.cli.streams import Stream
from pipecopy.config import Config
from pipecopy.demo.faults import FaultyPool, deadlock_in_c, stop_this_process
from pipecopy.demo.pair import MOST_ROWS, NAMES, Pair, started_pair
from pipecopy.demo.relay import Relay
from pipecopy.demo.servers import OpenTransaction, crash, restart, run_sql
from pipecopy.errors import PipecopyError
from pipecopy.events import CallEnded, Event
from pipecopy.operations.copy import copy_table
from pipecopy.operations.verify import verify_tables
from pipecopy.postgres import PostgresPool
from pipecopy.units import counted, seconds_text

_FEWEST_ROWS = 100
_LATE = 0.25
"""Seconds after its limit by which a call has to be over, as the whole copy has to."""


def drill(
    *,
    rows: Annotated[
        Whole, bounds(_FEWEST_ROWS, MOST_ROWS), described("Rows in the table.")
    ] = 20_000,
    call_timeout: Annotated[
        Duration, bounds(0.5), described("Time that one database call may take.")
    ] = 2.0,
    traceback: Annotated[Flag, described("Show the tracebacks of an error.")] = False,
    err: Err,
    signals: Signals,
) -> Ending:
    """Tell the drill on `err`; the command line has its help without loading it."""
    say = partial(_write, err)
    try:
        with started_pair(rows, say) as pair, Relay(pair.stats) as relay:
            faults = list(_faults(pair, relay))
            say(f"Each copy meets one fault; a call may take {seconds_text(call_timeout)}")
            passed = [
                _told(f"{number}/{len(faults)}", fault, pair, pair.config(call_timeout), say)
                for number, fault in enumerate(faults, 1)
            ]
    except (Exception, StoppedBySignal) as error:  # noqa: BLE001 - an ending names each
        signals.ignore()
        return failed(error, Output(traceback=traceback), "drill")
    count = f"{sum(passed)} of {counted(len(passed), 'fault')}"
    code = Exit.DONE if all(passed) else Exit.INTERNAL
    return Ending(code=code, lines=(f"{count} ended as promised",))


@dataclass(frozen=True, kw_only=True)
class _Fault:
    """Something that breaks in the middle of a copy."""

    name: str
    what: str
    """What was broken, for its line."""
    pool: FaultyPool
    prepare: Callable[[], Callable[[], object]] = lambda: _nothing
    """Called before the copy; returns what ends the fault, once a call has met it."""
    code: Exit = Exit.DONE
    """What the copy ends with: a fault that makes a call hang is survived."""


def _faults(pair: Pair, relay: Relay) -> Iterator[_Fault]:
    """Yield the faults, each in the middle of the table."""
    folder = pair.stats.folder.parent
    to_relay = PostgresPool({"PROD": pair.prod.conninfo, "STATS": relay.conninfo})
    at = pair.rows // 2

    def pool(name: str, strike: Callable[[], object], of: PostgresPool = pair.pool) -> FaultyPool:
        return FaultyPool(pool=of, at=at, strike=strike, memory=folder / f"struck by {name}")

    rename = "ALTER TABLE profiles RENAME {} TO {}"
    yield _Fault(
        name="deadlock in C",
        what="the driver of PROD waited in C for a mutex of its own, and kept the GIL",
        pool=pool("deadlock", deadlock_in_c),
    )
    yield _Fault(
        name="stopped worker",
        what="the process that reads PROD was stopped (SIGSTOP)",
        pool=pool("stop", stop_this_process),
    )
    yield _Fault(
        name="lock",
        what=f"another session had inserted id {at} on STATS and did not commit",
        pool=pool("lock", _nothing),
        prepare=lambda: (
            OpenTransaction(
                pair.stats,
                f"INSERT INTO profiles (id) VALUES ({at})",  # noqa: S608 - a number
            ).roll_back
        ),
    )
    yield _Fault(
        name="silent network",
        what="the connection to STATS stayed open and carried nothing more",
        pool=pool("silence", relay.silent.touch, to_relay),
    )
    yield _Fault(
        name="killed server",
        what="STATS was shut down at once (SIGQUIT)",
        pool=pool("crash", partial(crash, pair.stats)),
        prepare=lambda: partial(restart, pair.stats),
        code=Exit.AGAIN,
    )
    yield _Fault(
        name="DDL in mid-copy",
        what="a column of the table on STATS was renamed",
        pool=pool("ddl", partial(run_sql, (pair.stats, rename.format("data", "payload")))),
        prepare=lambda: partial(run_sql, (pair.stats, rename.format("payload", "data"))),
        code=Exit.MISMATCH,
    )


def _nothing() -> None:
    """Do nothing: the fault needs no help to begin, or to end."""


def _told(
    number: str, fault: _Fault, pair: Pair, config: Config, say: Callable[[str], None]
) -> bool:
    """Copy the table with the fault, tell it in a line; return whether all was as promised."""
    run_sql((pair.stats, "TRUNCATE profiles"))
    told, broken = _copied(fault, pair, config)
    verified = verify_tables(config, pair.pool, *NAMES)
    prod, stats = pair.checksums().values()
    if not verified.equal or prod != stats:
        broken.append("the tables differ")
    told.append(
        f"verified: {counted(verified.rows, 'row')}, {'equal' if verified.equal else 'not equal'}"
    )
    mark = f"FAILED ({', '.join(broken)})" if broken else "ok"
    say("; ".join((f"{number} {fault.name}: {fault.what}", *told, mark)))
    return not broken


def _copied(fault: _Fault, pair: Pair, config: Config) -> tuple[list[str], list[str]]:
    """Copy the table with the fault; return what came of it, and which promises were broken."""
    hit: list[CallEnded] = []

    def observe(event: Event) -> None:
        if isinstance(event, CallEnded) and event.outcome != "returned":
            hit.append(event)
            if event.outcome == "timed out":
                end()

    end = fault.prepare()
    error = None
    try:
        report = copy_table(config, fault.pool, *NAMES, observer=observe)
    except PipecopyError as raised:
        error, report = raised, raised.report
    code = Exit.DONE if error is None else exit_code(error)
    if error is not None:
        end()
    told = [_call_text(each, config) for each in hit[:1]]
    broken = [] if hit else ["no call met it"]
    broken += [
        f"a call ended {seconds_text(each.seconds - config.call_timeout)} after its limit"
        for each in hit
        if each.seconds > config.call_timeout + _LATE
    ]
    if code != fault.code:
        broken.append(f"exit code {code}: {error}")
    if report.retries != (1 if fault.code == Exit.DONE else 0):
        broken.append(counted(report.retries, "retry"))
    if error is None:
        told.append(f"{counted(report.retries, 'retry')}, then the copy was complete")
        return told, broken
    told.append(f"no retry: exit code {code} with next_id {report.next_id}")
    below = int(
        run_sql((pair.stats, f"SELECT count(*) FROM profiles WHERE id < {report.next_id}"))[0]  # noqa: S608 - a number
    )
    if below != max(0, report.next_id - 1):  # ids begin at 1
        broken.append(f"STATS had {counted(below, 'row')} below next_id")
    copy_table(config, pair.pool, *NAMES, from_id=report.next_id)
    told.append("once that was mended, a copy from there was complete")
    return told, broken


def _call_text(ended: CallEnded, config: Config) -> str:
    limit = seconds_text(config.call_timeout)
    how = "was killed" if ended.outcome == "timed out" else "failed"
    return f"{ended.where.what} {how} after {seconds_text(ended.seconds)} (limit {limit})"


def _write(err: Stream, line: str) -> None:
    err.write(f"{line}\n")
