"""copy_table: the whole story on one page."""

from __future__ import annotations

from pipecopy.arguments import bad_ids, bad_resume
from pipecopy.batches import Batches
from pipecopy.config import Config
from pipecopy.contracts import ConnectionPool, Purpose
from pipecopy.errors import ConfigError, PipecopyError
from pipecopy.events import CopyEnded, CopyStarted, Event, Observer, RangeKnown
from pipecopy.fitting import fit_tables
from pipecopy.report import CopyReport, Outcome
from pipecopy.story import Stage
from pipecopy.supervisor import supervise
from pipecopy.tally import CopyTally
from pipecopy.workers import Task


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
        resume: begin at the target's greatest id, itself included. Saves are whole and in the
            order of ids, so for a target that only an interrupted first copy has filled, nothing
            below is missing; it is not looked at. Not for a pool with a `where`.
        from_id: the first id that is copied, at least 0.
        to_id: the last one, itself included; None for the source's greatest.

    Returns:
        How it went: every row that was in the source when its batch was loaded, with an id from
        `first_id` to `max_id`, is in the target, once, with equal values, durably.

    Raises:
        ConfigError: an argument is wrong, the pool can't be pickled, or the script that calls
            this has no `if __name__ == "__main__"` guard.
        CallTimeoutError: one call timed out on all its attempts.
        FullCopyTimeoutError: the whole copy reached its limit.
        DatabaseError: a call raised; WorkerCrashedError: a worker died in a call.
        TableMismatchError: the two tables do not fit together.

    The report on the error tells how far the copy came: every id below its `next_id` is in the
    target. No signal handlers are installed.

    """
    bad = bad_ids(from_id, to_id) + bad_resume(resume=resume, where=getattr(pool, "where", None))
    if bad:
        raise ConfigError("; ".join(bad))
    story = _CopyStory(CopyTally.of(from_name, to_name), from_id, to_id, resume=resume)
    return supervise(config, pool, from_name, to_name, story, observer=observer)


class _CopyStory:
    what = "copy"
    purpose: Purpose = "copy"

    def __init__(self, tally: CopyTally, from_id: int, to_id: int | None, *, resume: bool) -> None:
        self.tally = tally
        self._from_id = from_id
        self._to_id = to_id
        self._resume = resume

    def began(self, config: Config) -> Event:
        tally = self.tally
        return CopyStarted(
            run_id=tally.run_id, source=tally.source, target=tally.target, config=config
        )

    def tell(self, stage: Stage) -> None:
        """Connect, look at both tables, copy batch by batch, finish."""
        for seat in (stage.source, stage.target):
            stage.connect(seat)
        fit_tables(stage)
        max_id: int = stage.call(stage.source, Task("get_max_id"))
        if self._to_id is not None:
            max_id = min(max_id, self._to_id)
        first_id = self._first_id(stage, max_id)
        self.tally.begins(first_id, max_id)
        stage.run.notify(RangeKnown(first_id=first_id, max_id=max_id))
        batches = Batches(stage.run, stage.calls, stage.crew, self.tally)
        batches.copy(stage.source, stage.target, first_id, max_id)
        finish(stage, max_id)

    def _first_id(self, stage: Stage, max_id: int) -> int:
        if not self._resume:
            return self._from_id
        reached: int = stage.call(stage.target, Task("get_max_id"))
        first_id = max(self._from_id, reached)
        if reached > max_id:
            stage.run.warn(
                f"nothing was copied: the target's greatest id, {reached}, is above {max_id}, the"
                " last one to copy; if no interrupted first copy has filled the target, copy"
                " without resume"
            )
        elif first_id > self._from_id:
            stage.run.warn(
                f"resumed at id {first_id}, the greatest one in the target: the rows below were"
                " not looked at"
            )
        return first_id

    def report(self, outcome: Outcome, seconds: float) -> CopyReport:
        return self.tally.report(outcome, seconds)

    def ended(self, report: CopyReport) -> Event:
        return CopyEnded(report=report)


def finish(stage: Stage, max_id: int) -> None:
    """Do what comes after the last batch; every row is saved, so a failure is a warning."""
    if "finish" not in stage.target.offers:
        return
    try:
        warning = stage.call(stage.target, Task("finish", (max_id,)))
    except PipecopyError as error:
        warning = str(error)
    if warning:
        stage.run.warn(f"target: {warning}")
