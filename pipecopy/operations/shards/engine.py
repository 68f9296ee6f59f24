"""The engine of a sharded run: any `concurrent.futures.Executor`, or threads of this process.

It may block in each of its methods, or raise; so it is asked in a thread of its own, for which
nothing waits.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any, TypeVar

from pipecopy.errors import HostError
from pipecopy.operations.threads import Threads
from pipecopy.supervisor.run import Run
from pipecopy.workers.host import start

Result = TypeVar("Result")


class EngineError(Exception):
    """The engine did not take a task, and will not take any other one."""


def warnings_of(executor: Executor | None, run: Run[Any], pool: Any) -> Iterator[str]:
    """Say which passwords anyone on the way to the engine's workers can read.

    An executor tells by `encrypts` whether what is sent to them is, if it leaves this machine; and
    a pool by `has_password` whether it sends one.
    """
    has_password = getattr(pool, "has_password", None)
    if has_password is None or getattr(executor, "encrypts", True):
        return
    for side in run.endpoints.both:
        if has_password(side.dbname):
            yield (
                f"the password of {side} is sent to the workers without encryption: write it into a"
                " service file or a password file there (service=…, PGPASSFILE), or use tls://"
            )


class Engine:
    """Hands tasks to an executor, and never blocks."""

    def __init__(self, executor: Executor | None, wake: Callable[[], None]) -> None:
        """`wake` is called, in any thread, whenever a task has ended."""
        self._executor = executor
        self._wake = wake
        self._requests: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._given: dict[Future[Any], Future[Any]] = {}
        """What the executor has returned, by what was returned here."""
        self._thread: threading.Thread | None = None

    @property
    def is_here(self) -> bool:
        """All tasks run in this process."""
        return self._executor is None

    def submit(self, task: Callable[[Any], Result], arg: Any) -> Future[Result]:
        """Return how the task ends, later: with an EngineError if the executor does not take it.

        What the executor cancels ends with a CancelledError, and what would need a thread that this
        machine refuses with a HostError, which is raised if there is none to ask the executor in.
        """
        outcome: Future[Result] = Future()
        outcome.set_running_or_notify_cancel()
        outcome.add_done_callback(lambda _: self._wake())
        if self._executor is None:
            self._give(Threads(), task, arg, outcome)
        else:
            executor = self._executor
            self._ask(lambda: self._give(executor, task, arg, outcome))
        return outcome

    def cancel(self, outcome: Future[Any]) -> None:
        """Have the executor forget the task, unless it is under way already."""
        if self._executor is not None:
            self._ask(lambda: self._cancel(outcome))

    def end(self) -> None:
        """Ask the executor nothing more, once it has answered what it was asked."""
        self._requests.put(None)

    def _ask(self, request: Callable[[], None]) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._serve, name="pipecopy-engine", daemon=True)
            start(thread)
            self._thread = thread
        self._requests.put(request)

    def _serve(self) -> None:
        while (request := self._requests.get()) is not None:
            request()

    def _give(
        self,
        executor: Executor,
        task: Callable[[Any], Any],
        arg: Any,
        outcome: Future[Any],
    ) -> None:
        try:
            given = self._given[outcome] = executor.submit(task, arg)
            given.add_done_callback(lambda ended: self._pass_on(ended, outcome))
        except Exception as error:  # noqa: BLE001 - of any engine
            outcome.set_exception(error if isinstance(error, HostError) else _refused(error))

    def _pass_on(self, ended: Future[Any], outcome: Future[Any]) -> None:
        self._given.pop(outcome, None)
        try:
            outcome.set_result(ended.result())
        except BaseException as error:  # noqa: BLE001 - a CancelledError as well
            outcome.set_exception(error)

    def _cancel(self, outcome: Future[Any]) -> None:
        given = self._given.get(outcome)
        if given is not None:
            with suppress(Exception):  # of any engine: the ledger stops what it does not forget
                given.cancel()


def _refused(error: Exception) -> EngineError:
    said = f": {error}" if str(error) else ""
    refused = EngineError(f"{type(error).__name__}{said}")
    refused.__cause__ = error
    return refused
