"""The worker's side: holds the `Database`, runs one call at a time, answers in plain values."""

from __future__ import annotations

import faulthandler
import functools
import io
import math
import operator
import os
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Self

from pipecopy.contracts import Database, SavedRows, ServerChangedError, Session
from pipecopy.redact import secrets_in
from pipecopy.shard import LEDGER_CALLS
from pipecopy.workers.answers import (
    batches_of,
    check_plain,
    counts_in,
    estimates_of,
    int_of,
)
from pipecopy.workers.buffer import Buffer, MemoryFile, plain_rows
from pipecopy.workers.forkserver import ignore_stop_signals, name_process
from pipecopy.workers.messages import (
    Batch,
    Connected,
    Outcome,
    Returned,
    Task,
    cut,
    plain,
    raised,
)
from pipecopy.workers.script import load_pool
from pipecopy.workers.stack import write_stack_on_request
from pipecopy.workers.third_party import dill


@dataclass(frozen=True)
class Setup:
    """What a worker is given when it starts."""

    pool: bytes
    """The user's pool, pickled: it is opened in a call, which has a limit."""
    dbname: str
    session: Session
    buffers: tuple[Buffer, ...]
    output: MemoryFile
    """Takes its standard output and error: an abandoned worker holds no pipe open."""
    stack: MemoryFile
    """Takes the stack of a call that has reached its limit."""

    @classmethod
    def of(cls, pool: bytes, dbname: str, session: Session, buffers: tuple[Buffer, ...]) -> Self:
        """Return a setup with files, or descriptors, of its own.

        Raises:
            HostError: this machine refused one.

        """
        with ExitStack() as undo:
            own = []
            for buffer in buffers:
                own.append(buffer.duplicate())
                undo.callback(own[-1].close)
            output = MemoryFile("output", append=True)
            undo.callback(output.close)
            stack = MemoryFile("stack")
            undo.pop_all()
        return cls(pool, dbname, session, tuple(own), output, stack)

    def close(self) -> None:
        """Close the files; for the supervisor, once the worker is gone."""
        for file in (*self.buffers, self.output, self.stack):
            file.close()


