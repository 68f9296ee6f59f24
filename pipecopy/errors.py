"""The errors.

::

    PipecopyError
    ├── ConfigError (also a ValueError)        every bad field named at once
    ├── CallTimeoutError (also a TimeoutError) one call timed out on all its attempts
    ├── FullCopyTimeoutError (also a TimeoutError)
    ├── DatabaseError                          a call raised; .sqlstate if there is one
    │   └── WorkerCrashedError                 the worker died during a call
    ├── TableMismatchError                     the two tables do not match, or one changed
    ├── HostError                              this machine refused what a run needs
    └── StoppedError                           the run was asked to stop, and did
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipecopy.finding import and_more, with_remedy
from pipecopy.redact import redact

_PASSING = ("08", "40001", "40P01", "53300", "57P01", "57P02", "57P03")
"""SQLSTATEs, or their beginnings, of what passes: a connection that broke or leads to another
server, a session that the server ended, and what it says of itself while it starts or is full."""
_ENDED_SESSION = ("08", "57P")
"""The same of a session that ended: with its server, or since somebody ended it."""
_PROTOCOL_VIOLATION = "08P01"
"""Of class 08, but no session ends with it, and it does not pass: the server can't read a value."""
_OF_A_ROW = ("21", "22", "23", "27", "38", "39", "44", "54", "58030", "58P01", "P0", "XX")
"""SQLSTATEs, or their beginnings, of what a single row brings about: a value that a type or a
constraint refuses, that has no text or is too large, on which a function fails, or that the server
can't read from its disk."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds the target's table, as far as that is known."""

    who: str
    """In words, such as `pipecopy run 0123456789ab on host batch-7, pid 4711, since …`."""
    run_id: str | None = None
    host: str | None = None
    """Of the machine on which its process is, or the container; a long name is shortened (`~`)."""
    pid: int | None = None
    """Of its process, as it is known there."""
    since: str | None = None
    """When it began (UTC, ISO 8601)."""
    session: int | None = None
    """The process id of the server session that has the lock."""
    abandoned: bool = False
    """It is a sharded run that nobody has copied for a while: it does not end by itself."""

    def __str__(self) -> str:
        return self.who


class PipecopyError(Exception):
    """The root of all errors that pipecopy raises; it survives pickling whole.

    `str(error)` is one readable message. The attributes are None if they do not apply:

    - `side` (str): `"source"` or `"target"`;
    - `dbname` (str): the database's name as it was given, without a password;
    - `call` (str): the call that failed, such as `"load_rows"`;
    - `key_range` (tuple[int, int]): the ids `[first, past_last)` that the call was about;
    - `attempts` (int): how often the call was attempted;
    - `remedy` (str): what to do about it, which is the end of the message too;
    - `report` (CopyReport, or the report of another kind of run): how far it came.

    `anew` (bool): the plan of a sharded run no longer holds, so to go on with the run would end in
    the same way each time: drop it (`drop_run`), and begin a new one.
    """

    anew = False

    def __init__(
        self,
        message: str,
        *,
        side: str | None = None,
        dbname: str | None = None,
        call: str | None = None,
        key_range: tuple[int, int] | None = None,
        attempts: int | None = None,
        remedy: str | None = None,
        report: Any = None,
    ) -> None:
        super().__init__(redact(with_remedy(message, remedy)))
        self.side = side
        self.dbname = dbname
        self.call = call
        self.key_range = key_range
        self.attempts = attempts
        self.remedy = remedy
        self.report = report

    def add(self, sentence: str) -> None:
        """Say this as well."""
        self.args = (redact(and_more(str(self), sentence)), *self.args[1:])

    def begin_anew(self, run_id: str) -> None:
        """Say that the plan of the run no longer holds, instead of what to do without one."""
        self.anew = True
        said = str(self)
        if self.remedy is not None:  # something may have been added after it
            said = said.replace(f"; {self.remedy}", "", 1)
        self.remedy, self.args = None, (said, *self.args[1:])
        self.add(f"the plan of run {run_id} no longer holds")

    @property
    def passes(self) -> bool:
        """Whether it goes away by itself: to run again, later, is all there is to do."""
        return False

    @property
    def voids_plan(self) -> bool:
        """Whether what a plan has found of servers and tables does not hold any more."""
        return False

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild from the message and the attributes, past each class's own `__init__`."""
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(
    cls: type[PipecopyError], args: tuple[Any, ...], attributes: dict[str, Any]
) -> PipecopyError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class ConfigError(PipecopyError, ValueError):
    """An argument is not valid; nothing was copied. The message names every bad field."""


