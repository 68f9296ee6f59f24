"""The engine of a sharded run goes on, whatever one of its executor's methods does."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from pipecopy.operations.shards.engine import Engine, EngineError


class Uncancelled(Future[Any]):
    def cancel(self) -> bool:
        raise ConnectionError("the scheduler is gone")


class Failing(Executor):
    """Never ends its first task, and raises as that is to be cancelled; runs all others."""

    def __init__(self) -> None:
        self._tasks = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        self._tasks += 1
        task = Uncancelled()
        if self._tasks > 1:
            task.set_result(fn(*args))
        return task


class Odd(Executor):
    """Returns no future."""

    def submit(self, *_: Any) -> Any:  # type: ignore[override]  # it looks at none
        return None


def test_an_executor_that_raises_as_it_cancels_is_given_the_next_task() -> None:
    engine = Engine(Failing(), lambda: None)
    engine.cancel(engine.submit(abs, -1))
    assert engine.submit(abs, -2).result(5) == 2
    engine.end()


def test_an_executor_that_returns_no_future_takes_no_task() -> None:
    engine = Engine(Odd(), lambda: None)
    with pytest.raises(EngineError, match=r"^AttributeError: "):
        engine.submit(abs, -1).result(5)
    engine.end()
