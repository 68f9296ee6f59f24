"""The run that keeps the others: its session on the target holds the run, and writes the ledger.

It plans before the first shard, finishes after the last one, and ends what is left on all hosts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from pipecopy.arguments import function_call
from pipecopy.config import Config, bad_ids
from pipecopy.contracts import ConnectionPool, ListedTable
from pipecopy.errors import ConfigError, DatabaseError, PipecopyError
from pipecopy.events import Observer
from pipecopy.operations.parts import last_words, new_part, warn_once
from pipecopy.operations.shards.plan import TableCopy, shards_of
from pipecopy.operations.shards.planned import Planned
from pipecopy.operations.shards.references import circular_text, references
from pipecopy.operations.shards.share import default_shards, share
from pipecopy.operations.shards.tables import TableSteps
from pipecopy.report import Report
from pipecopy.shard import Shard, table_text
from pipecopy.supervisor.run import Run
from pipecopy.supervisor.state import CutShortError
from pipecopy.supervisor.supervise import supervise

ReportT = TypeVar("ReportT", bound=Report)


def keep(
    operation: Callable[[Run[ReportT]], None],
    report: ReportT,
    config: Config,
    pool: ConnectionPool,
    names: tuple[str, str],
    *,
    observer: Observer | None,
    stop: threading.Event | None,
) -> ReportT:
    """Run an operation on the ledger; see `supervise`. What copies rows keeps to the pace."""
    return supervise(
        operation,
        report,
        unpaced(config),
        pool,
        names,
        mode="copy",
        writes=True,
        observer=observer,
        stop=stop,
        part=new_part("run"),
    )


def unpaced(config: Config) -> Config:
    """Return the limits of a run whose parts keep to the pace."""
    slow = replace(config, max_rate_bytes=None, max_rate_rows=None, pause_file=None)
    return replace(slow, max_lag=None, max_load=None)


def refuse_bad_tables(tables: Sequence[TableCopy]) -> None:
    """Raise ConfigError for wrong arguments."""
    bad = [wrong for table in tables for wrong in bad_ids(table.from_id, table.to_id)]
    if not tables:
        bad.append("tables is empty")
    if bad:
        raise ConfigError("; ".join(dict.fromkeys(bad)))


def report_of(kind: type[ReportT], tables: Sequence[TableCopy], names: tuple[str, str]) -> ReportT:
    """Return the report of a run of these tables that has just begun; of several it names none."""
    report = kind.of(tables[0].pool, *names)
    if len(tables) > 1:
        report = replace(report, table=None, target_table=None, key=None)
    return report


def make_plan(
    run: Run[Any], steps: TableSteps, tables: Sequence[TableCopy], shards: int | None
) -> Planned:
    """Plan the shards of all tables, and write them into the ledger. Raises what ends a plan."""
    while True:
        try:
            return _make_plan(run, steps, tables, shards)
        except DatabaseError as error:
            if not (error.in_use and error.passes and run.config.wait):
                raise  # else another run was planned at the same time: the next plan waits for it


def _make_plan(
    run: Run[Any], steps: TableSteps, tables: Sequence[TableCopy], shards: int | None
) -> Planned:
    sizes = _sizes(run, tables, needed=shards is None)
    if None in sizes:  # by rows, then, once those are known
        total = shards or default_shards(steps.jobs)
        plans = steps.plan(tables, [max(1, total - len(tables) + 1)] * len(tables))
        parts = share([plan.rows for plan in plans], total, steps.jobs)
    else:
        parts = share(sizes, shards, steps.jobs)
        plans = steps.plan(tables, parts)
        plans = [replace(plan, bytes=size) for plan, size in zip(plans, sizes, strict=True)]
    found = {plan.table: (table, plan) for table, plan in zip(tables, plans, strict=True)}
    if len(found) < len(tables):
        into = [table_text(plan.table) for plan in plans]
        twice = sorted({table for table in into if into.count(table) > 1})
        raise ConfigError(f"several tables would be copied into {', '.join(twice)}: name one")
    refer = references(run, list(found))
    in_order = sorted(zip(plans, parts, strict=True), key=lambda each: refer.depth(each[0].table))
    of_all = shards_of(run.report.run_id, in_order)
    if len(of_all) > 1:
        warn_once(run, map(circular_text, refer.circular))
    _write(run, of_all)
    return Planned(tables=found, shards=of_all, references=refer)


def _write(run: Run[Any], shards: Sequence[Shard]) -> None:
    """Write the shards into the ledger; if that fails, see that they are not in it."""
    try:
        run.call(run.target, "plan_shards", shards)
    except Exception as error:
        if not (isinstance(error, DatabaseError) and error.in_use):  # else it was refused
            _forget(run)
        raise


def _forget(run: Run[Any]) -> None:
    """Take back a run that may have been planned: nobody knows its id, or would go on with it."""
    end_all(run)  # a session that was cut off may be about to write it
    run_id = run.report.run_id
    try:
        with run.last_steps():
            run.call(run.target, "drop_run", run_id, False, limit=last_words(run), retry=False)
    except (PipecopyError, CutShortError):
        run.warn(
            f"the ledger of {run.target} may have the run {run_id}, of which nothing is copied:"
            f" drop it with {function_call('drop_run', run=run_id)}"
        )


def _sizes(run: Run[Any], tables: Sequence[TableCopy], *, needed: bool) -> list[int | None]:
    """Return the bytes of each table, None if that is not known, or not `needed` for one alone."""
    names = [table.name for table in tables]
    if not (needed or len(tables) > 1) or None in names or "tables" not in run.source.offers:
        return [None] * len(tables)
    found: Sequence[Sequence[ListedTable]] = run.call(run.source, "tables", [], names)
    return [each[0]["bytes"] if each else None for each in found]


def finish_tables(run: Run[Any], steps: TableSteps, planned: Planned) -> Sequence[Shard]:
    """Do what comes once after the last shard, and drop the run from the ledger.

    Returns the shards that are not done after all, since the target has failed over and has lost
    what they had saved: the ledger says so, and still has the run.
    """
    with run.last_steps():
        steps.finish(planned.tables.values())
        lost: Sequence[Shard] = run.call(run.target, "drop_run", run.report.run_id, True)
    return lost


def end_all(run: Run[Any]) -> None:
    """Let no attempt save any more, and end the sessions of the run on all hosts, if possible."""
    until = run.clock.now() + last_words(run)

    def how() -> dict[str, Any]:
        return {"limit": max(0.05, until - run.clock.now()), "retry": False}

    run.cut_short()
    with run.last_steps(), suppress(PipecopyError, CutShortError):
        source = None
        if run.source.offers:  # it was connected once
            with suppress(PipecopyError):
                source = run.begin(run.source, "end_run", run.report.run_id, **how())
        if run.target.offers:
            are_stopped = _stop(run, **how())
            with suppress(PipecopyError):
                run.call(run.target, "end_run", run.report.run_id, **how())
            if not are_stopped:  # a session that is ended now had one of them locked
                _stop(run, **how())
        run.wait(source)


def _stop(run: Run[Any], **how: Any) -> bool:
    """Let no attempt save any more; False if that failed."""
    with suppress(PipecopyError):
        run.call(run.target, "stop_shards", run.report.run_id, False, **how)
        return True
    return False


def ask_how_far(run: Run[Any]) -> Sequence[Shard]:
    """Return what the ledger says in the end; nothing if it does not answer in time."""
    if run.target.offers:
        limit = max(0.05, last_words(run))
        with run.last_steps(), suppress(PipecopyError, CutShortError):
            shards: Sequence[Shard] = run.call(
                run.target, "shards", run.report.run_id, limit=limit, retry=False
            )
            return shards
    return ()
