"""The fork servers of this process: a run takes one, and leaves it to the next run that can use it.

To import what the workers need takes longer than to copy a small table. So a server stays for a
moment when its last run has ended, and serves any run of this process that begins meanwhile, or at
the same time, as long as its workers would inherit the same from a server of the run's own.
"""

from __future__ import annotations

import atexit
import copy
import errno
import math
import os
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from pipecopy.errors import HostError
from pipecopy.workers.buffer import MemoryFile
from pipecopy.workers.forkserver import WORD
from pipecopy.workers.host import refused, start
from pipecopy.workers.launch import DRIVER, Launched, ask, launch

_ANSWER_SIZE = 64
"""Bytes of a server's answer at most: a number, and the name of a call that was refused."""
_IDLE = 1.0
"""Seconds for which a server waits for the next run."""
_STOP_TIMEOUT = 0.2
"""Seconds for which a run waits for the end of a server that it needed last."""
_REAP_TIMEOUT = 10.0
"""Seconds for which its own thread does."""


class ServerEndedError(Exception):
    """A fork server has ended while it was needed."""


@dataclass(frozen=True)
class Forked:
    """A process that was forked."""

    pid: int
    pidfd: int
    status: socket.socket
    """Receives its exit code, as a signed 64-bit number."""
    data: int
    """The pipe from which it reads what it has to run."""


class ForkServer:
    """One fork server, by which the runs ask for workers."""

    def __init__(self, process: Launched) -> None:
        self.process = process
        self.output = MemoryFile.of(process.output)
        self._control = socket.socket(fileno=process.control)

    @property
    def exitcode(self) -> int | None:
        """Its exit code, None while it runs."""
        return self.process.wait(0)

    def fork(self, output: int, fds: Sequence[int]) -> Forked:
        """Fork a process that inherits the descriptors; waits until the server has done so.

        `output` becomes its standard output and error.

        Raises:
            HostError: this machine refused a process or a descriptor.
            ServerEndedError: the server has ended.

        """
        with ExitStack() as undo:
            status, their_status = ask(socket.socketpair)
            undo.callback(status.close)
            with their_status:
                their_data, data = ask(os.pipe)
                undo.callback(os.close, data)
                try:
                    socket.send_fds(
                        self._control, [b"f"], [their_status.fileno(), their_data, output, *fds]
                    )
                except BrokenPipeError:
                    raise self._ended() from None
                finally:
                    os.close(their_data)
            pid, pidfd = self._answer(status)
            undo.pop_all()
        return Forked(pid, pidfd, status, data)

    def _answer(self, status: socket.socket) -> tuple[int, int]:
        """Return the process id and the pidfd of what was forked."""
        message, pidfds, _, _ = socket.recv_fds(status, _ANSWER_SIZE, 1, socket.MSG_CMSG_CLOEXEC)
        if pidfds:
            return WORD.unpack_from(message)[0], pidfds[0]
        if not message and self.process.wait(_STOP_TIMEOUT) is not None:
            raise self._ended()
        answer = WORD.unpack_from(message)[0] if message else 0
        # else the server had no descriptor left for the answer, or this process for the pidfd
        number = -answer if answer < 0 else errno.EMFILE
        raise refused(OSError(number, os.strerror(number)), message[WORD.size :].decode() or None)

    def _ended(self) -> ServerEndedError:
        return ServerEndedError(f"the fork server ended with {self.process.wait(_STOP_TIMEOUT)}")

    def stop(self) -> None:
        """End the server, and with it every worker that still runs."""
        self.process.stop(_REAP_TIMEOUT)
        self._control.detach()
        self.process.close()


@dataclass(eq=False)
class _Held:
    """A server, and who needs it."""

    inherited: tuple[object, ...]
    preload: tuple[str, ...]
    users: int = 1
    """The runs that have taken it."""
    reusable: bool = True
    idle_until: float = 0.0
    """When it goes, by time.monotonic(), if there are no users."""
    server: Future[ForkServer] = field(default_factory=Future)
    gone: threading.Event = field(default_factory=threading.Event)

    def left(self) -> float:
        """Return the seconds for which it is kept at least."""
        if self.users:
            return math.inf
        return self.idle_until - time.monotonic() if self.reusable else 0.0

    def serves(self, inherited: tuple[object, ...], preload: Sequence[str]) -> bool:
        """Tell whether another run can use it."""
        return (
            self.reusable
            and self.inherited == inherited
            and (DRIVER in self.preload or DRIVER not in preload)
            and not (self.server.done() and self.server.result().exitcode is not None)
        )


