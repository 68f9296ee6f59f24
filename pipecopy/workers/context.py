"""The multiprocess context on which a Pebble pool starts its one worker.

What it changes, and why:

- a worker comes from a fork server of our own (forkserver.py says why);
- `terminate` kills at once, and no wait is without a limit: Pebble sends SIGTERM, waits 3 s, sends
  SIGKILL and then waits for ever, which a worker stuck in C or in the kernel sits out;
- it starts one worker only: Pebble would replace one that died, on a pool that is given up;
- a worker does not acknowledge a task: that serves limits of Pebble's own, which go by the wall
  clock, and costs a message each call; the supervisor kills at the limit, by the monotonic clock;
- its locks are local, since each channel has a single worker: a named semaphore would have to be
  tracked, and removed, by one more process;
- its channels use the standard pickler, in C: dill's, in Python, took a third of a call that does
  nothing (measured), and what is sent are values of this package.
"""

from __future__ import annotations

import io
import os
import pickle
import select
import signal
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pebble.pool.process import Acknowledgement

from pipecopy.workers.launch import ask, import_path
from pipecopy.workers.script import main_to_import
from pipecopy.workers.servers import Forked, ForkServer
from pipecopy.workers.third_party import connection, context, popen_forkserver, process, reduction

_WORD = struct.Struct("<q")
_STATUS_TIMEOUT = 0.2
"""Seconds that the fork server gets to send the exit code of a process that has ended."""
_EXIT_CODE = 52 - 3
"""Which of the fields of proc_pid_stat(5) after the name is the status that `waitpid` gives."""
_JOIN_TIMEOUT = 0.1
"""Seconds that Pebble may wait for a worker that it has terminated."""


class WorkerContext(context.BaseContext):  # type: ignore[misc] # multiprocess has no types
    """A context for one pool with one worker."""

    _name = "forkserver"

    def __init__(self, server: ForkServer, output: int) -> None:
        self._server = server
        self._output = output
        self._ends: list[PipeEnd] = []
        self._process: WorkerProcess | None = None
        self.popen: WorkerPopen | None = None
        """The process as the kernel knows it; None before it was forked."""

    def Process(self, *args: Any, **kwargs: Any) -> WorkerProcess:  # noqa: N802 - multiprocess's name
        """Return a process yet to be started."""
        if self._process is not None:
            raise OSError("this pool's worker has ended")  # for Pebble: the pool is broken
        self._process = WorkerProcess(*args, launcher=self._launch, **kwargs)
        return self._process

    def RLock(self) -> LocalRLock:  # noqa: N802 - multiprocess's name
        """Return a lock for the one worker of a channel."""
        return LocalRLock()

    def Pipe(self, duplex: bool = True) -> tuple[PipeEnd, PipeEnd]:  # noqa: FBT001, FBT002, N802 - multiprocess's signature
        """Return the reading and the writing end of a pipe, as Pebble asks for them."""
        if duplex:
            raise ValueError("only pipes of one direction are made here")
        reader, writer = ask(os.pipe)
        ends = PipeEnd(reader, writable=False), PipeEnd(writer, readable=False)
        self._ends += ends
        return ends

    def close(self) -> None:
        """Close the pipes: Pebble leaves the first one open if it can't have the second."""
        for end in self._ends:
            end.close()

    def get_start_method(self, allow_none: bool = False) -> str:  # noqa: FBT001, FBT002 - multiprocess's signature
        """Return the name of the start method that this comes nearest to."""
        del allow_none
        return self._name

    def _launch(self, process_obj: WorkerProcess) -> WorkerPopen:
        popen = WorkerPopen(self._server, self._output, process_obj)
        self.popen = popen  # so the process can be killed while feed() waits, perhaps for ever
        popen.feed()
        return popen


