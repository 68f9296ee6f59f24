"""check_each and verify_each: many tables, one after the other, in one run with one report."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Generic, TypeAlias, TypeVar

from pipecopy.config import Config
from pipecopy.errors import FullCopyTimeoutError, PipecopyError
from pipecopy.events import Event, Observer, RunEnded, RunStarted, StopRequested, Warned
from pipecopy.finding import warning
from pipecopy.operations.check import check_one
from pipecopy.operations.parts import left_for_parts, of_whole_run, on_each
from pipecopy.operations.shards.keeper import refuse_bad_tables, report_of, unpaced
from pipecopy.operations.shards.plan import TableCopy
from pipecopy.operations.shards.references import circular_text, references
from pipecopy.operations.verify import refuse_bad_arguments, verify_one
from pipecopy.report import CheckReport, Report, VerifyReport
from pipecopy.sharded import CheckedTables, VerifiedTables
from pipecopy.supervisor.run import Run
from pipecopy.supervisor.supervise import supervise

OneReport = TypeVar("OneReport", bound=Report)
One: TypeAlias = Callable[[Config, TableCopy, Observer, threading.Event], OneReport]
"""Looks at one table: with these limits, until the event is set."""

_SUMMED = ("calls", "timeouts", "kills", "retries")
_COUNTED = (
    *("rows", "ranges", "missing", "surplus", "differing", "not_comparable", "not_repaired"),
    *("repaired", "deleted", "without_id", "differing_generated"),
)
_LAST_WORDS = 1.0
"""Seconds in which those under way close their databases, once the run ends."""
_CLOSE = 0.1
"""Seconds of these, within the limit of the whole run, that are left for its own end."""
_AT_ONCE = 4
"""Tables that are checked at once: a check asks little of a server."""


def check_each(
    config: Config,
    tables: Sequence[TableCopy],
    from_name: str,
    to_name: str,
    *,
    shards: int | None = None,
    observer: Observer | None = None,
    stop: threading.Event | None = None,
) -> CheckedTables:
    """Say whether `copy_tables` with these arguments can start: see `check_copy`.

    Args:
        config: the limits of the whole check.
        tables: as for `copy_tables`.
        from_name: the source's name, for the pools.
        to_name: the target's name, for the pools.
        shards: as for `copy_tables`; the targets are looked at as those of shards.
        observer: is called with each event; those of a table have its name.
        stop: once another thread sets it, the check ends.

    Returns:
        What was found of each table, and of all together.

    Raises what `check_copy` raises.

    """
    refuse_bad_tables(tables)
    names = (from_name, to_name)

    def check(
        limits: Config, table: TableCopy, observe: Observer, abort: threading.Event
    ) -> CheckReport:
        return check_one(
            limits,
            table.pool,
            names,
            from_id=table.from_id,
            to_id=table.to_id,
            shards=shards or 1,
            observer=observe,
            stop=stop,
            abort=abort,
        )

    def operate(run: Run[CheckedTables]) -> None:
        _Each(run, check).look(tables, jobs=_AT_ONCE)
        items = [
            replace(item, message=f"{report.table}: {item.message}")
            for report in run.report.tables
            for item in report.items
        ]
        with suppress(PipecopyError):  # which the checks of the tables have met as well
            items += _circular(run, [str(report.target_table) for report in run.report.tables])
        run.update(items=tuple(items))

    report, limits = report_of(CheckedTables, tables, names), unpaced(config)
    pool = tables[0].pool
    return supervise(
        operate, report, limits, pool, names, mode="check", observer=observer, stop=stop
    )


def _circular(run: Run[CheckedTables], names: Sequence[str]) -> list[Any]:
    run.connect_target()
    if "tables" not in run.target.offers:
        return []
    found = run.call(run.target, "tables", [], names)
    keys = references(run, [one["name"] for each in found for one in each]).circular
    return [replace(warning(circular_text(key), what="references"), side="target") for key in keys]


def verify_each(
    config: Config,
    tables: Sequence[TableCopy],
    from_name: str,
    to_name: str,
    *,
    repair: bool = False,
    delete_surplus: bool = False,
    observer: Observer | None = None,
    stop: threading.Event | None = None,
    jobs: int = 1,
) -> VerifiedTables:
    """Compare many tables, one after the other: see `verify_tables`, which compares one.

    Args:
        config: the limits of the whole verification.
        tables: what is compared, each with its own `pool` and its `config` (but for
            `full_copy_timeout`).
        from_name: the source's name, for the pools.
        to_name: the target's name, for the pools.
        repair: as for `verify_tables`, as are `delete_surplus`, `stop` and `jobs`.
        delete_surplus: with `repair`, remove the target's rows whose id is not in the source.
        observer: is called with each event; those of a table have its name.
        stop: once another thread sets it, nothing else begins.
        jobs: how many ranges of a table are compared at once.

    Returns:
        The sums of what was found, and the report of each table.

    Raises what `verify_tables` raises: an error ends the run, tables that differ do not.

    """
    refuse_bad_tables(tables)
    refuse_bad_arguments(0, None, repair=repair, delete_surplus=delete_surplus, jobs=jobs)
    names = (from_name, to_name)

    def verify(
        limits: Config, table: TableCopy, observe: Observer, abort: threading.Event
    ) -> VerifyReport:
        return verify_one(
            limits,
            table.pool,
            names,
            repair=repair,
            delete_surplus=delete_surplus,
            from_id=table.from_id,
            to_id=table.to_id,
            jobs=jobs,
            observer=observe,
            stop=stop,
            abort=abort,
        )

    def operate(run: Run[VerifiedTables]) -> None:
        _Each(run, verify, _COUNTED).look(tables, jobs=1)

    report = replace(
        report_of(VerifiedTables, tables, names),
        repair=repair,
        delete_surplus=delete_surplus,
        jobs=jobs,
    )
    return supervise(
        operate,
        report,
        unpaced(config),
        tables[0].pool,
        names,
        mode="verify",
        observer=observer,
        stop=stop,
    )


class _Each(Generic[OneReport]):
    """The tables of one run, each looked at in a run of its own."""

    def __init__(self, run: Run[Any], one: One[OneReport], counted: Sequence[str] = ()) -> None:
        """Of what is `counted` the report has the sums."""
        self._run, self._one, self._summed = run, one, (*_SUMMED, *counted)
        self._abort = threading.Event()
        self._begun: list[threading.Event] = []
        """Each is set when that table's run has ended."""
        self._reports: dict[int, OneReport] = {}

    def look(self, tables: Sequence[TableCopy], *, jobs: int) -> None:
        """Look at each, so many at once; the report has what was found.

        Raises the error of the first that fails.
        """
        try:
            with self._run.unit("the table"):
                on_each(self._run, list(enumerate(tables)), self._look, jobs=jobs, took=self._note)
        except _TableError as failed:
            raise self._error(failed) from failed.error.__cause__
        finally:
            self._abort.set()
            until = time.monotonic() + max(0.05, min(_LAST_WORDS, self._run.left - _CLOSE))
            for each in self._begun:
                each.wait(max(0.0, until - time.monotonic()))

    def _look(self, numbered: tuple[int, TableCopy]) -> tuple[int, OneReport]:
        number, table = numbered
        self._begun.append(ended := threading.Event())

        def observe(event: Event) -> None:
            if not isinstance(event, RunStarted | RunEnded | StopRequested | Warned):
                self._run.notify(replace(event, table=table.name))

        left = max(0.001, left_for_parts(self._run))
        limits = replace(table.config, full_copy_timeout=left)
        try:
            return number, self._one(limits, table, observe, self._abort)
        except PipecopyError as error:
            raise _TableError(number, table, error) from error
        finally:
            ended.set()

    def _note(self, numbered: tuple[int, OneReport]) -> None:
        run, (number, report) = self._run, numbered
        self._reports[number] = report
        for said in report.warnings:
            run.warn(f"{report.table}: {said}")
        run.update(
            tables=tuple(self._reports[each] for each in sorted(self._reports)),
            **{name: getattr(run.report, name) + getattr(report, name) for name in self._summed},
        )

    def _error(self, failed: _TableError) -> PipecopyError:
        """Return the error of the whole run."""
        error = failed.error
        if error.report is not None:
            self._note((failed.number, error.report))
        error.report = None  # that of the whole run comes instead
        if isinstance(error, FullCopyTimeoutError):
            return of_whole_run(self._run, error, failed.name)
        error.args = (f"{failed.name}: {error}", *error.args[1:])
        return error


class _TableError(Exception):
    """The error of one table."""

    def __init__(self, number: int, table: TableCopy, error: PipecopyError) -> None:
        super().__init__()
        self.number, self.error = number, error
        self.name = table.name or "a table"
