"""Run: what an operation is given: two endpoints, calls on them, batches, and the report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipecopy.config import Config
from pipecopy.contracts import ConnectionPool, SavedRows, Session
from pipecopy.errors import DatabaseError
from pipecopy.events import Observer, RunStarted
from pipecopy.supervisor.call import Call, KeyRange
from pipecopy.supervisor.calls import Calls
from pipecopy.supervisor.endpoints import Endpoint, Endpoints, IdleEndpoints
from pipecopy.supervisor.pace import Pace
from pipecopy.supervisor.state import ReportT
from pipecopy.supervisor.stop import BATCH, StopRequests
from pipecopy.workers.host import look
from pipecopy.workers.messages import Batch

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


class Run(Calls[ReportT]):
    """One run, from the start of its workers to their end."""

    def __init__(
        self,
        config: Config,
        report: ReportT,
        session: Session,
        pool: ConnectionPool,
        names: tuple[str, str],
        *,
        observer: Observer | None,
        stop: StopRequests,
        idle: IdleEndpoints | None = None,
    ) -> None:
        super().__init__(config, session.mode, report, observer, stop)
        self._session = session
        self._idle = idle
        buffers, wake = config.read_ahead + 1, self._wakeup.wake
        taken = None if idle is None else idle.take(pool, names, buffers)
        if taken is not None:
            taken.renew(session, wake)
        self.endpoints = taken or Endpoints(pool, session, names, buffers=buffers, wake=wake)
        self.pace = Pace(self, self.endpoints)
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
            if self._idle is not None:
                self._idle.give(self.endpoints)
            else:
                self.endpoints.dismiss()
        finally:
            self._wakeup.close()

    # -- both sides

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
            None if side.connected else self.begin(side, "connect", *side.connect_args)
            for side in self.endpoints.both
        )
        self.wait_both(source, target)
        self.pace.refuse_without_calls(self.endpoints.both)

    def connect_source(self) -> None:
        """Open the source alone."""
        self.call(self.source, "connect", *self.source.connect_args)

    def connect_target(self) -> None:
        """Open the target alone."""
        self.call(self.target, "connect", *self.target.connect_args)

    @contextmanager
    def unit(self, what: str = BATCH) -> Iterator[None]:
        """Mark a batch or a range, as `Calls.unit` does; it begins when the pace allows.

        Raises what `Pace.keep` raises, too.
        """
        self.pace.keep()
        with super().unit(what):
            yield

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
        loaded = self._loaded(batch, buffer, (first, batch.end), call.seconds)
        if not source.offers & {"load_batch", "end_of_batch"}:
            self._warn_of_size(loaded)
        return loaded

    def load_these(self, ids: Collection[int]) -> Loaded:
        """Load the rows with these ids, as one batch."""
        buffer, listed = self.endpoints.loading, sorted(ids)
        key_range = (listed[0], listed[-1] + 1)
        call = self.begin(self.source, "load_these", buffer, listed, key_range=key_range)
        return self._loaded(self.wait(call), buffer, key_range, call.seconds)

    def _loaded(self, batch: Batch, buffer: int, ids: KeyRange, seconds: float) -> Loaded:
        """Return the batch that a load has put into the buffer; the pace takes note of it."""
        if batch.rows:
            self.endpoints.next_buffer()
        self.pace.took(rows=batch.rows, size=batch.bytes)
        return Loaded(
            first=ids[0],
            end=ids[1],
            rows=batch.rows,
            bytes=batch.bytes,
            buffer=buffer,
            seconds=seconds,
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