class _WorkerProcess:
    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._database: Database | None = None
        self._is_compared = False
        """The greatest id was seen not to have become less."""
        self._secrets = secrets_in(setup.dbname)
        self._calls: dict[str, Callable[..., Any]] = {
            "connect": self._connect,
            "get_max_id": self._get_max_id,
            "get_max_id_in": self._get_max_id_in,
            "end_of_batch": self._end_of_batch,
            "ends_of_batches": self._ends_of_batches,
            "estimated_rows": self._estimated_rows,
            "load_rows": self._load_rows,
            "load_these": self._load_these,
            "save_rows": self._save_rows,
            "exchange_rows": self._exchange_rows,
            "lag": self._lag,
            "active_sessions": self._active_sessions,
            "finish": functools.partial(self._afterwards, "finish"),
            "analyze": functools.partial(self._afterwards, "analyze"),
            "close": self._close,
            _END_SESSIONS: self._end_sessions,
            **{name: functools.partial(self._plainly, name) for name in _PLAIN_CALLS},
        }

    def run(self, task: Task) -> Outcome:
        try:
            value = self._calls[task.call](*task.args)
            return Returned(value, plain(_position_of(self._database)))
        except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt are a driver's errors too
            return raised(error, self._secrets, connected=self._database is not None)

    def _pool(self) -> Any:
        pool = load_pool(self._setup.pool)
        self._secrets |= secrets_in(_connection_of(pool, self._setup.dbname))
        if _offers(pool, "for_session"):
            pool = pool.for_session(self._setup.session)
        return pool

    def _connect(self, session: Session | None = None) -> Connected:
        """Open the database; in that session, if another run begins with this worker."""
        if session is not None:
            self._setup = replace(self._setup, session=session)
            self._database, self._is_compared = None, False
        pool = self._pool()
        self._database = pool.connect(self._setup.dbname)
        if self._database is None:
            raise TypeError("connect returned None, not a Database")
        calls = (
            "get_max_id_in",
            "load_batch",
            "load_these",
            "end_of_batch",
            "ends_of_batches",
            "estimated_rows",
            "exchange_rows",
            "lag",
            "active_sessions",
            "finish",
            "analyze",
            *_PLAIN_CALLS,
        )
        offers = {call for call in calls if _offers(self._database, call)}
        if _offers(pool, _END_SESSIONS):
            offers.add(_END_SESSIONS)
        return Connected(frozenset(offers))

    def _end_sessions(self) -> str | None:
        told = self._pool().end_sessions(self._setup.dbname)
        return None if told is None else cut(str(told), self._secrets)

    @property
    def _connected(self) -> Any:
        """The database; connected again in a worker that replaced a killed one."""
        if self._database is None:
            self._connect()
        if not self._is_compared:
            self._compare_greatest_id(self._database)
        return self._database

    def _compare_greatest_id(self, database: Any) -> None:
        """See that a worker that replaces a killed one sees what that one saw.

        A driver that tells a position has seen to it itself.
        """
        known = self._setup.session.greatest_id
        if known is not None and _position_of(database) is None:
            greatest = database.get_max_id()
            if greatest < known:
                raise ServerChangedError(
                    f"the greatest id is {greatest} after a new connection, and was {known}"
                    " before: it leads to another server, or to one that has gone back in time"
                )
        self._is_compared = True

    def _plainly(self, call: str, *args: Any) -> Any:
        answer = getattr(self._connected, call)(*args)
        check_plain(call, answer)
        return plain(answer)

    def _get_max_id(self) -> int:
        max_id = int_of("get_max_id", self._connected.get_max_id())
        if max_id < 0:
            raise ValueError(f"get_max_id returned {max_id}: ids are at least 0")
        return max_id

    def _get_max_id_in(self, min_id: int, max_id: int) -> int:
        found = int_of("get_max_id_in", self._connected.get_max_id_in(min_id, max_id))
        if found and not min_id <= found < max_id:
            raise ValueError(
                f"get_max_id_in returned {found}, neither 0 nor an id in [{min_id}, {max_id})"
            )
        return found

    def _end_of_batch(self, min_id: int, max_id: int, rows: int) -> int:
        end = operator.index(self._connected.end_of_batch(min_id, max_id, rows))
        if not min_id < end <= max_id:
            raise ValueError(f"end_of_batch returned {end}, not an id in ({min_id}, {max_id}]")
        return end

    def _ends_of_batches(
        self, min_id: int, max_id: int, rows: int, most: int, seconds: float
    ) -> list[tuple[int, int]]:
        found = self._connected.ends_of_batches(min_id, max_id, rows, most, seconds)
        return batches_of("ends_of_batches", found, (min_id, max_id), most)

    def _estimated_rows(self, min_id: int, ends: Sequence[int], seconds: float) -> list[int] | None:
        found = self._connected.estimated_rows(min_id, ends, seconds)
        return estimates_of("estimated_rows", found, ends)

    def _load_rows(self, buffer: int, min_id: int, max_id: int, most_rows: int | None) -> Batch:
        """Load the rows of these ids; with a number of rows, the next so many of them."""
        if most_rows is None:
            call, found = "load_rows", self._connected.load_rows(min_id, max_id)
            key_range = getattr(found, "key_range", (min_id, max_id))
        else:
            call, found = "load_batch", self._connected.load_batch(min_id, max_id, most_rows)
            key_range = getattr(found, "key_range", None)
        rows = plain_rows(found, call)
        if key_range is None:
            raise TypeError("load_batch returned rows without the attribute key_range")
        end = operator.index(key_range[1])
        if not min_id < end <= max_id:
            raise ValueError(f"{call} returned rows up to {end}, not in ({min_id}, {max_id}]")
        size = self._setup.buffers[buffer].write(rows) if len(rows) else 0
        return Batch(len(rows), size, end)

    def _save_rows(self, buffer: int) -> SavedRows | None:
        rows: Sequence[Any] = self._setup.buffers[buffer].read()
        return counts_in(self._connected.save_rows(rows))

    def _load_these(self, buffer: int, ids: Sequence[int]) -> Batch:
        """Load the rows with these ids, in one batch."""
        rows = plain_rows(self._connected.load_these(ids), "load_these")
        size = self._setup.buffers[buffer].write(rows) if len(rows) else 0
        return Batch(len(rows), size, max(ids) + 1)

    def _exchange_rows(self, buffer: int, surplus: Sequence[int]) -> list[list[int]]:
        rows = self._setup.buffers[buffer].read()
        match self._connected.exchange_rows(rows, surplus):
            case [[*in_the_way], [*had]]:
                pass
            case _:
                raise TypeError(
                    "exchange_rows did not return (ids in the way, ids that had values)"
                )
        return [[int_of("exchange_rows", one) for one in ids] for ids in (in_the_way, had)]

    def _lag(self) -> tuple[float, str | None]:
        match self._connected.lag():
            case [int() | float() as seconds, str() | None as which] if 0 <= seconds < math.inf:
                return float(seconds), which and cut(which, self._secrets)
        raise TypeError("lag did not return (seconds, the name of a standby or None)")

    def _active_sessions(self) -> int:
        return int_of("active_sessions", self._connected.active_sessions())

    def _afterwards(self, call: str, *args: Any) -> str | None:
        warning = getattr(self._connected, call)(*args)
        return cut(warning, self._secrets) if isinstance(warning, str) else None

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()


