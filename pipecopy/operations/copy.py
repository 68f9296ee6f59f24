"""copy_table: the whole story on one page."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from pipecopy.arguments import bad_ids, bad_resume
from pipecopy.config import Config
from pipecopy.contracts import ConnectionPool, Mode
from pipecopy.errors import (
    ConfigError,
    FullCopyTimeoutError,
    PipecopyError,
    TableMismatchError,
)
from pipecopy.events import Observer, RangeKnown
from pipecopy.operations.batches import Batches
from pipecopy.operations.fit import fit_tables
from pipecopy.operations.settle import Settling
from pipecopy.report import CopyReport, Outcome
from pipecopy.supervisor.seat import Seat
from pipecopy.supervisor.story import Stage
from pipecopy.supervisor.supervise import supervise
from pipecopy.supervisor.tally import CopyTally
from pipecopy.workers import Task

_CONFIRM = 1.0
"""Seconds for which an error of the source is held back to learn what the target still has."""


def copy_table(
    config: Config,
    pool: ConnectionPool,
    from_name: str,
    to_name: str,
    *,
    observer: Observer | None = None,
    resume: bool = False,
    from_id: int = 0,
    to_id: int | None = None,
) -> CopyReport:
    """Copy the table from the database `from_name` to `to_name`, in batches in the order of ids.

    Args:
        config: the limits; `full_copy_timeout` is kept to within 0.25 s, whatever is stuck.
        pool: opens databases by name, in worker processes; it travels there pickled with dill.
        from_name: the source's name, for the pool.
        to_name: the target's name, for the pool.
        observer: is called with each event, in a thread of its own.
        resume: begin at the target's greatest id, itself included; with `from_id` or `to_id`, at
            the greatest of these ids, for which the target has to offer `get_max_id_in`. Saves
            are whole and in the order of ids, so for a target that only an interrupted first copy
            has filled, nothing below is missing; it is not looked at. Not for a pool with a
            `where`.
        from_id: the first id that is copied, at least 0.
        to_id: the last one, itself included; None for the source's greatest.

    Returns:
        How it went: every row that was in the source when its batch was loaded, with an id from
        `first_id` to `max_id`, is in the target, once, with equal values, durably.

    Raises:
        ConfigError: an argument is wrong, the pool can't be pickled, or the script that calls
            this has no `if __name__ == "__main__"` guard; or the target can't resume in a range.
        CallTimeoutError: one call timed out on all its attempts.
        FullCopyTimeoutError: the whole copy reached its limit.
        DatabaseError: a call raised; WorkerCrashedError: a worker died in a call.
        TableMismatchError: the two tables do not fit together, or one changed on the way.

    The report on the error tells how far the copy came: every id below its `next_id` is in the
    target. No signal handlers are installed.

    """
    bad = bad_ids(from_id, to_id) + bad_resume(resume=resume, where=getattr(pool, "where", None))
    if bad:
        raise ConfigError("; ".join(bad))
    extent = Extent(from_id=from_id, to_id=to_id, resume=resume)
    story = _CopyStory(CopyTally.of(from_name, to_name), extent)
    return supervise(config, pool, from_name, to_name, story, observer=observer)


@dataclass(frozen=True, kw_only=True)
class Extent:
    """The ids that a copy was asked for."""

    from_id: int
    to_id: int | None
    """The last one; None for the source's greatest."""
    resume: bool

    @property
    def is_range(self) -> bool:
        """Whether it may be a part of the ids: rows outside of it then tell nothing of it."""
        return self.from_id > 0 or self.to_id is not None

    def last_id(self, greatest: int) -> int:
        """Return the last id, where the source's greatest one is this."""
        return greatest if self.to_id is None else min(greatest, self.to_id)

    def refuse_target_without_ranges(self, target: Seat) -> None:
        """Raise ConfigError where the target can't tell how far a copy of the range came."""
        if self.resume and self.is_range and "get_max_id_in" not in target.offers:
            raise ConfigError(
                "resume does not go with from_id or to_id here: the Database of"
                f" {target} has no get_max_id_in"
            )

    def how_far(self, last_id: int) -> Task | None:
        """Return the call that asks the target how far it is; None where nothing has to be known.

        It returns the greatest id there: of all, or of the range, up to `last_id`.
        """
        if not self.resume:
            return None
        if not self.is_range:
            return Task("get_max_id")
        if last_id < self.from_id:
            return None
        return Task("get_max_id_in", (self.from_id, last_id + 1))


