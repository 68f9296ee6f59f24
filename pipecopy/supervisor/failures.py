"""The errors that a call ends with, made of what its worker told, or of how that ended."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

from pipecopy.errors import (
    CallTimeoutError,
    ConfigError,
    DatabaseError,
    HostError,
    PipecopyError,
    TableMismatchError,
    WorkerCrashedError,
)
from pipecopy.events import Where
from pipecopy.finding import side_name
from pipecopy.redact import redact
from pipecopy.workers.host import killed
from pipecopy.workers.messages import Crashed, Raised

_SILENT = "see that the server answers, and that no firewall drops what is sent to it"
_STUCK = (
    "see that the server answers, and what the session waits for there (PostgreSQL:"
    " pg_stat_activity), or give a call more time (`call_timeout`)"
)


def attributes(where: Where) -> dict[str, Any]:
    """Return what every error of an attempt has."""
    return {
        "side": where.side,
        "dbname": where.dbname,
        "call": where.call,
        "key_range": where.key_range,
        "attempts": where.attempt,
    }


def of_raised(raised: Raised, where: Where) -> PipecopyError:
    """Return the error of a call that raised, but for a time-out."""
    said = redact(str(raised))
    if raised.reason == "config":
        return ConfigError(said)
    in_use, lost = raised.reason == "in use", raised.reason == "lost"
    # the call did not fail: it was not its turn
    failed = side_name(where.side, where.dbname) if in_use or lost else _failed(where)
    message = f"{failed}: {said}"
    if raised.reason == "table changed":
        differences = tuple(map(redact, raised.differences))
        return TableMismatchError(
            message, differences=differences, remedy="run it again", **attributes(where)
        )
    if raised.reason == "refused":
        return HostError(message, errno=raised.errno, limit=raised.limit, **attributes(where))
    return DatabaseError(
        message,
        sqlstate=raised.sqlstate,
        driver_error=raised.driver_error,
        remedy=raised.remedy,
        driver_message=redact(raised.message),
        in_use=in_use,
        lost=lost,
        voids_plan=raised.reason == "table emptied"
        # a target's ledger says what that still has
        or (raised.reason == "server changed" and where.side == "source"),
        holder=raised.holder and replace(raised.holder, who=redact(raised.holder.who)),
        driver_traceback=redact(raised.traceback),
        **attributes(where),
    )


def of_crash(crashed: Crashed, when: str, where: Where) -> PipecopyError:
    """Return the error of a call whose worker died; `when` goes on from how it did."""
    refusal = crashed.refusal
    if isinstance(refusal, ConfigError):
        return refusal
    if refusal is not None:
        message = f"{_failed(where)}: {refusal}"
        return HostError(message, errno=refusal.errno, limit=refusal.limit, **attributes(where))
    hint = f" ({killed()})" if crashed.signal == signal.SIGKILL else ""
    return WorkerCrashedError(
        f"{_failed(where)}: the worker {crashed} {when}{hint}{last_words(crashed)}",
        exitcode=crashed.exitcode if crashed.signal is None else None,
        signal=crashed.signal,
        **attributes(where),
    )


def last_words(crashed: Crashed) -> str:
    """Return what goes on from how a worker died: the last of what it wrote."""
    return f"; the last it wrote: {redact(crashed.output)}" if crashed.output else ""


def of_timeouts(how: str, where: Where, remedy: str | None) -> CallTimeoutError:
    """Return the error of a call that timed out on all its attempts, the last one as `how` says.

    `remedy` is what the driver knows to do about it.
    """
    attempts = "its only attempt" if where.attempt == 1 else f"all {where.attempt} attempts"
    return CallTimeoutError(
        f"{where} timed out on {attempts}: {how}",
        remedy=remedy or (_SILENT if where.call == "connect" else _STUCK),
        **attributes(where),
    )


def _failed(where: Where) -> str:
    return f"{where} failed on attempt {where.attempt}"