class ForkServers:
    """The fork servers of a process."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: list[_Held] = []

    def take(self, preload: Sequence[str]) -> ForkServer:
        """Return a server, which may be another run's too, until it is given back.

        Args:
            preload: the modules that a new one imports before it forks.

        Raises:
            HostError: this machine refused a process, a thread, memory or a descriptor for it.

        """
        inherited = _inherited()
        with self._changed:
            for held in self._held:
                if held.serves(inherited, preload):
                    held.users += 1
                    break
            else:
                held = _Held(inherited, tuple(preload))
                # it dies with the thread that starts it, which so lives as long
                start(
                    threading.Thread(
                        target=self._hold, args=(held,), name="pipecopy-servers", daemon=True
                    )
                )
                self._held.append(held)
        try:
            return held.server.result()
        except HostError as error:
            raise copy.copy(error) from error  # each of those that wait for it adds its report

    def warm(self, preload: Sequence[str], seconds: float) -> None:
        """Have a server for runs that begin within so many seconds. Raises what `take` raises."""
        self.give_back(self.take(preload), idle=seconds)

    def give_back(self, server: ForkServer, *, idle: float = _IDLE) -> None:
        """Say that a run needs the server no more; a retired one ends with its last run.

        It waits for the next one, for so many seconds at least.
        """
        with self._changed:
            held = self._of(server)
            held.users -= 1
            held.idle_until = max(held.idle_until, time.monotonic() + idle)
            self._changed.notify_all()
            ends = not held.users and not held.reusable
        if ends:
            held.gone.wait(_STOP_TIMEOUT)

    def retire(self, server: ForkServer) -> None:
        """Let no other run take it: it is stuck, or has yet to fork for a run that has ended."""
        with self._changed:
            self._of(server).reusable = False

    def adopt(self, process: Launched) -> None:
        """Let runs use a server that was launched before, and is stopped by whoever did that."""
        held = _Held(_inherited(), process.preload)
        held.server.set_result(ForkServer(process))
        with self._changed:
            self._held.append(held)

    def stop_idle(self) -> None:
        """Stop those that wait for the next run."""
        with self._changed:
            idle = [held for held in self._held if not held.users]
            for held in idle:
                held.reusable = False
            self._changed.notify_all()
        for held in idle:
            held.gone.wait(_STOP_TIMEOUT)

    def _of(self, server: ForkServer) -> _Held:
        return next(h for h in self._held if h.server.done() and h.server.result() is server)

    def _hold(self, held: _Held) -> None:
        """Launch a server, and stop it when it is not needed any more."""
        try:
            server = ForkServer(launch(held.preload))
        except BaseException as error:  # noqa: BLE001 - raised where it is taken
            with self._changed:
                self._held.remove(held)
            held.server.set_exception(error)
            return
        held.server.set_result(server)
        with self._changed:
            while (left := held.left()) > 0:
                self._changed.wait(min(left, threading.TIMEOUT_MAX))
            self._held.remove(held)
        server.stop()
        held.gone.set()


def _inherited() -> tuple[object, ...]:
    """Return what a process that this thread starts would inherit."""
    thread = Path("/proc/thread-self")
    credentials = ("Uid", "Gid", "Groups", "Cap", "NoNewPrivs", "Seccomp")
    in_status = (*credentials, "Umask", "Cpus_allowed", "SigBlk", "SigIgn")
    try:
        here = os.stat(".")  # noqa: PTH116 - pathlib asks for its name, which it may have lost
        status = (thread / "status").read_text().splitlines()
        return (
            dict(os.environ),
            (here.st_dev, here.st_ino),
            (os.getsid(0), os.getpgrp()),
            (os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)),
            (thread / "oom_score_adj").read_text(),
            [line for line in status if line.startswith(in_status)],
            (thread / "limits").read_text(),
            (thread / "cgroup").read_text(),
            sorted(name.readlink() for name in (thread / "ns").iterdir()),
        )
    except OSError:
        return (object(),)  # equal to no other


fork_servers = ForkServers()
"""Those of this process: its runs know nothing of each other."""


def _forget_them() -> None:
    # a process that was forked has none of the threads, and its parent's servers are not its own
    fork_servers.__init__()  # type: ignore[misc] # in its place: others have imported it


os.register_at_fork(after_in_child=_forget_them)
# the kernel would end them too, but their parent has to wait for them, or they stay as zombies
atexit.register(fork_servers.stop_idle)
