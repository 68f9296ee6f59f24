"""Run: what an operation is given: two endpoints, calls on them, batches, and the report."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipecopy.config import Config
from pipecopy.contracts import ConnectionPool, SavedRows, Session
from pipecopy.errors import (
    CallTimeoutError,
    DatabaseError,
    HostError,
    PipecopyError,
    TableMismatchError,
)
from pipecopy.events import Observer, RunStarted
from pipecopy.supervisor.call import Call, KeyRange
from pipecopy.supervisor.clock import Wakeup
from pipecopy.supervisor.endpoints import Endpoint, Endpoints
from pipecopy.supervisor.pace import Pace
from pipecopy.supervisor.state import CutShortError, ReportT, State
from pipecopy.supervisor.stop import BATCH, LAST_STEPS, Stop
from pipecopy.workers.host import look
from pipecopy.workers.messages import Batch, Task

_END_SESSIONS = "end_sessions"
_OVERHEAD = 4096
"""Bytes of a buffer besides the rows' own."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A batch that waits in its buffer."""

    first: int
    end: int
    """The batch holds the rows with ids in `[first, end)`."""
    rows: int
    bytes: int
    buffer: int
    seconds: float
    """How long the attempt took that loaded it."""

    @property
    def key_range(self) -> KeyRange:
        """The ids that it covers."""
        return self.first, self.end


