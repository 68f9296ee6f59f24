"""copy_table: the whole story on one page.

The copy runs in a thread of its own, which never waits without a limit; the calling thread only
waits for that one, so that an exception raised in it at any moment, such as KeyboardInterrupt,
leaves nothing half done, and nothing that is stuck can keep it past the whole copy's limit.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from pipecopy import tables
from pipecopy.clock import TICK, Clock, Wakeup
from pipecopy.config import Config
from pipecopy.contracts import ConnectionPool, Session, Side
from pipecopy.errors import (
    CallTimeoutError,
    ConfigError,
    FullCopyTimeoutError,
    PipecopyError,
    TableMismatchError,
)
from pipecopy.events import BatchSaved, CopyEnded, CopyStarted, Observer, RangeKnown, Warned
from pipecopy.notifier import Notifier
from pipecopy.redact import redact
from pipecopy.report import CopyReport, Outcome
from pipecopy.retry import Bounds, Call, KeyRange, Seat
from pipecopy.tally import Tally
from pipecopy.workers import (
    Batch,
    Connected,
    ForkServer,
    Slot,
    Task,
    Worker,
    in_importing_worker,
    leave_unguarded_script,
    pickle_pool,
)
from pipecopy.workers.memory import MemoryFile
from pipecopy.workers.process import Setup

_GRACE = 0.2
"""Seconds past the whole copy's limit after which the caller no longer waits for the clean-up."""
_LAST_CLOSE = 0.1
"""Seconds that `close` gets on each side once the whole copy's limit has struck."""
_STOP_CLOSE = 1.0
"""Seconds that it gets after an exception in the calling thread, such as KeyboardInterrupt."""
_OBSERVER_LAST = 1.0
"""Seconds that the observer gets for the events that are left, within the whole copy's limit."""
_OBSERVER_LEAST = 0.03