class WorkerProcess(process.BaseProcess):  # type: ignore[misc] # multiprocess has no types
    """A process that is killed at once, and waited for with a limit."""

    _start_method = "forkserver"

    def __init__(
        self, *args: Any, launcher: Callable[[WorkerProcess], WorkerPopen], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._launcher = launcher

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["_launcher"]
        return state

    def _Popen(self, process_obj: WorkerProcess) -> WorkerPopen:  # noqa: N802 - multiprocess's name
        return self._launcher(process_obj)

    def terminate(self) -> None:
        """Kill it."""
        self.kill()

    def join(self, timeout: float | None = None) -> None:
        """Wait for it to end, for 0.1 s at most."""
        super().join(_JOIN_TIMEOUT if timeout is None else min(timeout, _JOIN_TIMEOUT))


class WorkerPopen:
    """A forked worker: what multiprocess calls a Popen."""

    method = "forkserver"
    DupFd = popen_forkserver._DupFd  # noqa: SLF001 - looks where the fork server puts them

    def __init__(self, server: ForkServer, output: int, process_obj: WorkerProcess) -> None:
        self._fds: list[int] = []
        self._closing = threading.Lock()
        self.returncode: int | None = None
        self._message = io.BytesIO()
        context.set_spawning_popen(self)
        try:
            reduction.dump(_preparation(process_obj.name), self._message)
            reduction.dump(process_obj, self._message)
        finally:
            context.set_spawning_popen(None)
        self._forked: Forked = server.fork(output, self._fds)
        self.pid = self._forked.pid
        self.pidfd = self._forked.pidfd
        self.sentinel = self.pidfd

    def feed(self) -> None:
        """Send the process what to run; waits until it has read that."""
        with (
            suppress(BrokenPipeError),  # it has ended already; poll() tells how
            open(self._forked.data, "wb") as pipe,  # noqa: PTH123 - a descriptor has no path
        ):
            pipe.write(self._message.getbuffer())

    def duplicate_for_child(self, fd: int) -> int:
        """Pass the descriptor on to the child; returns its place among them."""
        self._fds.append(fd)
        return len(self._fds) - 1

    def wait(self, timeout: float | None = None) -> int | None:
        """Return the exit code, None if it has not ended within `timeout` seconds."""
        # Pebble's threads wait here too: nobody may have to wait for a lock meanwhile
        if self.returncode is None and self._ended(timeout):
            with self._closing:
                if self.returncode is None:
                    self.returncode = self._exit_code()
        return self.returncode

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self.wait(0)

    def kill(self) -> None:
        """Send SIGKILL."""
        if self.returncode is None:
            with suppress(ProcessLookupError):  # it has ended
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    terminate = kill

    def abandon(self) -> None:
        """Take it for dead, so that no exit handler of multiprocess waits for it."""
        with self._closing:
            if self.returncode is None:
                self.returncode = -signal.SIGKILL

    def close(self) -> None:
        """Close the descriptors; the process must have ended, or be abandoned."""
        with self._closing:
            if self.pidfd >= 0:
                os.close(self.pidfd)
                self._forked.status.close()
                self.pidfd = -1

    def _ended(self, timeout: float | None) -> bool:
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        return bool(poller.poll(None if timeout is None else timeout * 1000))

    def _exit_code(self) -> int:
        self._forked.status.settimeout(_STATUS_TIMEOUT)
        try:
            message = self._forked.status.recv(_WORD.size)
        except TimeoutError:  # the fork server is stopped
            return _exit_code_of_zombie(self.pid)
        except OSError:
            message = b""
        # the fork server itself was killed, and took it along
        return _WORD.unpack(message)[0] if message else -signal.SIGKILL


def _exit_code_of_zombie(pid: int) -> int:
    """Return the exit code of a process that has ended, and that nobody has waited for yet."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        return os.waitstatus_to_exitcode(int(fields[_EXIT_CODE]))
    except (OSError, IndexError, ValueError):
        return -signal.SIGKILL


class PipeEnd(connection.Connection):  # type: ignore[misc] # multiprocess has no types
    """One end of a pipe, which can be sent to the worker when that is started."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _inherited_end, (reduction.DupFd(self.fileno()), self.readable, self.writable)

    def send(self, message: Any) -> None:
        """Send a value; an acknowledgement, which nobody needs, is left out."""
        if not isinstance(message, Acknowledgement):
            self.send_bytes(pickle.dumps(message))

    def recv(self) -> Any:
        """Return the next value; waits for it."""
        return pickle.loads(self.recv_bytes())


def _inherited_end(fd: Any, readable: bool, writable: bool) -> PipeEnd:  # noqa: FBT001 - called by pickle
    return PipeEnd(fd.detach(), readable, writable)


class LocalRLock:
    """A reentrant lock of this process alone; a worker that is sent it gets one of its own."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple[type[LocalRLock], tuple[()]]:
        return LocalRLock, ()

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:  # noqa: FBT001, FBT002 - multiprocess's signature
        """Take the lock; False if another thread held it for `timeout` seconds."""
        if not block:
            return self._lock.acquire(blocking=False)
        return self._lock.acquire(timeout=-1 if timeout is None else timeout)

    def release(self) -> None:
        """Give the lock back."""
        self._lock.release()


def _preparation(name: str) -> dict[str, Any]:
    """Return what `multiprocess.spawn.prepare` makes the child ready with.

    multiprocess's own function for it fixes the host program's start method as a side effect.
    """
    return {
        "name": name,
        "sys_path": import_path(),  # the server's may be another run's
        "sys_argv": getattr(sys, "argv", None) or [""],  # a C program may have set none
        "orig_dir": process.ORIGINAL_DIR,
        **main_to_import(),
    }
