"""verify_tables: both tables are compared on their servers, and repaired if that is asked for."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

from pipecopy.arguments import function_call
from pipecopy.config import Config, bad_ids
from pipecopy.contracts import ConnectionPool, TableDescription
from pipecopy.errors import ConfigError
from pipecopy.events import Observer, RangeKnown
from pipecopy.operations.copy import finish
from pipecopy.operations.fit import fit
from pipecopy.operations.parts import new_part
from pipecopy.operations.ranges import Ranges
from pipecopy.operations.settle import Settling
from pipecopy.operations.split import Piece
from pipecopy.operations.swaps import warn_of_swaps
from pipecopy.operations.turn import in_turn
from pipecopy.operations.verify_parts import Parts
from pipecopy.report import VerifyReport
from pipecopy.supervisor.run import Run
from pipecopy.supervisor.supervise import supervise


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
    jobs: int = 1,
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
        jobs: how many ranges are compared at once, at least 1, each by two processes of its own
            with a session on either side. The rates of `config` are those of all together.

    Returns:
        What was found, and whether the tables are `equal` now. That they differ is no error.

    Raises:
        ConfigError: an argument is wrong, or the databases can't be compared.
        TableMismatchError: the two tables do not match.
        CallTimeoutError, FullCopyTimeoutError, DatabaseError, HostError: as from `copy_table`; the
            report on the error has what was found until then.
        StoppedError: `stop` was set, and not all was compared by then; likewise.

    """
    refuse_bad_arguments(from_id, to_id, repair=repair, delete_surplus=delete_surplus, jobs=jobs)
    return verify_one(
        config,
        pool,
        (from_name, to_name),
        repair=repair,
        delete_surplus=delete_surplus,
        from_id=from_id,
        to_id=to_id,
        jobs=jobs,
        observer=observer,
        stop=stop,
    )


def refuse_bad_arguments(
    from_id: int, to_id: int | None, *, repair: bool, delete_surplus: bool, jobs: int
) -> None:
    """Raise ConfigError for arguments of `verify_tables` that are wrong."""
    bad = bad_ids(from_id, to_id)
    if delete_surplus and not repair:
        bad.append("`delete_surplus` does not go without `repair`")
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        bad.append(f"jobs must be an int of at least 1, not {jobs!r}")
    if bad:
        raise ConfigError("; ".join(bad))


def verify_one(
    config: Config,
    pool: ConnectionPool,
    names: tuple[str, str],
    *,
    repair: bool,
    delete_surplus: bool,
    from_id: int,
    to_id: int | None,
    jobs: int,
    observer: Observer | None,
    stop: threading.Event | None,
    abort: threading.Event | None = None,
) -> VerifyReport:
    """Compare one table; see `verify_tables`. Once `abort` is set, the run ends at once."""
    new = VerifyReport.of(pool, *names, repair=repair, delete_surplus=delete_surplus, jobs=jobs)
    supervised = partial(
        supervise,
        pool=pool,
        names=names,
        mode="verify",
        writes=repair,
        deletes=delete_surplus,
        stop=stop,
    )

    def verify(run: Run[VerifyReport]) -> None:
        last_id = _begin(run, from_id, to_id)
        if jobs == 1:
            Ranges(run).verify(from_id, last_id)
        else:
            _verify_parts(run, Parts(run, new, supervised, jobs), from_id, last_id)
        with run.last_steps():
            if run.report.repair:  # also if an earlier repair was cut short before this
                finish(run, last_id)
            else:
                warn_of_swaps(run)

    return supervised(
        verify,
        new,
        config,
        observer=observer,
        abort=abort,
        part=None if jobs == 1 else new_part("range"),
    )


def _begin(run: Run[VerifyReport], from_id: int, to_id: int | None) -> int:
    """Look at both sides, and return the last id to compare."""
    in_turn(run, partial(_look, run))
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
    return last_id


def _verify_parts(run: Run[VerifyReport], parts: Parts, from_id: int, last_id: int) -> None:
    """Compare the ids in parts; repair at the end what one part alone can't."""
    postponed: set[int] = set()

    def compare(part: Run[VerifyReport], piece: Piece) -> None:
        _look(part)
        part.pace.begin()
        ranges = Ranges(part, is_part=True)
        try:
            ranges.verify(piece.first, piece.last)
        finally:
            postponed.update(ranges.postponed)

    parts.verify(from_id, last_id, compare)
    Ranges(run).repair(postponed)


def _look(run: Run[VerifyReport]) -> None:
    """Connect to both sides, and see that their tables can be compared."""
    run.connect()
    run.target.offers -= {"create"}  # without a table there is nothing to verify
    _refuse_without_checksums(run)
    _choose_generated(run, *fit(run))


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
