"""copy_table: connect, see that the tables fit, copy batch by batch in the order of ids, finish.

::

    read_ahead=0   load 0 │ save 0 │ load 1 │ save 1 │ …
    read_ahead=1   load 0 │ load 1 │ load 2 │ …
                          │ save 0 │ save 1 │ …
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from pipecopy.arguments import function_call
from pipecopy.config import Config, bad_ids, bad_resume
from pipecopy.contracts import ConnectionPool, SavedRows
from pipecopy.errors import (
    ConfigError,
    FullCopyTimeoutError,
    PipecopyError,
    TableMismatchError,
)
from pipecopy.events import BatchSaved, Observer, RangeKnown
from pipecopy.operations.batchsize import BatchSize, Saved
from pipecopy.operations.fit import fit, refuse, too_narrow
from pipecopy.operations.settle import Settling
from pipecopy.operations.turn import in_turn
from pipecopy.report import CopyReport
from pipecopy.supervisor.call import Call
from pipecopy.supervisor.endpoints import Endpoint
from pipecopy.supervisor.run import Loaded, Run
from pipecopy.supervisor.state import CutShortError
from pipecopy.supervisor.supervise import supervise
from pipecopy.units import seconds_text

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
    stop: threading.Event | None = None,
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
        stop: once another thread sets it, the batch in flight is loaded and saved, within
            `Config.grace`, and nothing else begins.

    Returns:
        How it went: every row that was in the source when its batch was loaded, with an id from
        `first_id` to `max_id`, is in the target, once, with equal values, durably.

    Raises:
        ConfigError: an argument is wrong, the pool can't be pickled, or the script that calls
            this has no `if __name__ == "__main__"` guard; or the target can't resume in a range.
        CallTimeoutError: one call timed out on all its attempts.
        FullCopyTimeoutError: the whole copy reached its limit.
        DatabaseError: a call raised; WorkerCrashedError: a worker died in a call.
        TableMismatchError: the two tables do not match, or one changed on the way.
        HostError: this machine refused what a run needs: a process, memory, a descriptor.
        StoppedError: `stop` was set, and not all was saved by then.

    The report on the error tells how far the copy came: every id below its `next_id` is in the
    target. No signal handlers are installed.

    """
    extent = Extent.of(pool, from_id=from_id, to_id=to_id, resume=resume)
    return supervise(
        partial(_copy_or_confirm, extent=extent),
        CopyReport.of(pool, from_name, to_name),
        config,
        pool,
        (from_name, to_name),
        mode="copy",
        writes=True,
        observer=observer,
        stop=stop,
    )


@dataclass(frozen=True, kw_only=True)
class Extent:
    """The ids that a copy was asked for."""

    from_id: int
    to_id: int | None
    """The last one; None for the source's greatest."""
    resume: bool

    @classmethod
    def of(cls, pool: ConnectionPool, *, from_id: int, to_id: int | None, resume: bool) -> Self:
        """Return the ids; raises ConfigError if they, or resuming with this pool, are not valid."""
        where = getattr(pool, "where", None)
        bad = bad_ids(from_id, to_id) + bad_resume(resume=resume, where=where)
        if bad:
            raise ConfigError("; ".join(bad))
        return cls(from_id=from_id, to_id=to_id, resume=resume)

    @property
    def is_range(self) -> bool:
        """Whether it may be a part of the ids: rows outside of it then tell nothing of it."""
        return self.from_id > 0 or self.to_id is not None

    def last_id(self, greatest: int) -> int:
        """Return the last id, if the source's greatest one is this."""
        return greatest if self.to_id is None else min(greatest, self.to_id)

    def refuse_target_without_ranges(self, target: Endpoint) -> None:
        """Raise ConfigError if the target can't tell how far a copy of the range came."""
        if self.resume and self.is_range and "get_max_id_in" not in target.offers:
            raise ConfigError(
                "`resume` does not go with `from_id` or `to_id` here: the Database of"
                f" {target} has no get_max_id_in"
            )

    def how_far(self, last_id: int | None) -> tuple[str, *tuple[int, ...]] | None:
        """Return the call, with its arguments, that asks the target how far it is.

        It returns the greatest id there: of all, or of the range, up to `last_id`. None if nothing
        has to be known, or the range is not known without `last_id`.
        """
        if not self.resume:
            return None
        if not self.is_range:
            return ("get_max_id",)
        if last_id is None or last_id < self.from_id:
            return None
        return ("get_max_id_in", self.from_id, last_id + 1)


def _copy_or_confirm(run: Run[CopyReport], extent: Extent) -> None:
    """Copy, and claim of what was saved no more than is known to be there still."""
    try:
        _copy(run, extent)
    except PipecopyError as error:
        _confirm_after(error, run)
        raise
    finally:
        # whatever was there before the copy resumed may be lost with what it saved
        if not (run.target.saved_rows_stand and run.source.saved_rows_stand):
            run.update(first_id=extent.from_id, next_id=extent.from_id)


def _copy(run: Run[CopyReport], extent: Extent) -> None:

    def look() -> Any:
        run.connect()
        extent.refuse_target_without_ranges(run.target)
        return fit(run)

    _, of_target = in_turn(run, look)
    run.pace.begin()
    last_id, reached = _ask_ids(run, extent)
    settling = Settling(run)
    first_id = _first_id(run, extent, last_id, reached)
    run.update(first_id=first_id, next_id=first_id, max_id=last_id)
    refuse(run, too_narrow(of_target, last_id))
    if 0 < last_id >= first_id:
        settling.wait(
            "the first batch was loaded",
            f"rows with ids up to {last_id} may be missing in the target",
            remedy=f"run {function_call('verify_tables', repair=True)} when they have ended, or"
            " copy with `settle`",
        )
    run.notify(RangeKnown(first_id=first_id, max_id=last_id))
    copy_batches(run, first_id, last_id)
    with run.last_steps():
        finish(run, last_id)
        analyze(run)


