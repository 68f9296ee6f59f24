"""The endpoints of a run, source and target: each has a worker, which is started and replaced."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from pipecopy.contracts import ConnectionPool, Session
from pipecopy.errors import HostError
from pipecopy.finding import side_name
from pipecopy.redact import shown_name
from pipecopy.workers.buffer import Buffer
from pipecopy.workers.process import Setup
from pipecopy.workers.script import modules_to_preload, pickle_pool
from pipecopy.workers.servers import ForkServer, fork_servers
from pipecopy.workers.worker import Worker


class Endpoint:
    """One side of a run: has a worker started whenever there is none."""

    def __init__(self, session: Session, dbname: str, endpoints: Endpoints) -> None:
        self.side = session.side
        self.dbname = shown_name(dbname)
        """As it may be shown."""
        self.name = dbname
        """As the pool knows it; it may hold a password."""
        self._endpoints = endpoints
        self._first_session = session
        self.session = session
        """What the next worker has to know: it grows with each call that returned."""
        self.worker: Worker | None = None
        self.offers: frozenset[str] = frozenset()
        """Which of the methods beyond the contract its `Database` has."""
        self.connected = False
        """Its worker's `connect` returned, as far as is known."""
        self.left_session = False
        """A killed worker may have left a session on the server, which nobody has ended yet."""
        self.saved_rows_stand = True
        """What was saved is still there, and what this table has, as far as is known."""
        self._is_renewed = False
        """The worker was started in the session of another run, and does not know this one yet."""

    def __str__(self) -> str:
        return side_name(self.side, self.dbname)

    def know(self, **fields: Any) -> None:
        """Keep what the next worker has to know, as fields of its `Session`."""
        self.session = replace(self.session, **fields)

    def returned(self, call: str, value: Any, position: object) -> None:
        """Keep what the next worker has to know of a call that returned."""
        self.connected = call != "close"
        self.left_session = False
        if call == "connect":
            self.offers = value.offers
            self.know(patience=None)  # it has its turn
        elif call == "describe":
            self.know(described=value)
        elif call == "get_max_id" and self.side == "source":
            self.know(greatest_id=value)
        elif call == "claim_shard":
            self.claimed(value.attempt)
        elif call == "hold_run" and self.session.part is not None:
            self.know(part=replace(self.session.part, holds=value))
        if position is not None:
            self.know(position=position)

    def claimed(self, attempt: int) -> None:
        """Keep by which attempt the shard of this run was claimed."""
        if self.session.part is not None:
            self.know(part=replace(self.session.part, attempt=attempt))

    @property
    def is_at_rest(self) -> bool:
        """Whether another run can use its worker, which has closed the database."""
        return self.worker is not None and self.worker.is_alive() and not self.connected

    def renew(self, session: Session) -> None:
        """Begin another run; the worker is told of it as it connects."""
        self._first_session = self.session = session
        self.offers = frozenset()
        self.left_session, self.saved_rows_stand = False, True
        self._is_renewed = self.is_at_rest
        if not self._is_renewed:
            self.kill()

    @property
    def connect_args(self) -> tuple[Session, ...]:
        """What the worker's `connect` is given."""
        return (self.session,) if self._is_renewed else ()

    def begin_anew(self, **fields: Any) -> None:
        """Forget all that calls have told; the next worker knows these fields of its `Session`."""
        self.kill()
        self.left_session = False
        self.session = replace(self._first_session, **fields)

    def ensure_worker(self) -> Worker:
        """Return the worker; one that is missing is being started."""
        if self.worker is None:
            self._is_renewed = False
            self.worker = self._endpoints.start_worker(self.name, self.session)
        return self.worker

    def kill(self) -> bool:
        """Kill the worker, if there is one; False if it had to be abandoned."""
        worker, self.worker = self.worker, None
        self.connected = False
        if worker is None:
            return True
        if worker.pid is None:  # it may still be forked
            self._endpoints.retire(worker.server)
        self.left_session = "end_sessions" in self.offers
        died = worker.kill()
        worker.release()
        if not died and self.side == "source":  # a writer only reads its buffer
            self._endpoints.retire_buffer()
        return died


