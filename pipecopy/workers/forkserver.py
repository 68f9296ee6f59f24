"""The fork server: a process that has imported what the workers need, and forks one on request.

multiprocess has one too. This one needs no address in the file system and no resource tracker; it
and all its workers die with the supervisor, however stuck they are, since the kernel sends SIGKILL
down that line of parents; and it hands out a pidfd for each worker, by which the worker can be
killed and awaited without a race for its process id. Forking from here takes 10 ms; starting an
interpreter took 200 (measured on two cores).

This page runs in the server and its children. launch.py starts it, servers.py asks it for workers.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass

from pipecopy.errors import HostError
from pipecopy.workers.host import PR_SET_PDEATHSIG, REFUSED_EXIT, refusal
from pipecopy.workers.launch import STOP_SIGNALS
from pipecopy.workers.third_party import forkserver, spawn

WORD = struct.Struct("<q")
"""How numbers are sent: the process id, the errno, the exit code."""
_MOST_FDS = 250  # the kernel passes at most 253 in one message (SCM_MAX_FD)
_PR_SET_NAME = 15  # linux/prctl.h


@dataclass(frozen=True)
class _Child:
    pid: int
    pidfd: int
    status: socket.socket


def serve(control_fd: int, supervisor: int) -> None:
    """Fork a worker for each request, until the supervisor closes its end.

    It first imports the modules that the command line names.
    """
    _die_with_parent(supervisor)
    ignore_stop_signals()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if the host ignores it, none can be awaited
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    name_process("pipecopy forker")
    for module in sys.argv[1:]:
        with suppress(Exception):  # a worker raises it again, in the call that needs the module
            importlib.import_module(module)
    gc.freeze()  # a collection in a worker would copy the pages that they share
    gc.enable()
    try:
        _answer_requests(control_fd)
    except Exception as error:  # noqa: BLE001 - whatever it was, the supervisor shows it
        sys.exit(exit_for(error))


def _answer_requests(control_fd: int) -> None:
    children: dict[int, _Child] = {}
    poller = select.poll()
    poller.register(control_fd, select.POLLIN)
    with socket.socket(fileno=control_fd) as control:
        while True:
            for fd, _ in poller.poll():
                if fd != control_fd:
                    poller.unregister(fd)
                    _reap(children.pop(fd))
                    continue
                request, fds, flags, _ = socket.recv_fds(
                    control, 1, _MOST_FDS, socket.MSG_CMSG_CLOEXEC
                )
                if not request:
                    return
                if flags & socket.MSG_CTRUNC:  # no descriptor is left for all of them
                    _refuse(fds, errno.EMFILE)
                    continue
                child = _fork(fds, control, children)
                if child is not None:
                    children[child.pidfd] = child
                    poller.register(child.pidfd, select.POLLIN)


def _fork(fds: list[int], control: socket.socket, siblings: dict[int, _Child]) -> _Child | None:
    """Fork a worker; if that is refused, tell the supervisor and return None."""
    server = os.getpid()
    status_fd, data, output, *inherited = fds
    try:
        pid = os.fork()
    except OSError as error:
        _refuse(fds, error.errno, "fork")
        return None
    if pid == 0:
        code = 1
        try:
            _die_with_parent(server)
            control.close()
            os.close(status_fd)
            for sibling in siblings.values():
                os.close(sibling.pidfd)
                sibling.status.close()
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(output)
            code = _run(data, inherited)
        except BaseException as error:  # noqa: BLE001 - whatever it was, the supervisor shows it
            code = exit_for(error)
        finally:
            _flush()
            os._exit(code)
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        _refuse(fds, error.errno, "pidfd_open")
        return None
    for fd in fds[1:]:
        os.close(fd)
    child = _Child(pid, pidfd, socket.socket(fileno=status_fd))
    with suppress(OSError):  # the supervisor may be gone
        socket.send_fds(child.status, [WORD.pack(pid)], [child.pidfd])
    return child


def _refuse(fds: list[int], number: int | None, call: str = "") -> None:
    """Tell the supervisor which call this machine refused, by the first of the descriptors."""
    for fd in fds[1:]:
        os.close(fd)
    if fds:
        with socket.socket(fileno=fds[0]) as status, suppress(OSError):
            status.sendall(WORD.pack(-(number or errno.EAGAIN)) + call.encode())


def exit_for(error: BaseException) -> int:
    """Write why this process can't start, for `refusal_in`; return the exit code."""
    _flush()  # what a script has printed must not follow the line
    found = refusal(error)
    if found is None:
        traceback.print_exception(error)
        return 1
    line = json.dumps([str(found), found.errno, found.limit])
    os.write(2, f"\n{line}\n".encode())
    return REFUSED_EXIT


def refusal_in(output: str) -> HostError | None:
    """Return what a process that exited with `REFUSED_EXIT` wrote; None if it was a script's."""
    with suppress(ValueError, TypeError):
        message, number, limit = json.loads(output.rstrip().rpartition("\n")[2])
        return HostError(message, errno=number, limit=limit)
    return None


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # it may be closed, or be a script's own
            stream.flush()


def _run(data: int, inherited: list[int]) -> int:
    # multiprocess's own fork server keeps them there, and its DupFd looks for them
    forkserver._forkserver._inherited_fds = inherited  # noqa: SLF001
    code: int = spawn._main(data, os.dup(data))  # noqa: SLF001 - what all its start methods run
    return code


def _reap(child: _Child) -> None:
    _, status = os.waitpid(child.pid, 0)
    with child.status, suppress(OSError):
        child.status.sendall(WORD.pack(os.waitstatus_to_exitcode(status)))
    os.close(child.pidfd)


def _die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, even if it is stuck in C.

    `parent` is the process id that the parent is known to have: if it ended before this call, this
    process ends at once.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def name_process(name: str) -> None:
    """Name this process as `ps` and `top` show it; the kernel keeps 15 bytes."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def ignore_stop_signals() -> None:
    """Leave SIGINT, SIGTERM and SIGHUP to the supervisor."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
