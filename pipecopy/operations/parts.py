"""The parts of a run, each of which is a supervised run of its own: what they share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

from pipecopy.errors import FullCopyTimeoutError, PipecopyError
from pipecopy.operations.threads import Threads
from pipecopy.shard import Part
from pipecopy.supervisor.run import Run

Item = TypeVar("Item")
Made = TypeVar("Made")

_LOOK = 1.0
"""Seconds between two looks at the steps, unless one ends before."""
_RESERVE, _SHARE = 0.5, 0.25
"""Seconds before the limit of the whole run at which its parts reach theirs, or this share of it:
so their end is heard of, and what is left of them on all hosts is ended, within the limit."""
_HEARD_OF = 0.6
"""The share of these for which the end of the parts is waited for."""

_LAST_WORDS = 1.0
"""Seconds in which the parts end, and what is left of them is ended, once the run has."""
_CLOSE = 0.1
"""Seconds of these, within the limit of the whole run, that are left to close both sides."""


def new_part(role: Literal["run", "table", "shard", "range"], number: int | None = None) -> Part:
    """Return what tells the sessions of this attempt from all others."""
    return Part(role=role, number=number, token=os.urandom(3).hex())


def on_each(
    run: Run[Any],
    items: Sequence[Item],
    step: Callable[[Item], Made],
    *,
    jobs: int,
    took: Callable[[Made], None] = lambda _: None,
) -> list[Made]:
    """Take a step with each, so many at once, in threads; return what they return, in order.

    `took` is called with each as it comes. Raises the error of the first that fails, HostError, and
    what `Run.pause` raises; the others go on then.
    """
    threads, waiting = Threads(), list(enumerate(items))
    under_way: dict[Future[Made], int] = {}
    made: dict[int, Made] = {}
    while waiting or under_way:
        while waiting and len(under_way) < jobs:
            number, item = waiting.pop(0)
            future = threads.submit(step, item)
            under_way[future] = number
            future.add_done_callback(lambda _: run.wake())
        run.pause(_LOOK, lambda: any(future.done() for future in under_way))
        for future in [future for future in under_way if future.done()]:
            number = under_way.pop(future)
            made[number] = future.result()
            took(made[number])
    return [made[number] for number in range(len(items))]


def left_for_parts(run: Run[Any]) -> float:
    """Return the seconds that are left for the parts of the run; in any thread."""
    return run.deadline - (time.monotonic() - run.clock.stopped) - _reserve(run)


def left_to_hear(run: Run[Any]) -> float:
    """Return the seconds in which the parts should have ended, all of them."""
    return left_for_parts(run) + _HEARD_OF * _reserve(run)


def last_words(run: Run[Any]) -> float:
    """Return the seconds that are left for what is done in the end."""
    return min(_LAST_WORDS, run.config.call_timeout, max(_CLOSE, run.left - _CLOSE))


def warn_once(run: Run[Any], warnings: Iterable[str]) -> None:
    """Add the warnings of a part to the run's: each part may have met the same."""
    for warning in warnings:
        if warning not in run.report.warnings:
            run.warn(warning)


@contextmanager
def by_plan(run_id: str) -> Iterator[None]:
    """Have an error by which the plan of the run no longer holds say so."""
    try:
        yield
    except PipecopyError as error:
        if error.voids_plan:
            error.begin_anew(run_id)
        raise


def of_whole_run(run: Run[Any], error: PipecopyError, part: str) -> FullCopyTimeoutError:
    """Return the error of the limit of the whole run, for that of one of its parts."""
    return run.full_copy_timeout(f" in {part}{_call(error)}", **call_of(error))


def call_of(error: PipecopyError) -> dict[str, Any]:
    """Return what an error has of the call that it is about."""
    known = ("side", "dbname", "call", "key_range", "attempts")
    return {name: getattr(error, name) for name in known}


def _reserve(run: Run[Any]) -> float:
    return min(_RESERVE, _SHARE * run.config.full_copy_timeout)


def _call(error: PipecopyError) -> str:
    """Return which call was under way, as the error has it."""
    if error.call is None:
        return ""
    ids = "" if error.key_range is None else " of ids [{}, {})".format(*error.key_range)
    return f": attempt {error.attempts} of {error.side} {error.dbname}: {error.call}{ids}"
