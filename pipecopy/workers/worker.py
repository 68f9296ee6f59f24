"""The supervisor's side: one killable worker process for one database."""

from __future__ import annotations

import pickle
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_futures
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pebble import ProcessPool

from pipecopy.errors import ConfigError, HostError
from pipecopy.workers import process
from pipecopy.workers.buffer import Buffer
from pipecopy.workers.context import WorkerContext, WorkerPopen
from pipecopy.workers.forkserver import refusal_in
from pipecopy.workers.host import REFUSED_EXIT, refusal, start
from pipecopy.workers.interpreter import NO_PYTHON, NO_PYTHON_EXIT, find_interpreter
from pipecopy.workers.messages import Crashed, Outcome, Task
from pipecopy.workers.process import Setup
from pipecopy.workers.script import UNGUARDED, UNGUARDED_EXIT
from pipecopy.workers.servers import ForkServer
from pipecopy.workers.stack import UNINTERRUPTIBLE, find_hang, state_of

if TYPE_CHECKING:
    from pipecopy.events import Hang

_KILL_TIMEOUT = 0.08
"""Seconds after SIGKILL after which a worker is taken to be in uninterruptible sleep. Most are
gone in 1 ms, one with 1 GiB to give back in 30 (measured)."""
_DYING_TIMEOUT = 0.07
"""Seconds more for one that is not in such a sleep: it waits for a processor, and then dies."""
_LAST_RESULT_TIMEOUT = 0.05
"""Seconds that Pebble gets to hand over what a worker sent before it died."""
_OUTPUT_SHOWN = 2_000  # bytes
_OUTPUT_KEPT = 1 << 20  # bytes