def copy_table(
    config: Config,
    pool: ConnectionPool,
    from_name: str,
    to_name: str,
    *,
    observer: Observer | None = None,
) -> CopyReport:
    """Copy the table from the database `from_name` to `to_name`, in batches in the order of ids.

    Args:
        config: the limits; `full_copy_timeout` is kept to within 0.25 s, whatever is stuck.
        pool: opens databases by name, in worker processes; it travels there pickled with dill.
        from_name: the source's name, for the pool.
        to_name: the target's name, for the pool.
        observer: is called with each event, in a thread of its own.

    Returns:
        How it went: every row that was in the source when its batch was loaded, with an id from 0
        to the greatest one at the start, is in the target, once, with equal values, durably.

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
    if in_importing_worker():
        leave_unguarded_script()
    clock = Clock()
    _look_at_arguments(config, pool, from_name, to_name)
    copy = _Copy(config, pool, from_name, to_name, observer)
    deadline = clock.now() + config.full_copy_timeout + _GRACE
    try:
        copy.start()
        while not copy.finished.wait(TICK) and clock.now() < deadline:
            pass
    except BaseException as stop:
        report = copy.stopped_by_caller(clock, deadline)
        if hasattr(stop, "report"):
            stop.report = report
        raise
    return copy.result()


def _look_at_arguments(config: object, pool: object, from_name: object, to_name: object) -> None:
    bad = []
    if not isinstance(config, Config):
        bad.append(f"config must be a Config, not {type(config).__name__}")
    if not callable(getattr(pool, "connect", None)):
        bad.append(f"pool must have a connect method, and {type(pool).__name__} has none")
    for argument, name in (("from_name", from_name), ("to_name", to_name)):
        if not isinstance(name, str) or not name:
            bad.append(f"{argument} must be a database's name, not {name!r}")
    if bad:
        raise ConfigError("; ".join(bad))


class _StoppedError(Exception):
    """An exception was raised in the calling thread."""


@dataclass(frozen=True)
class _Loaded:
    """A batch on its way."""

    key_range: KeyRange
    slot: int
    batch: Batch


class _Copy:
    """One copy; all but `start`, `finished`, `stopped_by_caller` and `result` is its thread's."""

    def __init__(
        self,
        config: Config,
        pool: ConnectionPool,
        from_name: str,
        to_name: str,
        observer: Observer | None,
    ) -> None:
        self._config = config
        self._pool = pickle_pool(pool)
        self._preload = ["pipecopy.workers.process", type(pool).__module__]
        self._tally = Tally(
            run_id=secrets.token_hex(6), source=redact(from_name), target=redact(to_name)
        )
        self._notify = Notifier(observer)
        self._server: ForkServer | None = None
        self._slots: list[Slot] = []
        self._loading = 0  # the slot that the reader writes
        self._source = self._seat("source", from_name)
        self._target = self._seat("target", to_name)
        self._under_way: list[Call] = []
        self._saving: tuple[Call, _Loaded] | None = None
        self._closing = False
        self._stop_asked = threading.Event()
        self._hurry = threading.Event()
        self._wakeup = Wakeup()
        self._thread = threading.Thread(target=self._run, name="pipecopy", daemon=True)
        self._report: CopyReport | None = None
        self._error: BaseException | None = None
        self.finished = threading.Event()

    def start(self) -> None:
        """Start the copy's thread."""
        self._thread.start()

    def result(self) -> CopyReport:
        """Return the report, or raise what ended the copy; for the calling thread."""
        if self._error is not None:
            raise self._error
        if self._report is not None:
            return self._report
        limit = self._config.full_copy_timeout
        raise FullCopyTimeoutError(
            f"the whole copy reached its limit of {limit:g} s, and its clean-up takes longer",
            report=self._tally.report("timed out", limit),
        )

    def stopped_by_caller(self, clock: Clock, deadline: float) -> CopyReport:
        """End the copy because of an exception in the calling thread; a second one hurries it."""
        self._stop_asked.set()
        self._wakeup.wake()
        deadline = min(deadline, clock.now() + 2 * _STOP_CLOSE + _GRACE)
        try:
            while not self.finished.wait(TICK) and clock.now() < deadline:
                pass
        except BaseException:  # noqa: BLE001 - the first one is raised again
            self._hurry.set()
            self._wakeup.wake()
            self.finished.wait(2 * _GRACE)
        return self._report or self._tally.report("stopped", 0)

    # -- the copy's own thread

    def _run(self) -> None:
        self._clock = Clock()
        began = self._clock.now()
        self._bounds = Bounds(self._config, self._clock, began + self._config.full_copy_timeout)
        outcome: Outcome = "complete"
        try:
            self._slots += [Slot() for _ in range(self._config.read_ahead + 1)]
            self._server = ForkServer(self._preload)
            self._copy()
        except _StoppedError:
            outcome = "stopped"
        except (CallTimeoutError, FullCopyTimeoutError) as error:
            self._error, outcome = error, "timed out"
        except BaseException as error:  # noqa: BLE001 - raised again in the calling thread
            self._error, outcome = error, "failed"
        try:
            self._close(outcome)
        except BaseException as error:  # noqa: BLE001 - likewise
            self._error = self._error or error
        finally:
            self._end(outcome, began)

    def _copy(self) -> None:
        """Tell the story: connect, look at both tables, copy batch by batch, finish."""
        self._notify(
            CopyStarted(
                run_id=self._tally.run_id,
                source=self._tally.source,
                target=self._tally.target,
                config=self._config,
            )
        )
        self._source.ensure_worker()
        self._target.ensure_worker()  # both start at the same time
        for seat in (self._source, self._target):
            connected: Connected = self._call(seat, "connect")
            seat.offers = connected.offers
        self._compare_tables()
        max_id: int = self._call(self._source, "get_max_id")
        self._tally.max_id = max_id
        self._notify(RangeKnown(first_id=0, max_id=max_id))
        self._copy_batches(max_id)
        self._finish(max_id)

    def _compare_tables(self) -> None:
        source, target = (
            self._call(seat, "describe") if "describe" in seat.offers else None
            for seat in (self._source, self._target)
        )
        differences = tables.differences(source, target)
        if differences:
            raise TableMismatchError(
                f"the tables of {self._source} and {self._target} do not fit together: "
                + "; ".join(differences),
                differences=differences,
            )
        for warning in tables.warnings(source, target):
            self._warn(warning)

    def _copy_batches(self, max_id: int) -> None:
        """Load in order and save in order; at most `read_ahead` loaded batches wait."""
        for key_range in _key_ranges(max_id, self._config.batch_size):
            if not self._config.read_ahead:
                self._wait_until_saved()
            loaded = self._load(key_range)
            self._wait_until_saved()
            self._save(loaded)
        self._wait_until_saved()

    def _load(self, key_range: KeyRange) -> _Loaded:
        slot = self._loading
        call = self._begin(self._source, Task("load_rows", (slot, *key_range)), key_range=key_range)
        batch: Batch = self._wait(call)
        if batch.rows:
            self._loading = (slot + 1) % len(self._slots)
        return _Loaded(key_range, slot, batch)

    def _save(self, loaded: _Loaded) -> None:
        """Begin to save the batch; one with no rows is not saved."""
        if not loaded.batch.rows:
            self._count(loaded)
            return
        worker = self._target.worker
        if worker is not None and worker.slots[loaded.slot] is not self._slots[loaded.slot]:
            self._target.kill()  # it has the slot of an abandoned reader; the next one has this
        task = Task("save_rows", (loaded.slot,))
        self._saving = (self._begin(self._target, task, key_range=loaded.key_range), loaded)

    def _wait_until_saved(self) -> None:
        if self._saving is not None:
            self._wait(self._saving[0])

    def _count(self, loaded: _Loaded) -> None:
        """Count a batch that is durably in the target, or had no rows."""
        batch, key_range = loaded.batch, loaded.key_range
        self._tally.saved(rows=batch.rows, size=batch.bytes, next_id=key_range[1])
        self._notify(BatchSaved(key_range=key_range, rows=batch.rows, bytes=batch.bytes))

    def _finish(self, max_id: int) -> None:
        """Do what comes after the last batch; every row is saved, so a failure is a warning."""
        if "finish" not in self._target.offers:
            return
        try:
            warning = self._call(self._target, "finish", max_id)
        except PipecopyError as error:
            warning = str(error)
        if warning:
            self._warn(f"target: {warning}")

    # -- calls

    def _call(self, seat: Seat, call: str, *args: Any) -> Any:
        return self._wait(self._begin(seat, Task(call, args)))

    def _begin(self, seat: Seat, task: Task, **how: Any) -> Call:
        call = Call(seat, task, bounds=self._bounds, tally=self._tally, notify=self._notify, **how)
        self._under_way.append(call)
        call.advance()
        return call

    def _wait(self, call: Call) -> Any:
        """Return what the call returned; other calls that are under way are driven meanwhile."""
        while True:
            if self._hurry.is_set() or (self._stop_asked.is_set() and not self._closing):
                raise _StoppedError
            for each in self._under_way:
                each.advance()
            self._under_way = [each for each in self._under_way if not each.done]
            if self._saving is not None and self._saving[0].done:
                self._count(self._saving[1])
                self._saving = None
            if call.done:
                return call.value
            self._wakeup.wait(
                min(each.due for each in self._under_way) - self._clock.now(),
                (pidfd for each in self._under_way for pidfd in each.pidfds),
            )

    # -- the end

    def _close(self, outcome: Outcome) -> None:
        """Close both sides where they are connected and not stuck."""
        self._closing = True
        for call in self._under_way:
            call.cut_short()
        self._under_way.clear()
        left = self._bounds.deadline - self._clock.now()
        if left <= 0 or outcome == "stopped":
            limit = _STOP_CLOSE if outcome == "stopped" and left > _STOP_CLOSE else _LAST_CLOSE
            for closing in [
                self._begin_close(seat, limit) for seat in (self._source, self._target)
            ]:
                self._wait_for_close(closing)
            return
        for seat in (self._source, self._target):
            left = max(self._bounds.deadline - self._clock.now(), _LAST_CLOSE)
            self._wait_for_close(self._begin_close(seat, min(self._config.call_timeout, left)))

    def _begin_close(self, seat: Seat, limit: float) -> Call | None:
        if not seat.connected:
            return None
        try:
            return self._begin(seat, Task("close"), limit=limit, retry=False)
        except PipecopyError as error:
            self._warn(str(error))
            return None

    def _wait_for_close(self, call: Call | None) -> None:
        while call is not None and not call.done:  # the other side's may raise here as well
            try:
                self._wait(call)
            except PipecopyError as error:
                self._warn(str(error))

    def _end(self, outcome: Outcome, began: float) -> None:
        """Leave nothing behind, and say how it went."""
        for seat in (self._source, self._target):
            seat.kill()
        if self._server is not None:
            self._server.stop()
        for slot in self._slots:
            slot.close()
        report = self._tally.report(outcome, self._clock.now() - began)
        report = replace(report, warnings=report.warnings + self._notify.warnings)
        self._notify(CopyEnded(report=report))
        left = self._bounds.deadline - self._clock.now()
        self._notify.close(max(_OBSERVER_LEAST, min(_OBSERVER_LAST, left)))
        if isinstance(self._error, PipecopyError):
            self._error.report = report
        self._report = report
        self._wakeup.close()
        self.finished.set()

    def _warn(self, message: str) -> None:
        self._tally.warnings.append(message)
        self._notify(Warned(message=message))

    # -- workers

    def _seat(self, side: Side, dbname: str) -> Seat:
        def start_worker() -> Worker:
            if self._server is None:
                raise RuntimeError("the fork server is started first")
            session = Session(
                run_id=self._tally.run_id, side=side, call_timeout=self._config.call_timeout
            )
            setup = Setup(
                self._pool,
                dbname,
                session,
                tuple(self._slots),
                output=MemoryFile("output"),
                stack=MemoryFile("stack"),
            )
            return Worker(self._server, setup, self._wakeup.wake)

        return Seat(side, redact(dbname), start_worker=start_worker, on_abandoned=self._retire_slot)

    def _retire_slot(self) -> None:
        """Never use a slot again that a worker which may still be alive could write to."""
        with suppress(OSError):
            self._slots[self._loading].close()
        self._slots[self._loading] = Slot()


def _key_ranges(max_id: int, batch_size: int) -> Iterator[KeyRange]:
    for first in range(0, max_id + 1, batch_size):
        yield first, min(first + batch_size, max_id + 1)
