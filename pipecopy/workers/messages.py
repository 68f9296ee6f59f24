"""The values that cross the border between supervisor and worker, pickled by the standard pickle.

Nothing else does: an exception or a result that can't be unpickled would break Pebble's pool. So
what a driver returns goes as values of Python's own, and what it raises as names and texts.
"""

from __future__ import annotations

import signal
import traceback
from collections.abc import Collection
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any, Literal, TypeAlias

from pipecopy.contracts import (
    Column,
    ServerChangedError,
    ShardLostError,
    TableChangedError,
    TableDescription,
    TableEmptiedError,
    TargetInUseError,
)
from pipecopy.errors import ConfigError, Holder, HostError
from pipecopy.finding import Finding
from pipecopy.redact import redact
from pipecopy.shard import Shard
from pipecopy.workers.host import causes, hidden_refusal

_MOST_TEXT = 8_000
"""Characters of a driver's message or traceback that are passed on."""
_MOST_CAUSES = 5
_OWN: tuple[type[Any], ...] = (TableDescription, Column, Finding, Holder, Shard)
_PLAIN = (bool, int, float, str, bytes, type(None))


@dataclass(frozen=True)
class Task:
    """One attempt of one call, for the worker."""

    call: str
    args: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Connected:
    """`connect` returned."""

    offers: frozenset[str]
    """Which of the methods beyond the contract the `Database` has."""


@dataclass(frozen=True)
class Batch:
    """What `load_rows` wrote to a buffer."""

    rows: int
    """Their number."""
    bytes: int
    end: int
    """The batch holds the rows with ids below this one."""


@dataclass(frozen=True)
class Returned:
    """The call returned."""

    value: Any
    position: Any = None
    """The `position` of the `Database` after the call; None if it has none."""


Reason: TypeAlias = Literal[
    "error",
    "timed out",
    "server changed",
    "table emptied",
    "table changed",
    "in use",
    "lost",
    "refused",
    "config",
]
"""What an exception means for the run: by `TimeoutError`, the exceptions of the contract, what this
machine refuses, and what the user has to change."""


@dataclass(frozen=True)
class Raised:
    """The call raised."""

    driver_error: str
    """The name of the exception's class, with its module."""
    message: str
    sqlstate: str | None
    traceback: str
    reason: Reason
    connected: bool
    """Whether the worker has a `Database`, which can be closed."""
    remedy: str | None = None
    """What to do about it."""
    differences: tuple[str, ...] = ()
    """One line for each thing that changed in the table."""
    saved_rows_stand: bool = True
    """Whether the rows that were saved before are still there, as far as is known."""
    errno: int | None = None
    """Of what this machine refused."""
    limit: str | None = None
    """The limit that this was, such as `RLIMIT_NOFILE`."""
    holder: Holder | None = None
    """Who holds the target's table."""

    def __str__(self) -> str:
        """Return what was raised; without its class if that is one of the contract, or ours."""
        if self.reason not in {"error", "timed out"}:
            return self.message
        code = f" ({self.sqlstate})" if self.sqlstate else ""
        message = f": {self.message}" if self.message else ""
        return f"{self.driver_error}{code}{message}"


@dataclass(frozen=True)
class Crashed:
    """The worker died, and nobody here had killed it."""

    exitcode: int | None
    """As in `subprocess`: negative for a signal."""
    output: str
    """The last of what it wrote to its standard output and error."""
    refusal: HostError | ConfigError | None = None
    """Why it could not start: what this machine refused, or what the user has to change."""

    @property
    def signal(self) -> int | None:
        """The number of the signal that killed it, if one did."""
        return None if self.exitcode is None or self.exitcode >= 0 else -self.exitcode

    def __str__(self) -> str:
        """Return how it ended, such as `exited with code 1` or `was killed by SIGSEGV`."""
        if self.refusal is not None:
            return "could not start"
        if self.exitcode is None:
            return "died"
        if self.signal is None:
            return f"exited with code {self.exitcode}"
        try:
            return f"was killed by {signal.Signals(self.signal).name}"
        except ValueError:
            return f"was killed by signal {self.signal}"


Outcome: TypeAlias = Returned | Raised | Crashed


def plain(value: Any) -> Any:
    """Return what a `Database` returned as values that any process can unpickle and compare.

    They are of Python's own types and of this package's; any other value becomes its repr.
    """
    for kind in _OWN:
        if isinstance(value, kind):
            return kind(**{each.name: _field(getattr(value, each.name)) for each in fields(kind)})
    if type(value) in _PLAIN:
        return value
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return cut(repr(value))


