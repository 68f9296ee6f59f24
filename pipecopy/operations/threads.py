"""Threads: runs each task in a thread of this process, for which nothing waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from pipecopy.workers.host import start


class Threads(Executor):
    """Runs each task at once, in a thread for which the interpreter's exit does not wait."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start the thread. Raises HostError."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()

        def run() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - raised by future.result()
                future.set_exception(error)

        start(threading.Thread(target=run, name="pipecopy-shard", daemon=True))
        return future
