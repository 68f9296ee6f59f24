"""The process of a fork server: started with next to nothing imported, since a command begins so.

`subprocess` would do, but takes 8 ms to import (measured), and `signal` and `socket` 3 and 5.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # typeshed has no such module
import _socket
import fcntl
import os
import select
import sys
from _thread import allocate_lock

from pipecopy.workers.interpreter import SERVER, find_interpreter, leave_second_generation

TYPE_CHECKING = False
if TYPE_CHECKING:  # type checkers take it for true; to load typing itself takes a while
    from collections.abc import Callable, Sequence
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    T = TypeVar("T")

DRIVER = "pipecopy.postgres.database"
"""What takes as long to import as all else that a worker needs; its `connect` imports it."""
_CONTROL_FD = 3
"""Where the server finds its end of the socket by which it is asked for workers."""
_FIRST_FREE_FD = 10
_MOST_FDS = 4096
"""How many are looked at if nothing tells which are open."""
STOP_SIGNALS = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP)
"""What batch hosts send to a whole process group; only the supervisor decides what follows."""


def ask(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Make a system call and return what it returned.

    Raises:
        HostError: this machine refused it.

    """
    try:
        return call(*args, **kwargs)
    except OSError as error:
        from pipecopy.workers.host import refused  # noqa: PLC0415 - as the page above says

        raise refused(error, call.__name__) from error


class Launched:
    """A process that was launched."""

    def __init__(self, pid: int, control: int, output: int, preload: Sequence[str]) -> None:
        self.pid = pid
        self.control = control
        """The descriptor of the supervisor's end of the socket."""
        self.output = output
        """The descriptor of a memory file, which takes its standard output and error."""
        self.preload = tuple(preload)
        """The modules that it imports before it forks."""
        try:
            (self._pidfd,) = _above_the_first([ask(os.pidfd_open, pid)])
        except BaseException:
            os.kill(pid, _signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        self._exitcode: int | None = None
        self._reaping = allocate_lock()

    def wait(self, timeout: float) -> int | None:
        """Return the exit code, None if it has not ended within `timeout` seconds.

        If somebody else has waited for it, the exit code is not known: it is -1.
        """
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        if self._exitcode is None and poller.poll(1000 * timeout):
            with self._reaping:
                if self._exitcode is None:
                    self._exitcode = self._reap()
        return self._exitcode

    def _reap(self) -> int:
        try:
            return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:  # as if the host ignores SIGCHLD
            return -1

    def stop(self, timeout: float) -> None:
        """Kill it, and with it all that it forked; give it `timeout` seconds to end."""
        if self.wait(0) is None:
            _signal.pidfd_send_signal(self._pidfd, _signal.SIGKILL)
            self.wait(timeout)

    def close(self) -> None:
        """Close the descriptors, which nobody may use any more."""
        for fd in (self.control, self.output, self._pidfd):
            os.close(fd)


def launch(preload: Sequence[str]) -> Launched:
    """Start a fork server, which dies with the calling thread.

    Args:
        preload: the modules that it imports before it forks.

    Raises:
        ConfigError: no Python is known that could be started.
        HostError: this machine refused a process, memory or a descriptor for it.

    """
    leave_second_generation()
    python = find_interpreter()
    control, theirs, output = _descriptors()
    code = (
        # collections, which look at what is imported again and again, took 15 % (measured)
        f"import gc, os, sys; gc.disable(); sys.path[:] = {import_path()!r}; "
        f"del os.environ[{SERVER!r}]; "
        # here, since posix_spawn refuses to close one above RLIMIT_NOFILE
        f"[os.closerange(fd, fd + 1) for fd in {_inheritable()}]; "
        f"from pipecopy.workers.forkserver import serve; serve({_CONTROL_FD}, {os.getpid()})"
    )
    # inherited by the server: no signal may strike before it ignores them
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        pid = ask(
            os.posix_spawn,
            python,
            [python, *_interpreter_flags(), "-c", code, *preload],
            {**os.environ, SERVER: "1"},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
                (os.POSIX_SPAWN_DUP2, theirs, _CONTROL_FD),
            ],
        )
        return Launched(pid, control, output, preload)
    except BaseException:
        os.close(control)
        os.close(output)
        raise
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
        os.close(theirs)


def _descriptors() -> tuple[int, int, int]:
    """Return both ends of the socket, the supervisor's first, and the file for the output."""
    ends = ask(_socket.socketpair, _socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    low = [end.detach() for end in ends]
    try:
        low.append(ask(os.memfd_create, "pipecopy-output", os.MFD_CLOEXEC))
        fcntl.fcntl(low[-1], fcntl.F_SETFL, os.O_APPEND)
    except BaseException:
        for fd in low:
            os.close(fd)
        raise
    control, theirs, output = _above_the_first(low)
    return control, theirs, output


def _above_the_first(fds: list[int]) -> list[int]:
    """Move the descriptors above those that are given to the server.

    So none is replaced before it is given, and none takes the place of a stream that is closed.
    """
    made: list[int] = []
    try:
        made += (ask(fcntl.fcntl, fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_FD) for fd in fds)
    except BaseException:
        for fd in made:
            os.close(fd)
        raise
    finally:
        for fd in fds:
            os.close(fd)
    return made


def _inheritable() -> list[int]:
    """Return what a program that is started would inherit besides its standard streams."""
    try:
        fds = [*map(int, os.listdir("/proc/self/fd"))]  # noqa: PTH208 - pathlib takes a while to load
    except OSError:  # there is no /proc
        fds = [*range(os.sysconf("SC_OPEN_MAX"))][:_MOST_FDS]
    return [fd for fd in fds if fd > _CONTROL_FD and _is_inheritable(fd)]


def _is_inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:  # it is closed
        return False


def _interpreter_flags() -> list[str]:
    """Return the flags that this interpreter was started with; others are in the environment."""
    first = sys.orig_argv[1:2]
    if not first or not first[0].startswith("-") or first[0].startswith(("-m", "-c")):
        return []
    import subprocess  # noqa: PLC0415 - as the page above says

    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined] # noqa: SLF001 - the standard library's own list of the flags to pass on
    return flags


def import_path() -> list[str]:
    """Return where modules are looked for, with a name for the working directory."""
    try:
        here = os.getcwd()  # noqa: PTH109 - pathlib takes a while to load
    except OSError:  # it was deleted
        here = ""
    return [entry or here for entry in sys.path if isinstance(entry, str)]
