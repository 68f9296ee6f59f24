"""verify_tables: both tables are compared on their servers, and repaired if that is asked for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Any

from pipecopy.arguments import function_call
from pipecopy.config import Config, bad_ids
from pipecopy.contracts import ConnectionPool, TableDescription
from pipecopy.errors import ConfigError, DatabaseError
from pipecopy.events import DifferencesFound, Observer, RangeKnown, RangeVerified
from pipecopy.operations.compare import (
    COMPARING,
    Compared,
    Comparison,
    Differences,
    Suspects,
    Unread,
)
from pipecopy.operations.copy import finish
from pipecopy.operations.fit import fit
from pipecopy.operations.repair import Repair
from pipecopy.operations.settle import Settling
from pipecopy.operations.swaps import warn_of_swaps
from pipecopy.operations.turn import in_turn
from pipecopy.report import LISTED_IDS, VerifyReport
from pipecopy.supervisor.call import KeyRange
from pipecopy.supervisor.run import Run
from pipecopy.supervisor.stop import RANGE
from pipecopy.supervisor.supervise import supervise

_MOMENT = 0.1
"""Seconds after which a row that differed is read again."""
_MOST_SUSPECTS = 10
"""How many lists of suspects wait for that, of some thousand ids each."""
_FIRST_ROWS = 10
"""Rows of the first range: nobody knows yet how large they are."""
_GROWTH = 10
_SHARE = 4
"""A range has so many rows that it takes at most the fourth part of a call's limit."""
_MOST_CUTS = 200
"""How often a range is cut to find the rows that can't be compared: 14 times for one among 10,000.
What is left of it then is noted as a whole."""
_MOST_CUTS_IN_ALL = 4_000
"""In one run: a cut takes 10 ms where rows fail."""


def verify_tables(
    config: Config,
    pool: ConnectionPool,
    from_name: str,
    to_name: str,
    *,
    observer: Observer | None = None,
    repair: bool = False,
    delete_surplus: bool = False,
    from_id: int = 0,
    to_id: int | None = None,
    stop: threading.Event | None = None,
) -> VerifyReport:
    """Compare the table in the two databases, range by range, by count and checksum.

    A range that differs is narrowed down to the ids. A row that differs is read again a moment
    later, since the source is live; only what differs then is reported.

    Args:
        config: the limits, as for `copy_table`; `batch_size` is the most rows of a range, which
            is adapted to `call_timeout`: `batch_time` is for a copy alone.
        pool: as for `copy_table`. Its databases have to offer `checksum` and `row_checksums`, as
            PostgreSQL's do; the target's `delete_rows` too, with `delete_surplus`.
        from_name: the source's name, for the pool.
        to_name: the target's name, for the pool.
        observer: is called with each event, in a thread of its own.
        repair: copy the missing and the differing rows again, and compare those ids once more;
            without it nothing is written, and the target is not locked against a copy.
        delete_surplus: with `repair`, remove the target's rows whose id is not in the source.
        from_id: the first id that is compared, at least 0.
        to_id: the last one, itself included; None for the greatest of both sides.
        stop: once another thread sets it, the range in flight is compared, and repaired, within
            `Config.grace`, and nothing else begins.

    Returns:
        What was found, and whether the tables are `equal` now. That they differ is no error.

    Raises:
        ConfigError: an argument is wrong, or the databases can't be compared.
        TableMismatchError: the two tables do not match.
        CallTimeoutError, FullCopyTimeoutError, DatabaseError, HostError: as from `copy_table`; the
            report on the error has what was found until then.
        StoppedError: `stop` was set, and not all was compared by then; likewise.

    """
    bad = bad_ids(from_id, to_id)
    if delete_surplus and not repair:
        bad.append("`delete_surplus` does not go without `repair`")
    if bad:
        raise ConfigError("; ".join(bad))
    return supervise(
        partial(_verify, from_id=from_id, to_id=to_id),
        VerifyReport.of(pool, from_name, to_name, repair=repair, delete_surplus=delete_surplus),
        config,
        pool,
        (from_name, to_name),
        mode="verify",
        writes=repair,
        deletes=delete_surplus,
        observer=observer,
        stop=stop,
    )