class Endpoints:
    """Both sides, and what their workers share: the fork server and the buffers."""

    def __init__(
        self,
        pool: ConnectionPool,
        session: Session,
        names: tuple[str, str],
        *,
        buffers: int,
        wake: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._pickled = b""
        self._preload = modules_to_preload()
        self._wake = wake
        """Is called, in any thread, whenever there may be news of a worker."""
        self._servers: list[ForkServer] = []
        """All that were taken, to be given back."""
        self._server: ForkServer | None = None
        """The one that forks."""
        self._count = buffers
        self._buffers: list[Buffer] = []
        self.loading = 0
        """The buffer that the reader writes, or will write next."""
        self.source = Endpoint(replace(session, side="source"), names[0], self)
        self.target = Endpoint(replace(session, side="target"), names[1], self)

    @property
    def both(self) -> tuple[Endpoint, Endpoint]:
        """Source and target."""
        return self.source, self.target

    @property
    def are_at_rest(self) -> bool:
        """Whether another run can use them."""
        return all(endpoint.is_at_rest for endpoint in self.both)

    def serve(self, pool: ConnectionPool, names: tuple[str, str], buffers: int) -> bool:
        """Tell whether they serve a run of this pool, between these databases."""
        own = tuple(endpoint.name for endpoint in self.both)
        return self._pool is pool and own == names and self._count == buffers

    def renew(self, session: Session, wake: Callable[[], None]) -> None:
        """Begin another run."""
        self._wake = wake
        for endpoint in self.both:
            endpoint.renew(replace(session, side=endpoint.side))

    def start(self) -> None:
        """Start both workers. Raises ConfigError if the pool can't be pickled, and HostError."""
        if not self._buffers:
            self._pickled = pickle_pool(self._pool)
            # one after the other: see dismiss
            self._buffers += (Buffer() for _ in range(self._count))
        for endpoint in self.both:
            endpoint.ensure_worker()

    def start_worker(self, dbname: str, session: Session) -> Worker:
        """Start a worker for one side; `start` comes first. Raises HostError."""
        if self._server is None:
            self._server = fork_servers.take(self._preload)
            self._servers.append(self._server)
        setup = Setup.of(self._pickled, dbname, session, tuple(self._buffers))
        try:
            return Worker(self._server, setup, self._tell)
        except HostError:
            setup.close()
            raise

    def _tell(self) -> None:
        self._wake()  # of the run that has them now

    def retire(self, server: ForkServer) -> None:
        """Have another fork server start the next workers: this one has yet to fork one."""
        fork_servers.retire(server)
        if self._server is server:
            self._server = None

    def next_buffer(self) -> None:
        """Have the reader write the next buffer, since this one holds a batch."""
        self.loading = (self.loading + 1) % len(self._buffers)

    def has_buffer(self, endpoint: Endpoint, buffer: int) -> bool:
        """Tell whether the worker there, if any, was given the buffer as it is now."""
        worker = endpoint.worker
        return worker is None or worker.buffers[buffer].is_same(self._buffers[buffer])

    def retire_buffer(self) -> None:
        """Never use a buffer again that a worker which may still be alive could write to."""
        fresh = Buffer()
        self._buffers[self.loading].close()
        self._buffers[self.loading] = fresh

    def dismiss(self) -> None:
        """Kill the workers that are left, and give back all that they shared."""
        with ExitStack() as steps:  # each is taken, whatever the others come to; the last one first
            steps.callback(self._close_buffers)  # of this moment: to kill may retire one
            for server in self._servers:
                steps.callback(fork_servers.give_back, server)
            for endpoint in self.both:
                steps.callback(endpoint.kill)

    def _close_buffers(self) -> None:
        for buffer in self._buffers:
            buffer.close()


class IdleEndpoints:
    """Those of runs that have ended, whose workers wait for the next run; for any thread.

    To start two takes 30 ms, of the 80 that a run of one batch takes (measured).
    """

    def __init__(self, *, most: int) -> None:
        """At most so many are kept: those of the last runs."""
        self._most = most
        self._lock = threading.Lock()
        self._idle: list[Endpoints] | None = []

    def take(self, pool: ConnectionPool, names: tuple[str, str], buffers: int) -> Endpoints | None:
        """Return some that serve such a run, which has to renew them."""
        with self._lock:
            for endpoints in self._idle or ():
                if endpoints.serve(pool, names, buffers):
                    (self._idle or []).remove(endpoints)
                    return endpoints
        return None

    def give(self, endpoints: Endpoints) -> None:
        """Keep these for the next run, if there may be one and they are at rest."""
        surplus = [endpoints]
        if endpoints.are_at_rest:
            with self._lock:
                if self._idle is not None:
                    kept = [*self._idle, endpoints]
                    surplus, self._idle = kept[: -self._most], kept[-self._most :]
        for each in surplus:
            each.dismiss()

    def dismiss(self) -> None:
        """Dismiss all, and all that are given from now on."""
        with self._lock:
            idle, self._idle = self._idle or [], None
        for endpoints in idle:
            endpoints.dismiss()