class Worker:
    """One worker process: the single worker of its own Pebble pool.

    It is used by one thread. `wake` is called, in any thread, whenever there may be news. Once
    killed it is gone for good; what replaces it is another `Worker`.
    """

    def __init__(self, server: ForkServer, setup: Setup, wake: Callable[[], None]) -> None:
        self._setup = setup
        self.server = server
        self._wake = wake
        self._context = WorkerContext(server, setup.output.fd)
        self._pool = ProcessPool(
            max_workers=1,
            initializer=process.initialize,
            initargs=(setup,),
            context=self._context,
        )
        self._future: Future[Any] | None = None
        self._start_error: BaseException | None = None
        self._ready = False
        self._output_seen = 0
        self.abandoned = False
        self._released = threading.Event()
        # forking waits for the fork server, which may hang; to let go needs no other thread
        start(threading.Thread(target=self._start_to_end, name="pipecopy-worker", daemon=True))

    def _start_to_end(self) -> None:
        self._start()
        self._released.wait()
        self._let_go()

    def _start(self) -> None:
        # for Pebble's threads too: what is sent to a worker that has died must not end the host
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGPIPE,))
        try:
            self._schedule(process.ready)
        except BaseException as error:  # noqa: BLE001 - outcome() tells
            self._start_error = error
        self._wake()

    def _schedule(self, function: Callable[..., Any], *args: Any) -> None:
        # called by the starter, then, once that call has returned, by the owner's thread
        future = self._pool.schedule(function, args=args)
        time.sleep(0)  # gives the interpreter to Pebble's thread, which sends it
        self._future = future
        future.add_done_callback(lambda _: self._wake())

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """The buffers that this worker was given."""
        return self._setup.buffers

    @property
    def _popen(self) -> WorkerPopen | None:
        return self._context.popen

    @property
    def pid(self) -> int | None:
        """Its process id; None before it was forked."""
        return self._popen.pid if self._popen is not None else None

    @property
    def pidfd(self) -> int | None:
        """A descriptor that becomes readable when the process ends; None before it was forked."""
        return self._popen.pidfd if self._popen is not None else None

    def begin(self, task: Task) -> None:
        """Have the worker, which must be ready, run the task; the caller kills it in time."""
        try:
            self._schedule(process.run, pickle.dumps(task))
        except RuntimeError as error:  # Pebble's word for a worker that died while idle
            self._start_error = error

    def started(self) -> bool | Crashed:
        """Return whether the worker is ready to begin a task."""
        if not self._ready:
            answer = self._answer()
            if isinstance(answer, Crashed):
                return answer
            if answer is not None:
                self._ready = True
                self._output_seen = self._setup.output.size  # of the script, not of the driver
        return self._ready

    def outcome(self) -> Outcome | None:
        """Return how the task ended, None while it runs."""
        answer = self._answer()
        if isinstance(answer, bytes):
            outcome: Outcome = pickle.loads(answer)
            return outcome
        return answer

    def _answer(self) -> Any | Crashed | None:
        future = self._future
        if self._start_error is None and (future is None or not future.done()):
            if self._popen is None or self._popen.poll() is None:
                return None
            if future is not None:
                wait_for_futures([future], timeout=_LAST_RESULT_TIMEOUT)
        if self._start_error is None and future is not None and future.done():
            error = future.exception()
            if error is None:
                return future.result()
        return self._crashed()

    def _crashed(self) -> Crashed:
        popen = self._popen
        exitcode = popen.wait(_LAST_RESULT_TIMEOUT) if popen is not None else None
        output = self._setup.output.tail(_OUTPUT_SHOWN, self._output_seen)
        if self.server.exitcode is not None:  # the worker died with it
            output += self.server.output.tail(_OUTPUT_SHOWN)
            exitcode = self.server.exitcode if exitcode is None else exitcode
        found = self._refusal(exitcode, output)
        if exitcode is None and self._start_error is not None:
            output += str(self._start_error.__cause__ or self._start_error)
        return Crashed(exitcode, output.strip(), refusal=found)

    def _refusal(self, exitcode: int | None, output: str) -> HostError | ConfigError | None:
        """Return why the worker could not start, if nothing is wrong with the database."""
        if self._ready:  # the exit code is the driver's
            return None
        if self.server.exitcode == NO_PYTHON_EXIT:
            return ConfigError(NO_PYTHON.format(path=find_interpreter()))
        if exitcode == UNGUARDED_EXIT:
            return ConfigError(UNGUARDED)
        if exitcode == REFUSED_EXIT and (found := refusal_in(output)) is not None:
            return found
        server = self.server.exitcode
        if server is not None and server > 0:  # not even Python ran, or not for long
            said = f"; the last it wrote: {output.strip()}" if output.strip() else ""
            return HostError(
                "this machine did not run the process that starts the workers:"
                f" {find_interpreter()} exited with code {server}{said}"
            )
        return None if self._start_error is None else refusal(self._start_error)

    def new_output(self) -> str:
        """Return what the driver has written to its standard output and error since last asked."""
        output = self._setup.output
        size = output.size
        if size <= self._output_seen:
            return ""
        text = output.tail(_OUTPUT_SHOWN, self._output_seen)
        self._output_seen = size
        if size > _OUTPUT_KEPT:
            output.clear()
            self._output_seen = 0
        return text

    def find_hang(self) -> Hang | None:
        """Return where the worker hangs; None if it was not even forked."""
        if self._popen is None:
            return None
        stack = self._setup.stack if self._ready else None
        return find_hang(self._popen.pid, self._popen.pidfd, stack)

    def is_alive(self) -> bool:
        """Return whether the process has started, and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    def state(self) -> str:
        """Return the process's state, such as `sleeping`."""
        return state_of(self.pid) if self.pid is not None else "gone"

    def kill(self) -> bool:
        """Kill the process; False if it did not die and had to be abandoned."""
        popen = self._popen
        if popen is None:
            return True  # release() ends what is forked yet: until then Pebble's lock is taken
        self._pool.stop()  # or Pebble would take the death for a crash
        popen.kill()
        if popen.wait(_KILL_TIMEOUT) is None and (
            self.state() == UNINTERRUPTIBLE or popen.wait(_DYING_TIMEOUT) is None
        ):
            self.abandoned = True
            popen.abandon()
        return not self.abandoned

    def release(self) -> None:
        """Let go of all that the killed worker had, in its own thread."""
        self._released.set()

    def _let_go(self) -> None:
        self.kill()  # if it was killed before it was forked
        self._pool.stop()
        with suppress(Exception):
            self._pool.join()
        self._context.close()
        if self._popen is not None:
            self._popen.close()
        self._setup.close()