def _verify(run: Run[VerifyReport], from_id: int, to_id: int | None) -> None:

    def look() -> tuple[Any, Any]:
        run.connect()
        run.target.offers -= {"create"}  # without a table there is nothing to verify
        _refuse_without_checksums(run)
        return fit(run)

    _choose_generated(run, *in_turn(run, look))
    run.pace.begin()
    last_id: int = max(call.value for call in run.call_both("get_max_id"))
    settling = Settling(run)
    if to_id is not None:
        last_id = min(last_id, to_id)
    run.update(first_id=from_id, next_id=from_id, max_id=last_id)
    if 0 < last_id >= from_id:
        settling.wait(
            "the first rows were compared",
            f"rows with ids up to {last_id} may be missing in the target, unseen",
            remedy=f"run {function_call('verify_tables')} again when they have ended, or with"
            " `settle`",
        )
    run.notify(RangeKnown(first_id=from_id, max_id=last_id))
    if from_id == 0 and to_id is None:  # else they are not asked for
        _count_rows_without_id(run)
    _Ranges(run).verify(from_id, last_id)
    with run.last_steps():
        if run.report.repair:  # also if an earlier repair was cut short before this
            finish(run, last_id)
        else:
            warn_of_swaps(run)


def _refuse_without_checksums(run: Run[VerifyReport]) -> None:
    """Raise ConfigError with all that the two databases would have to offer."""
    bad = []
    for endpoint in run.endpoints.both:
        needed = ["checksum", "row_checksums"]
        if run.report.delete_surplus and endpoint is run.target:
            needed.append("delete_rows")
        missing = [call for call in needed if call not in endpoint.offers]
        if missing:
            bad.append(f"the Database of {endpoint} has no {' and no '.join(missing)}")
    if bad:
        raise ConfigError(f"the tables can't be compared: {'; '.join(bad)}")


def _choose_generated(run: Run[VerifyReport], source: Any, target: Any) -> None:
    """Note which generated columns are compared: if both drivers do it at all."""
    if not isinstance(source, TableDescription) or not isinstance(target, TableDescription):
        return
    here, there = (
        {column.name: column for column in table.columns if column.generated is not None}
        for table in (source, target)
    )
    compares = all("copied_checksums" in endpoint.offers for endpoint in run.endpoints.both)
    alike = {
        name
        for name in here.keys() & there.keys()
        if compares and here[name].is_computed_like(there[name])
    }
    others = (here.keys() | there.keys()) - alike
    run.update(generated=tuple(sorted(alike)), not_compared=tuple(sorted(others)))


def _count_rows_without_id(run: Run[VerifyReport]) -> None:
    """Count the target's rows that are in no range; a source with such rows is refused."""
    if "rows_without_id" not in run.target.offers:
        return
    rows: int = run.call(run.target, "rows_without_id")
    if rows:
        run.update(surplus=run.report.surplus + rows, without_id=rows)
        run.warn(
            f"{run.target}: {rows} rows have an id that is NULL or negative: they count as"
            " surplus, and are not removed"
        )