# Pebble calls module-level functions: what they share has to be the module's.
_process: _WorkerProcess | None = None


def initialize(setup: Setup) -> None:
    """Make this process a worker. No user code runs here: a hang would not be timed."""
    global _process  # noqa: PLW0603
    ignore_stop_signals()
    name_process(f"pipecopy {setup.session.side}")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None if the host closed it
            stream.reconfigure(line_buffering=True)  # what is printed outlives a kill
    faulthandler.enable()  # a crash in C leaves its stack in the output
    write_stack_on_request(setup.stack)
    # dill keeps the main module of the moment when the fork server imported it; since then this
    # worker has imported the script
    dill._dill._main_module = sys.modules["__main__"]  # noqa: SLF001
    _process = _WorkerProcess(setup)


def ready() -> int:
    """Say that the worker has started."""
    return os.getpid()


def run(task: bytes) -> bytes:
    """Run one attempt of one call."""
    if _process is None:
        raise RuntimeError("the worker was not initialized")
    return pickle.dumps(_process.run(pickle.loads(task)))


_END_SESSIONS = "end_sessions"
_PLAIN_CALLS = (
    "describe",
    "create",
    "meet",
    "survey",
    "checksum",
    "row_checksums",
    "copied_checksums",
    "value_checksums",
    "unique_indexes",
    "rows_without_id",
    "delete_rows",
    "open_transactions",
    "confirm",
    "tables",
    "foreign_keys",
    *LEDGER_CALLS,
)
"""What a `Database` may offer besides, whose results are plain values."""


def _position_of(database: object) -> Any:
    """Return the position that a driver tells, None if it tells none."""
    position = getattr(database, "position", None)
    return None if callable(position) else position


def _offers(thing: object, method: str) -> bool:
    """Return whether it has the method, also if it only hands calls on to another object."""
    return callable(getattr(thing, method, None))


def _connection_of(pool: Any, dbname: str) -> str:
    """Return the connection string that a pool such as PostgresPool keeps under that name."""
    connections = getattr(pool, "connections", None)
    found = connections.get(dbname) if isinstance(connections, Mapping) else None
    return found if isinstance(found, str) else ""