class _CopyStory:
    what = "copy"
    mode: Mode = "copy"
    writes = True
    deletes = False

    def __init__(self, tally: CopyTally, extent: Extent) -> None:
        self.tally = tally
        self._extent = extent

    def tell(self, stage: Stage) -> None:
        """Connect, look at both tables, copy batch by batch, finish."""
        try:
            self._copy(stage)
        except PipecopyError as error:
            self._confirm_after(error, stage)
            raise
        finally:
            if not (stage.target.saved_rows_stand and stage.source.saved_rows_stand):
                self.tally.forfeit(self._extent.from_id)

    def _confirm_after(self, error: PipecopyError, stage: Stage) -> None:
        """See, after an error of the source, that the saved rows that it reports are still there.

        What struck one side may have struck both. The error stays the one that ended the copy.
        """
        limit = min(_CONFIRM, stage.run.config.call_timeout, stage.run.left)
        if error.side == "target" or not self.tally.batches or limit <= 0:
            return
        if "confirm" in stage.target.offers:
            stage.calls.cut_short()
            with suppress(PipecopyError):
                call = stage.calls.begin(stage.target, Task("confirm"), limit=limit, retry=False)
                stage.calls.wait(call)

    def _copy(self, stage: Stage) -> None:
        for seat in (stage.source, stage.target):
            stage.connect(seat)
        self._extent.refuse_target_without_ranges(stage.target)
        fit_tables(stage)
        max_id = self._extent.last_id(stage.call(stage.source, Task("get_max_id")))
        settling = Settling(stage)
        first_id = self._first_id(stage, max_id)
        self.tally.begins(first_id, max_id)
        if 0 < max_id >= first_id:
            settling.wait(
                "the first batch was loaded",
                f"rows with ids up to {max_id} may be missing in the target",
                remedy="run `verify --repair` when they have ended, or copy with `--settle`.",
            )
        stage.run.notify(RangeKnown(first_id=first_id, max_id=max_id))
        batches = Batches(stage.run, stage.calls, stage.crew, self.tally)
        batches.copy(stage.source, stage.target, first_id, max_id)
        finish(stage, max_id)

    def _first_id(self, stage: Stage, max_id: int) -> int:
        from_id, question = self._extent.from_id, self._extent.how_far(max_id)
        if question is None:
            return from_id
        call = stage.calls.begin(stage.target, question, key_range=question.args or None)
        reached: int = stage.calls.wait(call)
        first_id = max(from_id, reached)
        if reached > max_id:  # of all its ids: of a range, none is asked for above
            stage.run.warn(
                f"nothing was copied: the target's greatest id, {reached}, is above {max_id}, the"
                " last one to copy; if no interrupted first copy has filled the target, copy"
                " without resume"
            )
        elif first_id > from_id:
            among = " of the range" if self._extent.is_range else ""
            stage.run.warn(
                f"resumed at id {first_id}, the greatest one{among} in the target: the rows below"
                " were not looked at"
            )
        return first_id

    def report(self, outcome: Outcome, seconds: float) -> CopyReport:
        return self.tally.report(outcome, seconds)


def finish(stage: Stage, max_id: int) -> None:
    """Do what comes after the last batch; every row is saved, so a failure is a warning.

    It is none if the saved rows may be lost: the server failed over, or can no longer be reached,
    or the table changed. Raises what shows it.
    """
    target = stage.target
    if "finish" not in target.offers:
        return
    try:
        warning: str | None = stage.call(target, Task("finish", (max_id,)))
    except PipecopyError as error:
        if not target.saved_rows_stand or isinstance(error, TableMismatchError):
            raise
        if "confirm" in target.offers and stage.run.left > 0:
            with suppress(FullCopyTimeoutError):
                stage.calls.wait(stage.calls.begin(target, Task("confirm"), retry=False))
        warning = str(error)
    if warning:
        stage.run.warn(f"target: {warning}")