def _ask_ids(run: Run[CopyReport], extent: Extent) -> tuple[int, int | None]:
    """Return the last id, and how far the target is; None if nothing has to be known of it."""

    def how_far(last_id: int | None) -> Call | None:
        question = extent.how_far(last_id)
        if question is None:
            return None
        return run.begin(run.target, *question, key_range=question[1:] or None)

    greatest, reached = run.wait_both(run.begin(run.source, "get_max_id"), how_far(None))
    last_id = extent.last_id(greatest)
    return last_id, run.wait(how_far(last_id)) if reached is None else reached


def _first_id(run: Run[CopyReport], extent: Extent, last_id: int, reached: int | None) -> int:
    """Return where the copy begins, or resumes."""
    from_id = extent.from_id
    if reached is None:
        return from_id
    first_id = max(from_id, reached)
    if reached > last_id:  # of all its ids: of a range, none is asked for above
        run.warn(
            f"nothing was copied: the target's greatest id, {reached}, is above {last_id}, the"
            " last one to copy; if no interrupted first copy has filled the target, copy"
            " without `resume`"
        )
    elif first_id > from_id:
        among = " of the range" if extent.is_range else ""
        run.warn(
            f"resumed at id {first_id}, the greatest one{among} in the target: the rows below"
            " were not looked at"
        )
    return first_id


def copy_batches(run: Run[CopyReport], first_id: int, last_id: int) -> None:
    size, saving = BatchSize.of(run.config), None
    while first_id <= last_id:
        if not run.config.read_ahead:
            size, saving = _after(saving, run, size), None
        asked = size.rows
        with run.unit():
            batch = run.load(first_id, last_id + 1, rows=asked)
            size, saving = _after(saving, run, size), None
            if batch.rows:
                call = run.save(batch, on_return=partial(_count, run, batch))
                saving = _Saving(call=call, batch=batch, asked=asked)
            else:
                _count(run, batch, SavedRows(inserted=0, updated=0, unchanged=0))
        first_id = batch.end
    _after(saving, run, size)


@dataclass(frozen=True, kw_only=True)
class _Saving:
    """A save that is under way."""

    call: Call
    batch: Loaded
    asked: int
    """The rows (ids) that were asked for."""


def _after(saving: _Saving | None, run: Run[CopyReport], size: BatchSize) -> BatchSize:
    """Wait for the save, and return the size of the batch that is loaded next."""
    if saving is None:
        return size
    run.wait(saving.call)
    if size.batch_time is None:
        return size
    adapted = size.after(
        Saved(
            asked=saving.asked,
            rows=saving.batch.rows,
            bytes=saving.batch.bytes,
            load=saving.batch.seconds,
            save=saving.call.seconds,
            timed_out=saving.call.was_retried,
        )
    )
    run.update(batch_size=adapted.rows)
    if adapted.too_slow and not size.too_slow:
        run.warn(
            f"saving a batch of the smallest size, {saving.asked}, took"
            f" {seconds_text(saving.call.seconds)}, longer than `batch_time`"
            f" ({seconds_text(size.batch_time)}); set a longer `batch_time`, or a smaller"
            " `batch_size`, since the smallest size is a hundredth of that"
        )
    return adapted


def _count(run: Run[CopyReport], batch: Loaded, saved: SavedRows | None) -> None:
    """Count a batch that is durably in the target, or had no rows."""
    run.report = run.report.saved(saved, rows=batch.rows, size=batch.bytes, next_id=batch.end)
    counts = {} if saved is None else vars(saved)
    run.notify(BatchSaved(key_range=batch.key_range, rows=batch.rows, bytes=batch.bytes, **counts))


def finish(run: Run[Any], max_id: int) -> None:
    """Do what comes after the last batch; see `_afterwards`."""
    _afterwards(run, "finish", max_id)


def analyze(run: Run[Any]) -> None:
    """Have the target gather statistics, if it offers that and the run was not asked to stop."""
    if "analyze" not in run.target.offers:
        return
    if not run.stopping:
        with suppress(CutShortError):  # the copy is complete all the same
            _afterwards(run, "analyze")
            return
    run.warn(f"{run.target}: the table was not analyzed, since the run was asked to stop")


def _afterwards(run: Run[Any], call: str, *args: Any) -> None:
    """Make a call on the target, if it offers it; every row is saved, so a failure is a warning.

    It is none if the saved rows may be lost: the server failed over, or can no longer be reached,
    or the table changed. Raises what shows it.
    """
    target = run.target
    if call not in target.offers:
        return
    try:
        warning: str | None = run.call(target, call, *args)
        if warning:
            run.warn(f"{target}: {warning}")
    except PipecopyError as error:
        if not target.saved_rows_stand or isinstance(error, TableMismatchError):
            raise
        if "confirm" in target.offers and run.left > 0:
            with suppress(FullCopyTimeoutError):
                run.call(target, "confirm", retry=False)
        run.warn(str(error))


def _confirm_after(error: PipecopyError, run: Run[CopyReport]) -> None:
    """See, after an error of the source, that the saved rows that it reports are still there.

    What struck one side may have struck both. The error stays the one that ended the copy.
    """
    limit = min(_CONFIRM, run.config.call_timeout, run.left)
    if error.side == "target" or not run.report.batches or limit <= 0:
        return
    if "confirm" in run.target.offers:
        run.cut_short()
        with run.last_steps(), suppress(PipecopyError):
            run.call(run.target, "confirm", limit=limit, retry=False)
