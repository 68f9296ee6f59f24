"""verify_tables: both tables are compared on their servers, and put right where that is asked."""

from __future__ import annotations

from collections import deque
from typing import Any

from pipecopy.arguments import bad_ids
from pipecopy.config import Config
from pipecopy.contracts import ConnectionPool, Mode, TableDescription
from pipecopy.errors import ConfigError
from pipecopy.events import (
    DifferencesFound,
    Observer,
    RangeKnown,
    RangeVerified,
)
from pipecopy.operations.bisection import Bisection, Suspects
from pipecopy.operations.compare import Compared, Comparison, Differences
from pipecopy.operations.copy import finish
from pipecopy.operations.fit import fit_tables
from pipecopy.operations.repairing import Repair
from pipecopy.operations.settle import Settling
from pipecopy.report import Outcome, VerifyReport
from pipecopy.supervisor.story import Stage
from pipecopy.supervisor.supervise import supervise
from pipecopy.supervisor.tally import LISTED_IDS, VerifyTally
from pipecopy.tables import generated_alike
from pipecopy.workers import Task

_MOMENT = 0.1
"""Seconds after which a row that differed is read again."""
_MOST_SUSPECTS = 10
"""How many lists of suspects wait for that, of some thousand ids each."""
_FIRST_ROWS = 10
"""Rows of the first range: nobody knows yet how large they are."""
_GROWTH = 10
_SHARE = 4
"""A range has so many rows that it takes at most the fourth part of a call's limit."""


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
) -> VerifyReport:
    """Compare the table in the two databases, range by range, by count and checksum.

    A range that differs is narrowed down to the ids. A row that differs is read again a moment
    later, since the source is live; only what differs then is reported.

    Args:
        config: the limits, as for `copy_table`; `batch_size` is the most rows of a range.
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

    Returns:
        What was found, and whether the tables are `equal` now. That they differ is no error.

    Raises:
        ConfigError: an argument is wrong, or the databases can't be compared.
        TableMismatchError: the two tables do not fit together.
        CallTimeoutError, FullCopyTimeoutError, DatabaseError: as from `copy_table`; the report on
            the error has what was found until then.

    """
    bad = bad_ids(from_id, to_id)
    if delete_surplus and not repair:
        bad.append("delete_surplus does not go without repair")
    if bad:
        raise ConfigError("; ".join(bad))
    tally = VerifyTally.of(from_name, to_name)
    tally.repair, tally.delete_surplus = repair, delete_surplus
    story = _VerifyStory(tally, from_id, to_id)
    return supervise(config, pool, from_name, to_name, story, observer=observer)


class _VerifyStory:
    what = "verification"
    mode: Mode = "verify"

    def __init__(
        self,
        tally: VerifyTally,
        from_id: int,
        to_id: int | None,
    ) -> None:
        self.tally = tally
        self.writes = tally.repair
        self.deletes = tally.delete_surplus
        self._from_id = from_id
        self._to_id = to_id

    def tell(self, stage: Stage) -> None:
        """Connect, look at both tables, compare range by range."""
        for seat in (stage.source, stage.target):
            stage.connect(seat)
        stage.target.offers -= {"create"}  # without a table there is nothing to verify
        _look_at_offers(stage, delete_surplus=self.deletes)
        self._look_at_generated(stage, *fit_tables(stage))
        max_id: int = max(stage.call_both(Task("get_max_id")))
        settling = Settling(stage)
        if self._to_id is not None:
            max_id = min(max_id, self._to_id)
        self.tally.begins(self._from_id, max_id)
        if 0 < max_id >= self._from_id:
            settling.wait(
                "the first rows were compared",
                f"rows with ids up to {max_id} may be missing in the target, unseen",
                remedy="run `verify` again when they have ended, or with `--settle`.",
            )
        stage.run.notify(RangeKnown(first_id=self._from_id, max_id=max_id))
        if self._from_id == 0 and self._to_id is None:  # else they are not asked for
            _count_rows_without_id(stage, self.tally)
        comparison = Comparison(stage, generated=bool(self.tally.generated))
        repair = Repair(stage, comparison, delete_surplus=self.deletes)
        ranges = _Ranges(stage, comparison, self.tally, repair if self.writes else None)
        ranges.verify(self._from_id, max_id)
        if self.writes:  # also where an earlier repair was cut short before this
            finish(stage, max_id)

    def _look_at_generated(self, stage: Stage, source: Any, target: Any) -> None:
        """Note which generated columns are compared: where both drivers do it at all."""
        if not isinstance(source, TableDescription) or not isinstance(target, TableDescription):
            return
        alike, others = generated_alike(source.columns, target.columns)
        if all("copied_checksums" in seat.offers for seat in (stage.source, stage.target)):
            self.tally.generated, self.tally.not_compared = alike, others
        else:
            self.tally.not_compared = tuple(sorted((*alike, *others)))

    def report(self, outcome: Outcome, seconds: float) -> VerifyReport:
        return self.tally.report(outcome, seconds)


