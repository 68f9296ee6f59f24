"""One run at a time writes a target's table: another one is waited for, if that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from pipecopy.errors import DatabaseError
from pipecopy.supervisor.pauses import Wait
from pipecopy.supervisor.run import Run

Looked = TypeVar("Looked")

_PAUSE = 1.0
"""Seconds between two questions whether the table is free."""
_PATIENCE = 1.0
"""Seconds for which it has to be free beyond the delay before a retry: the other run's worker may
have been killed, and its replacement is about to take the table again."""


def in_turn(run: Run[Any], look: Callable[[], Looked]) -> Looked:
    """Connect and look at the tables, as `look` does; return what it returns.

    With `Config.wait`, another run that holds the target is waited for, unless it is abandoned, and
    both tables are looked at when that one has ended. Raises what `look` raises, and
    FullCopyTimeoutError.
    """
    while True:
        try:
            return look()
        except DatabaseError as error:
            if not (error.in_use and error.passes and run.config.wait):
                raise
            _wait(run, error)


def take_in_turn(run: Run[Any], take: Callable[[], object]) -> None:
    """Take what is another run's, or another process's, as `take` does.

    With `Config.wait`, that one is waited for. Raises what `take` raises, and FullCopyTimeoutError.
    """

    def look() -> Wait | None:
        try:
            take()
        except DatabaseError as error:
            if not (error.in_use and run.config.wait):
                raise
            return _held(run, error)
        return None

    run.wait_while(look)


def _wait(run: Run[Any], error: DatabaseError) -> None:
    """Wait until the target is this run's; both sides are connected anew then."""
    run.close(min(run.config.call_timeout, max(run.left, 0)))
    run.source.begin_anew()
    run.target.begin_anew(patience=run.config.retries_delay + _PATIENCE)
    run.pauses.waits(_held(run, error))
    run.wait_while(partial(_connect, run))


def _connect(run: Run[Any]) -> Wait | None:
    """Connect the target; return why that has to wait."""
    try:
        run.connect_target()
    except DatabaseError as refused:
        if not (refused.in_use and refused.passes):
            raise
        return _held(run, refused)
    return None


def _held(run: Run[Any], error: DatabaseError) -> Wait:
    detail = f"waiting for {run.target}, held by {error.holder or 'another run'}"
    return Wait(reason="another run", detail=detail, seconds=_PAUSE)