def _field(value: Any) -> Any:
    """Return the same of a field of such a value, whose sequences are tuples."""
    made = plain(value)
    return tuple(made) if isinstance(made, list) else made


def raised(error: BaseException, secrets: Collection[str], *, connected: bool) -> Raised:
    """Return what was raised, without these passwords; never raises."""
    try:
        changed = error if isinstance(error, TableChangedError) else None
        differences = () if changed is None else changed.differences
        sqlstate, reason = _sqlstate(error), _reason(error)
        refused = hidden_refusal(error) if sqlstate is None and reason == "error" else None
        return Raised(
            driver_error=type_name(type(error)),
            message=_text(refused or error, secrets),
            sqlstate=sqlstate,
            traceback=cut(_traceback(error, secrets), secrets, tail=True),
            reason=reason if refused is None else "refused",
            errno=refused.errno if refused else None,
            limit=refused.limit if refused else None,
            connected=connected,
            remedy=_remedy(error, secrets),
            holder=_holder(error),
            differences=tuple(cut(str(difference), secrets) for difference in differences),
            saved_rows_stand=(
                not isinstance(error, ServerChangedError)
                if changed is None
                else changed.saved_rows_stand
            ),
        )
    except Exception:  # noqa: BLE001 - some driver's exception does not like to be looked at
        name = str(type.__getattribute__(type(error), "__name__"))
        return Raised(name, "it can't be shown", None, "", "error", connected=connected)


def cut(text: str, secrets: Collection[str] = (), *, tail: bool = False) -> str:
    """Return the text without passwords; of one that is too long its beginning, or its tail."""
    length = len(text)
    # passwords first, or a cut could leave half of one without what tells it
    text = redact(text[-4 * _MOST_TEXT :] if tail else text[: 4 * _MOST_TEXT], secrets)
    if length > _MOST_TEXT:
        text = text[-_MOST_TEXT:] if tail else text[:_MOST_TEXT]
        text = f"… {text}" if tail else f"{text} … ({length} characters)"
    # a lone surrogate would make the message unprintable
    return text.encode(errors="backslashreplace").decode()


def _text(error: BaseException, secrets: Collection[str]) -> str:
    try:
        return cut(str(error), secrets)
    except Exception:  # noqa: BLE001 - a driver's own __str__
        return "its message can't be shown"


def _traceback(error: BaseException, secrets: Collection[str]) -> str:
    """Return the traceback with those of its causes before it, and each message cut."""
    parts: list[str] = []
    for each in islice(causes(error), _MOST_CAUSES):
        frames = "".join(traceback.format_tb(each.__traceback__))
        what = f"{type_name(type(each))}: {_text(each, secrets)}"
        parts.append(f"Traceback (most recent call last):\n{frames}{what}\n")
    return "\nwhich led to\n\n".join(reversed(parts))


def type_name(kind: type[Any]) -> str:
    """Return the name of a class with its module; a name such as `java.lang.Long` has it."""
    if kind.__module__ in {"builtins", "__main__", "__mp_main__"} or "." in kind.__name__:
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def _reason(error: BaseException) -> Reason:
    reasons: dict[type[BaseException], Reason] = {
        TimeoutError: "timed out",
        TableEmptiedError: "table emptied",
        ServerChangedError: "server changed",
        TableChangedError: "table changed",
        TargetInUseError: "in use",
        ShardLostError: "lost",
        ConfigError: "config",
    }
    return next((reasons[kind] for kind in reasons if isinstance(error, kind)), "error")


def _remedy(error: BaseException, secrets: Collection[str]) -> str | None:
    remedy = getattr(error, "remedy", None)
    return cut(remedy, secrets) if isinstance(remedy, str) else None


def _holder(error: BaseException) -> Holder | None:
    holder = error.holder if isinstance(error, TargetInUseError) else None
    found: Holder | None = plain(holder) if isinstance(holder, Holder) else None
    return found


def _sqlstate(error: BaseException) -> str | None:
    """Return the SQLSTATE from the places in which psycopg, psycopg2 and pg8000 keep it."""
    codes = [getattr(error, "sqlstate", None), getattr(error, "pgcode", None)]
    if error.args and isinstance(error.args[0], dict):
        codes.append(error.args[0].get("C"))
    return next((code for code in codes if isinstance(code, str)), None)