class Run(State[ReportT]):
    """One run: at most one call is under way on each side. Only `stop` is for other threads."""

    def __init__(
        self,
        config: Config,
        report: ReportT,
        session: Session,
        pool: ConnectionPool,
        names: tuple[str, str],
        *,
        observer: Observer | None,
        stop: Callable[[], bool],
    ) -> None:
        super().__init__(config, session.mode, report, observer)
        self._session = session
        self._wakeup = Wakeup()
        self.endpoints = Endpoints(
            pool, session, names, buffers=config.read_ahead + 1, wake=self._wakeup.wake
        )
        self._under_way: list[Call] = []
        self._stop = Stop(self, stop)
        self.pace = Pace(self)
        """Whether the next load, or the next range, may begin."""
        # a batch's bytes are counted with what tells them apart
        self._most_bytes = config.max_batch_bytes + _OVERHEAD

    @property
    def source(self) -> Endpoint:
        """The side that is read."""
        return self.endpoints.source

    @property
    def target(self) -> Endpoint:
        """The side that is written, or compared with the source."""
        return self.endpoints.target

    def start(self) -> None:
        """Start the workers. Raises ConfigError if the pool can't be pickled, and HostError."""
        warnings = look()
        self.notify.start()
        self.notify(
            RunStarted(
                run_id=self.report.run_id,
                source=self.report.source,
                target=self.report.target,
                config=self.config,
                mode=self._session.mode,
                writes=self._session.writes,
                deletes=self._session.deletes,
                table=self.report.table,
                target_table=self.report.target_table,
            )
        )
        for warning in warnings:
            self.warn(warning)
        self.endpoints.start()

    def dismiss(self) -> None:
        """Kill the workers that are left, and give back all that the run had."""
        self.pace.end()
        try:
            self.endpoints.dismiss()
        finally:
            self._wakeup.close()

    # -- calls

    def begin(self, endpoint: Endpoint, call: str, *args: Any, **how: Any) -> Call:
        """Begin a call, which the next wait takes on; `how` is what `Call` takes beyond.

        Raises CutShortError.
        """
        self._stop.heed(self._under_way)
        begun = Call(endpoint, Task(call, args), self, **how)
        self._under_way.append(begun)
        return begun

    def wait(self, call: Call | None) -> Any:
        """Return what the call returned; the others that are under way go on meanwhile.

        Raises what `Call.advance` raises, for any of them, and CutShortError.
        """
        if call is None:
            return None
        self._go_on(lambda: call.done)
        return call.value

    def _go_on(self, ends: Callable[[], bool], until: float = math.inf) -> None:
        """Take on the calls that are under way until it ends; look at that time as well."""
        while True:
            calls = self._stop.heed(self._under_way)
            for each in calls:
                each.advance()
            self._under_way = [each for each in self._under_way if not each.done]
            if ends():
                return
            due = min([until, self._stop.until, *(each.due for each in calls if not each.done)])
            self._wakeup.wait(
                due - self.clock.now(), (pidfd for each in calls for pidfd in each.pidfds)
            )

    def is_idle(self, endpoint: Endpoint) -> bool:
        """Tell whether no call is under way there."""
        return all(each.done or each.endpoint is not endpoint for each in self._under_way)

    def call(self, endpoint: Endpoint, call: str, *args: Any, **how: Any) -> Any:
        """Make a call and return what it returned; raises what `wait` raises."""
        return self.wait(self.begin(endpoint, call, *args, **how))

    def errors_of(self, calls: Iterable[Call]) -> Iterator[PipecopyError]:
        """Wait for all of these calls; yield the error of each that fails, as soon as it does.

        Raises what ends a run at once, such as FullCopyTimeoutError and CutShortError.
        """
        for call in calls:
            while not call.done:  # the error of another one may come first
                try:
                    self.wait(call)
                except (CallTimeoutError, DatabaseError, TableMismatchError, HostError) as error:
                    yield error

    def wait_both(
        self,
        source: Call | None,
        target: Call | None,
        *,
        row_errors: list[DatabaseError] | None = None,
    ) -> tuple[Any, Any]:
        """Return what a call on each side returned; both go on at the same time.

        If both fail, the error is the source's, whichever came first: one of the target waits for
        the source's call to end, and is then a warning. An error that a single row may have brought
        about is not raised if there are `row_errors` to add it to.
        """
        of_target: PipecopyError | None = None
        try:
            for error in self.errors_of(call for call in (source, target) if call is not None):
                if (
                    row_errors is not None
                    and isinstance(error, DatabaseError)
                    and error.is_of_a_row
                ):
                    row_errors.append(error)
                    continue
                if error.side != "target":
                    raise error
                of_target = error
        except (PipecopyError, CutShortError):
            if of_target is not None:
                self.warn(str(of_target))
            raise
        if of_target is not None:
            raise of_target
        return source and source.value, target and target.value

    def call_both(
        self, call: str, *args: Any, row_errors: list[DatabaseError] | None = None, **how: Any
    ) -> tuple[Call, Call]:
        """Make the same call on both sides, as `wait_both` does; return the two."""
        source, target = (self.begin(side, call, *args, **how) for side in self.endpoints.both)
        self.wait_both(source, target, row_errors=row_errors)
        return source, target

    def connect(self) -> None:
        """Open both sides; one that is connected stays so.

        Raises ConfigError too, if one can't tell what the pace depends on.
        """
        source, target = (
            None if side.connected else self.begin(side, "connect") for side in self.endpoints.both
        )
        self.wait_both(source, target)
        self.pace.refuse_without_calls(self.endpoints.both)

    def connect_target(self) -> None:
        """Open the target alone."""
        self.call(self.target, "connect")

    def pause(self, seconds: float) -> None:
        """Let so many seconds pass, at most those that are left; calls under way go on meanwhile.

        Raises what `wait` raises.
        """
        at_most = min(seconds, self.left)  # first, or it would end just before the limit
        until = self.clock.now() + at_most
        self._go_on(lambda: self.clock.now() >= until, until)

    def stop(self) -> None:
        """Have the wait that is under way, or the next one, raise CutShortError, once."""
        self._stop.at_once()
        self._wakeup.wake()

    @contextmanager
    def unit(self, what: str = BATCH) -> Iterator[None]:
        """Mark what is finished, once it has begun, if the run is asked to stop; what it is called.

        It begins when the pace allows. Raises CutShortError if the run was asked before; a save
        that is under way is finished then. Raises what `Pace.keep` raises.
        """
        self.pace.keep()
        self._stop.heed(self._under_way)
        if self.stopping:
            self._go_on(lambda: False)
        with self._stop.unit(what, self._under_way):
            yield

    @contextmanager
    def last_steps(self) -> Iterator[None]:
        """Mark what is done also if the run was asked to stop before: all rows are dealt with."""
        with self._stop.unit(LAST_STEPS, self._under_way):
            yield

    def cut_short(self) -> None:
        """Kill the workers of the calls that are under way."""
        for call in self._under_way:
            call.cut_short()
        self._under_way.clear()

    def close(self, limit: float) -> str | None:
        """Close the sides that are connected, both at once; `limit` is in seconds.

        A session that a killed worker left on the target is ended meanwhile, since it may hold the
        lock; returns what that was, if it is known. Warns of each side that did not close. Raises
        CutShortError.
        """
        with self.last_steps():
            return self._close(limit)

    def _close(self, limit: float) -> str | None:
        closing = [
            self.begin(endpoint, "close", limit=limit, retry=False)
            for endpoint in self.endpoints.both
            if endpoint.connected
        ]
        ending = None
        if self.target.left_session and self.target.session.may_write:
            ending = self.begin(self.target, _END_SESSIONS, limit=limit, retry=False)
            closing.append(ending)
        for error in sorted(self.errors_of(closing), key=lambda error: error.side or ""):
            if error.call != _END_SESSIONS:  # the error that ends the run says enough of the server
                self.warn(str(error))  # source before target
        return None if ending is None else ending.value

    # -- batches

    def load(self, first: int, past_last: int, *, rows: int | None = None) -> Loaded:
        """Load a batch that begins at `first`: where it ends, the batch tells.

        It has at most `rows` rows if the source finds batches by rows, else at most so many ids;
        without `rows`, those with ids in `[first, past_last)`, or the first of them that fit.
        """
        source, buffer = self.source, self.endpoints.loading
        if rows is not None and "load_batch" not in source.offers:
            past_last, rows = self._end_of_batch(first, past_last, rows), None
        ids = (first, past_last)
        call = self.begin(source, "load_rows", buffer, *ids, rows, key_range=ids, rows=rows)
        batch: Batch = self.wait(call)
        if batch.rows:
            self.endpoints.next_buffer()
        self.pace.took(rows=batch.rows, size=batch.bytes)
        loaded = Loaded(
            first=first,
            end=batch.end,
            rows=batch.rows,
            bytes=batch.bytes,
            buffer=buffer,
            seconds=call.seconds,
        )
        if not source.offers & {"load_batch", "end_of_batch"}:
            self._warn_of_size(loaded)
        return loaded

    def load_these(self, ids: Collection[int]) -> Loaded:
        """Load the rows with these ids, as one batch."""
        buffer, listed = self.endpoints.loading, sorted(ids)
        key_range = (listed[0], listed[-1] + 1)
        call = self.begin(self.source, "load_these", buffer, listed, key_range=key_range)
        batch: Batch = self.wait(call)
        if batch.rows:
            self.endpoints.next_buffer()
        return Loaded(
            first=key_range[0],
            end=key_range[1],
            rows=batch.rows,
            bytes=batch.bytes,
            buffer=buffer,
            seconds=call.seconds,
        )

    def exchange(self, batch: Loaded, surplus: Collection[int]) -> tuple[set[int], set[int]]:
        """Save a batch in the place of its rows and the surplus ones; or return what is in the way.

        That is the ids of other rows, and nothing was changed then. Returns as well which rows had
        each other's unique values, as far as the target tells. Without rows nothing is done.
        """
        if not batch.rows:
            return set(), set()
        self._give_buffer(batch)
        args = (batch.buffer, sorted(surplus))
        in_the_way, had = self.call(self.target, "exchange_rows", *args, key_range=batch.key_range)
        return set(in_the_way), set(had)

    def save(
        self, batch: Loaded, on_return: Callable[[SavedRows | None], None] | None = None
    ) -> Call:
        """Begin to save a batch that has rows; `on_return` is called when it is saved.

        It is given what became of the rows, None if the driver does not tell.
        """
        self.pace.ask(self.target)  # with `read_ahead` it is not idle again before the next save
        self._give_buffer(batch)
        return self.begin(
            self.target,
            "save_rows",
            batch.buffer,
            key_range=batch.key_range,
            is_save=True,
            on_return=on_return,
        )

    def _give_buffer(self, batch: Loaded) -> None:
        """See that the target's worker has the buffer in which the batch waits."""
        if not self.endpoints.has_buffer(self.target, batch.buffer):
            self.target.kill()  # it has the buffer of an abandoned reader; the next worker has this

    def _end_of_batch(self, first: int, past_last: int, rows: int) -> int:
        if "end_of_batch" not in self.source.offers:
            return min(first + rows, past_last)
        args = (first, past_last, rows)
        end: int = self.call(self.source, "end_of_batch", *args, key_range=(first, past_last))
        return end

    def _warn_of_size(self, batch: Loaded) -> None:
        """Warn, once, of a batch that is too big, from a database that can't split it."""
        if batch.rows > 1 and batch.bytes > self._most_bytes:
            self._most_bytes = sys.maxsize  # one warning is enough
            self.warn(
                f"the batch of ids [{batch.first}, {batch.end}) has {batch.bytes} bytes, "
                f"`max_batch_bytes` is {self.config.max_batch_bytes}, and its database can't "
                "split it: a smaller `batch_size` takes less memory"
            )