class CallTimeoutError(PipecopyError, TimeoutError):
    """One call timed out on all its attempts, each of which had its full limit."""

    passes = True


class FullCopyTimeoutError(PipecopyError, TimeoutError):
    """The whole copy reached its limit, or a retry would have begun after it."""

    where: str = ""
    """What of the message says what was under way; empty if that is not known."""


class DatabaseError(PipecopyError):
    """A call raised something other than a time-out, which is never retried.

    `sqlstate` (str | None) is the server's five-character code, `driver_error` (str | None) the
    driver's class name, `driver_message` (str | None) its message alone, `driver_traceback`
    (str | None) its traceback as text: the driver's own exception never leaves the worker, since
    many can't be unpickled. `in_use` (bool): another run holds the target's table; `holder`
    (Holder | None) is who, if that is known. `lost` (bool): another attempt has the shard of a
    sharded run, the run was stopped, or the host or the engine that copied the shard is gone.
    `voids_plan` (bool): the source is another server than before, or went back in time, or a crash
    has emptied the table.
    """

    voids_plan = False

    def __init__(
        self,
        message: str,
        *,
        sqlstate: str | None = None,
        driver_error: str | None = None,
        driver_message: str | None = None,
        driver_traceback: str | None = None,
        in_use: bool = False,
        lost: bool = False,
        voids_plan: bool = False,
        holder: Holder | None = None,
        **where: Any,
    ) -> None:
        super().__init__(message, **where)
        self.sqlstate = sqlstate
        self.driver_error = driver_error
        self.driver_message = driver_message
        self.driver_traceback = driver_traceback
        self.in_use = in_use
        self.lost = lost
        self.voids_plan = voids_plan
        self.holder = holder

    @property
    def passes(self) -> bool:
        """Whether it goes away by itself: by the SQLSTATE, or since the other run will end."""
        if self.in_use:
            return self.holder is None or not self.holder.abandoned
        return not self.anew and (self.lost or self._begins_with(_PASSING))

    @property
    def ended_session(self) -> bool:
        """Whether the session is gone, by the SQLSTATE."""
        return self._begins_with(_ENDED_SESSION)

    def _begins_with(self, states: tuple[str, ...]) -> bool:
        code = self.sqlstate or ""
        return code.startswith(states) and code != _PROTOCOL_VIOLATION

    @property
    def is_of_a_row(self) -> bool:
        """Whether a single row may be the reason, by the SQLSTATE: without it there is no error."""
        return is_of_a_row(self.sqlstate)

    @property
    def lacks_module(self) -> bool:
        """Whether this host lacks a module, such as the driver's: no server is at fault."""
        return self.driver_error in {"ImportError", "ModuleNotFoundError"}


def is_of_a_row(sqlstate: str | None) -> bool:
    """Return whether a single row may have brought the error about."""
    return (sqlstate or "").startswith(_OF_A_ROW)


class WorkerCrashedError(DatabaseError):
    """The worker died during a call, and pipecopy had not killed it.

    `exitcode` (int | None) is what it exited with, `signal` (int | None) what killed it.
    """

    def __init__(
        self,
        message: str,
        *,
        exitcode: int | None = None,
        signal: int | None = None,
        **where: Any,
    ) -> None:
        super().__init__(message, **where)
        self.exitcode = exitcode
        self.signal = signal


class TableMismatchError(PipecopyError):
    """The two tables do not match, or one of them changed while the run was under way.

    `differences` (tuple[str, ...]) has one line for each thing that does not match, or that
    changed. Nothing was written if `call` is None; else `side` and `call` tell what met the change.
    """

    def __init__(self, message: str, *, differences: tuple[str, ...] = (), **where: Any) -> None:
        super().__init__(message, **where)
        self.differences = differences

    @property
    def voids_plan(self) -> bool:
        """Whether a table changed."""
        return self.call is not None


class HostError(PipecopyError):
    """The machine refused what a run needs: neither the source nor the target is at fault.

    `errno` (int | None) is the number of the system's error, `limit` (str | None) the limit that
    was reached, such as `"RLIMIT_NOFILE"`.
    """

    def __init__(
        self, message: str, *, errno: int | None = None, limit: str | None = None, **where: Any
    ) -> None:
        super().__init__(message, **where)
        self.errno = errno
        self.limit = limit


class StoppedError(PipecopyError):
    """The run was asked to stop by its `stop`, before all was done; `report` tells how far it came.

    What was in flight was finished, unless that took longer than `Config.grace`.
    """
