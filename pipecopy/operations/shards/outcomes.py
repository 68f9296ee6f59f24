"""What became of an attempt of a shard: it was lost, and runs again, or its error ends the run."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future
from typing import Any

from pipecopy.errors import (
    DatabaseError,
    FullCopyTimeoutError,
    HostError,
    PipecopyError,
    WorkerCrashedError,
)
from pipecopy.operations.parts import of_whole_run
from pipecopy.operations.shards.engine import EngineError
from pipecopy.operations.shards.shard import ShardResult
from pipecopy.shard import Shard
from pipecopy.supervisor.run import Run


def result_of(outcome: Future[ShardResult]) -> tuple[ShardResult | None, BaseException | None]:
    """Return how an attempt ended, and what ended it; None if it copied its shard."""
    if (lost := outcome.exception()) is not None:
        return None, lost
    result = outcome.result()
    return result, result.error


def is_loss(error: BaseException) -> bool:
    """Tell whether an attempt was lost, or crashed: its host, worker, session or engine is gone.

    An error of the tables or of SQL is none, nor is a time-out, which had its retries, nor a source
    that is not the planned one any more.
    """
    if not isinstance(error, PipecopyError):
        return not isinstance(error, EngineError)
    if isinstance(error, WorkerCrashedError | HostError):
        return True
    if error.voids_plan:
        return False
    return isinstance(error, DatabaseError) and (error.lost or error.ended_session)


def text_of(error: BaseException) -> str:
    """Return what is said of it."""
    if isinstance(error, CancelledError):
        return "the engine has cancelled it"
    if isinstance(error, PipecopyError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def ending(
    run: Run[Any], shard: Shard, table: str | None, attempts: int, error: BaseException
) -> PipecopyError:
    """Return the error that ends the run, which names the shard, of that table."""
    ids = f"ids {shard.first} to {shard.last} of {table or shard.table}"
    which = f"shard {shard.shard} ({ids})"
    if isinstance(error, FullCopyTimeoutError):
        return of_whole_run(run, error, which)
    if isinstance(error, PipecopyError):
        error.args = (f"{which}: {error}", *error.args[1:])
        return error
    if isinstance(error, EngineError):
        return WorkerCrashedError(
            f"the engine takes no more shards: {error}",
            lost=True,
            remedy=f"go on with the run on a new one (`run='{shard.run}'`)",
        )
    times = "once" if attempts == 1 else f"{attempts} times"
    return WorkerCrashedError(f"{which} was lost {times}: {text_of(error)}", lost=True)
