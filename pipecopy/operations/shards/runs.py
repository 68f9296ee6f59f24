"""runs_of and drop_run: the runs in a target's ledger; nothing else is connected to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import groupby

from pipecopy.config import Config
from pipecopy.contracts import ConnectionPool
from pipecopy.errors import CallTimeoutError
from pipecopy.events import Observer
from pipecopy.operations.shards.keeper import keep
from pipecopy.operations.shards.planned import refuse_bad_run, refuse_without_ledger, shards_of_run
from pipecopy.shard import Shard
from pipecopy.sharded import LedgerRun, RunsReport
from pipecopy.supervisor.run import Run


def runs_of(
    config: Config,
    pool: ConnectionPool,
    from_name: str,
    to_name: str,
    *,
    observer: Observer | None = None,
    stop: threading.Event | None = None,
) -> RunsReport:
    """Return the runs in the target's ledger, which are not complete: also while they run.

    Args:
        config: the limits.
        pool: opens databases by name; its target has to keep a ledger, as PostgreSQL's does.
        from_name: the source's name, for the report: it is not connected to.
        to_name: the target's name, for the pool.
        observer: is called with each event, in a thread of its own.
        stop: once another thread sets it, nothing else begins.

    Raises what `copy_table` raises of the target.

    """
    return _ask(config, pool, (from_name, to_name), _list, observer=observer, stop=stop)


def drop_run(
    config: Config,
    pool: ConnectionPool,
    from_name: str,
    to_name: str,
    *,
    run: str,
    observer: Observer | None = None,
    stop: threading.Event | None = None,
) -> RunsReport:
    """Remove a run from the target's ledger; the rows that it has copied stay.

    Its shards that are copied by hand can save no more. Returns the run as it was. The arguments
    are those of `runs_of`, and `run`, its `run_id`.

    Raises what `runs_of` raises; DatabaseError (`in_use`) if another process is driving the run,
    and ConfigError if there is none of that id.

    """
    refuse_bad_run(run)

    def drop(asked: Run[RunsReport]) -> None:
        asked.call(asked.target, "hold_run", run)
        shards = shards_of_run(asked, run)
        asked.update(runs=(LedgerRun.of(shards),))
        with suppress(CallTimeoutError):  # a session that is ended now has a shard locked
            asked.call(asked.target, "stop_shards", run, False, retry=False)
        asked.call(asked.target, "end_run", run)
        asked.call(asked.target, "drop_run", run, False)
        asked.update(dropped=True)

    return _ask(config, pool, (from_name, to_name), drop, observer=observer, stop=stop)


def _list(asked: Run[RunsReport]) -> None:
    shards: list[Shard] = asked.call(asked.target, "shards", None)
    of_each = groupby(
        sorted(shards, key=lambda each: (each.run, each.shard)), lambda each: each.run
    )
    asked.update(runs=tuple(LedgerRun.of(list(each)) for _, each in of_each))


def _ask(
    config: Config,
    pool: ConnectionPool,
    names: tuple[str, str],
    question: Callable[[Run[RunsReport]], None],
    *,
    observer: Observer | None,
    stop: threading.Event | None,
) -> RunsReport:
    def operate(run: Run[RunsReport]) -> None:
        run.connect_target()
        refuse_without_ledger(run)
        question(run)

    report = RunsReport.of(pool, *names)
    return keep(operate, report, config, pool, names, observer=observer, stop=stop)