def _look_at_offers(stage: Stage, *, delete_surplus: bool) -> None:
    bad = []
    for seat in (stage.source, stage.target):
        needed = ["checksum", "row_checksums"]
        if delete_surplus and seat is stage.target:
            needed.append("delete_rows")
        missing = [call for call in needed if call not in seat.offers]
        if missing:
            bad.append(f"the Database of {seat} has no {' and no '.join(missing)}")
    if bad:
        raise ConfigError(f"the tables can't be compared: {'; '.join(bad)}")


def _count_rows_without_id(stage: Stage, tally: VerifyTally) -> None:
    """Count the target's rows that are in no range; a source with such rows is refused."""
    if "rows_without_id" not in stage.target.offers:
        return
    rows: int = stage.call(stage.target, Task("rows_without_id"))
    if rows:
        tally.found_without_id(rows)
        stage.run.warn(
            f"target: {rows} of its rows have an id that is NULL or negative: they count as"
            " surplus, and are not removed"
        )


class _Ranges:
    """Compares range by range, and settles what differs before the next one."""

    def __init__(
        self, stage: Stage, comparison: Comparison, tally: VerifyTally, repair: Repair | None
    ) -> None:
        self._stage = stage
        self._comparison = comparison
        self._bisection = Bisection(stage.run, comparison)
        self._tally = tally
        self._repair = repair
        self._rows = min(_FIRST_ROWS, stage.run.config.batch_size)
        """Of the next range, at most."""

    def verify(self, first_id: int, max_id: int) -> None:
        """Compare the ids from `first_id` to `max_id`."""
        first, past_last = first_id, max_id + 1
        next_end: int | None = None
        while first < past_last:
            rows = self._rows
            end = next_end or self._comparison.end(first, past_last, rows)
            compared = self._compare((first, end))
            next_end = compared.next_end if self._rows == rows else None
            self._settle_all(compared)
            first = end

    def _compare(self, key_range: tuple[int, int]) -> Compared:
        """Compare a range as a whole, and see by the time it takes how large the next one may be.

        Copying splits a batch by its bytes, for which every row has to be read.
        """
        config, clock = self._stage.run.config, self._stage.run.clock
        began = clock.now()
        compared = self._comparison.compare(key_range)
        seconds = max(clock.now() - began, 0.001)
        growth = min(_GROWTH, config.call_timeout / _SHARE / seconds)
        self._rows = max(1, min(config.batch_size, int(self._rows * growth)))
        return compared

    def _settle_all(self, compared: Compared) -> None:
        before = self._tally.missing, self._tally.surplus, self._tally.differing
        if not compared.equal:
            waiting: deque[Suspects] = deque()
            for suspects in self._bisection.suspects(compared):
                waiting.append(suspects)
                while waiting and (len(waiting) > _MOST_SUSPECTS or self._due(waiting[0]) <= 0):
                    self._settle(waiting.popleft())
            for suspects in waiting:
                self._settle(suspects)
        rows = compared.source.rows
        self._tally.compared(rows=rows, next_id=compared.key_range[1])
        self._stage.run.notify(
            RangeVerified(
                key_range=compared.key_range,
                rows=rows,
                missing=self._tally.missing - before[0],
                surplus=self._tally.surplus - before[1],
                differing=self._tally.differing - before[2],
            )
        )

    def _due(self, suspects: Suspects) -> float:
        """Return the seconds until they may be read again."""
        return suspects.seen_at + _MOMENT - self._stage.run.clock.now()

    def _settle(self, suspects: Suspects) -> None:
        """Read them again, count what still differs, and put it right where that is asked."""
        self._stage.calls.pause(self._due(suspects))
        listed = self._comparison.listed(suspects.found.key_range)
        found = listed.differences.among(suspects.found.ids)
        if not found:
            return
        self._tell(found)
        self._tally.found(missing=found.missing, surplus=found.surplus, differing=found.differing)
        generated = self._comparison.only_generated(found)
        if self._repair is not None:
            found = found.without(generated)  # copying them again would change nothing
            left, deleted = self._repair.put_right(found, listed)
            self._tally.put_right(repaired=len(found) - len(left) - deleted, deleted=deleted)
            generated |= self._comparison.only_generated(left)
        self._tally.left_by_generators(len(generated))

    def _tell(self, found: Differences) -> None:
        """Tell of those that the report will list: of any more, the counts tell."""
        tally = self._tally
        told = DifferencesFound(
            missing=found.missing[: LISTED_IDS - len(tally.missing_ids)],
            surplus=found.surplus[: LISTED_IDS - len(tally.surplus_ids)],
            differing=found.differing[: LISTED_IDS - len(tally.differing_ids)],
        )
        if told.missing or told.surplus or told.differing:
            self._stage.run.notify(told)