class _Ranges:
    """Compares range by range; the ids that differ in one are found before the next one."""

    def __init__(self, run: Run[VerifyReport]) -> None:
        self._run = run
        self._comparison = Comparison(run, generated=bool(run.report.generated))
        self._repair = Repair(run, self._comparison)
        self._rows = min(_FIRST_ROWS, run.config.batch_size)
        """Of the next range, at most."""
        self._cuts = 0
        """How often ranges were cut to find the rows that can't be compared."""

    def verify(self, first_id: int, last_id: int) -> None:
        """Compare the ids from `first_id` to `last_id`."""
        dense = False
        while first_id <= last_id:
            with self._run.unit(RANGE):
                if dense:  # so many ids are so many rows: the question, a round trip, is spared
                    end = min(first_id + self._rows, last_id + 1)
                else:
                    end = self._comparison.end(first_id, last_id + 1, self._rows)
                rows = self._rows
                compared = self._compare((first_id, end))
                if isinstance(compared, Compared):
                    self._run.pace.took(rows=compared.source.rows, size=0)
                dense = compared.has_each_id
                most_cuts = min(self._cuts + _MOST_CUTS, _MOST_CUTS_IN_ALL)
                for part in self._parts(compared, rows, most_cuts):
                    self._look_into(part)
            first_id = end

    def _parts(self, compared: Compared | Unread, rows: int, most_cuts: int) -> Iterator[Compared]:
        """Yield the parts of a range of so many rows that can be compared; note what can't."""
        if isinstance(compared, Compared):
            yield compared
            return
        first, past_last = compared.key_range
        if past_last - first > 1 and self._cuts < most_cuts:
            self._cuts += 1
            for half in self._comparison.cut(compared.key_range, rows):
                yield from self._parts(self._comparison.compare(half), (rows + 1) // 2, most_cuts)
        else:
            self._run.report = self._run.report.unread(compared.noted())
            self._verified(compared.key_range)

    def _compare(self, key_range: KeyRange) -> Compared | Unread:
        """Compare a range as a whole, and see by the time it takes how large the next one may be.

        Copying splits a batch by its bytes, for which every row has to be read.
        """
        config, clock = self._run.config, self._run.clock
        began = clock.now()
        compared = self._comparison.compare(key_range)
        seconds = max(clock.now() - began, 0.001)
        growth = min(_GROWTH, config.call_timeout / _SHARE / seconds)
        self._rows = max(1, min(config.batch_size, int(self._rows * growth)))
        return compared

    def _look_into(self, compared: Compared) -> None:
        """Find the ids of a range that differ, and count it as verified."""
        before = self._run.report
        try:
            self._find_differences(compared)
        except DatabaseError as error:
            # a row that came after the range was compared
            if not error.is_of_a_row or error.call not in COMPARING:
                raise
            unread = Unread(compared.key_range, error, lacking=None)
            self._run.report = self._run.report.unread(unread.noted())
        self._verified(compared.key_range, compared.source.rows, before)

    def _find_differences(self, compared: Compared) -> None:
        if not compared.equal:
            waiting: deque[Suspects] = deque()
            for suspects in self._comparison.suspects(compared):
                waiting.append(suspects)
                while waiting and (len(waiting) > _MOST_SUSPECTS or self._due(waiting[0]) <= 0):
                    self._look_again(waiting.popleft())
            for suspects in waiting:
                self._look_again(suspects)

    def _verified(
        self, key_range: KeyRange, rows: int = 0, before: VerifyReport | None = None
    ) -> None:
        """Count a range of so many rows as verified; `before`: the report when that began."""
        run, report = self._run, self._run.report
        before = before or report
        run.update(rows=report.rows + rows, ranges=report.ranges + 1, next_id=key_range[1])
        run.notify(
            RangeVerified(
                key_range=key_range,
                rows=rows,
                missing=report.missing - before.missing,
                surplus=report.surplus - before.surplus,
                differing=report.differing - before.differing,
            )
        )

    def _due(self, suspects: Suspects) -> float:
        """Return the seconds until they may be read again."""
        return suspects.seen_at + _MOMENT - self._run.clock.now()

    def _look_again(self, suspects: Suspects) -> None:
        """Read them again, count what still differs, and repair it if that is asked for."""
        run = self._run
        run.pause(self._due(suspects))
        listed = self._comparison.listed(suspects.found.key_range)
        found = listed.differences.among(suspects.found.ids)
        if not found:
            return
        _notify_of(run, found)
        run.report = run.report.found(
            missing=found.missing, surplus=found.surplus, differing=found.differing
        )
        generated = self._comparison.only_generated(found)
        if run.report.repair:
            found = found.without(generated)  # copying them again would change nothing
            done = self._repair.repair(found, listed)
            run.update(
                repaired=run.report.repaired + len(found) - len(done.left) - done.deleted,
                deleted=run.report.deleted + done.deleted,
            )
            generated |= self._comparison.only_generated(done.left)
        run.update(differing_generated=run.report.differing_generated + len(generated))


def _notify_of(run: Run[VerifyReport], found: Differences) -> None:
    """Notify of those that the report will list; any more are in its counts."""
    report = run.report
    event = DifferencesFound(
        missing=found.missing[: LISTED_IDS - len(report.missing_ids)],
        surplus=found.surplus[: LISTED_IDS - len(report.surplus_ids)],
        differing=found.differing[: LISTED_IDS - len(report.differing_ids)],
    )
    if event.missing or event.surplus or event.differing:
        run.notify(event)
