"""What this machine refuses, as a HostError that says which limit was reached and what would help.

It is known by types and errnos, never by a text. A driver may hide the errno in an error of its
own: then it counts that this process is at one of its limits.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipecopy.errors import HostError
from pipecopy.workers import cgroup
from pipecopy.workers.launch import ask

REFUSED_EXIT = 214
"""Exit code of a worker, or of a fork server, that could not start because of this machine."""
_CALLS = {
    "memfd_create": ("keep a batch in memory", "3.17"),
    "pidfd_open": ("watch a worker process", "5.3"),
    "pidfd_send_signal": ("end a worker process", "5.1"),
    "eventfd": ("wait for its workers", "2.6.27"),
}
"""What a run needs a call for, and the version of Linux that has it."""
_PROCESS, _THREAD = "process", "thread"
_STARTS = {"posix_spawn": _PROCESS, "fork": _PROCESS, "thread": _THREAD}
_NOT_ALLOWED = {errno.ENOSYS, errno.EPERM}
_USED_UP = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EFBIG}
"""Errnos that mean this machine, whoever made the call."""
_SPARE_FDS = 4
"""Descriptors without which a connection can't be made, nor a module be loaded."""
_SPARE_BYTES = 64 * 2**20
"""Bytes of memory without which a driver can't be loaded, nor take a batch."""
_STACK_BYTES = 8 * 2**20
"""Bytes that a thread takes for its stack, as most machines have it."""
PR_SET_PDEATHSIG, _PR_GET_PDEATHSIG = 1, 2  # linux/prctl.h


@dataclass(frozen=True)
class _Limit:
    """A limit that was reached."""

    name: str | None
    message: str


def look() -> tuple[str, ...]:
    """See that the system calls are there without which no run can be; return warnings.

    Raises:
        HostError: one is not.

    """
    os.close(ask(os.memfd_create, "pipecopy-look"))
    pidfd = ask(os.pidfd_open, os.getpid())
    try:
        ask(signal.pidfd_send_signal, pidfd, 0)
    finally:
        os.close(pidfd)
    import ctypes  # noqa: PLC0415 - a command that runs nothing does not need it

    libc, before = ctypes.CDLL(None, use_errno=True), ctypes.c_int()
    libc.prctl(_PR_GET_PDEATHSIG, ctypes.byref(before), 0, 0, 0)
    if libc.prctl(PR_SET_PDEATHSIG, before.value, 0, 0, 0) == 0:  # changes nothing
        return ()
    code = errno.errorcode.get(ctypes.get_errno(), "")
    warning = (
        f"this machine refused prctl(PR_SET_PDEATHSIG) ({code}): if this process is killed by"
        " SIGKILL, a worker that is stuck stays behind, and so does its server session;"
        f" {_sandbox('the call')}"
    )
    return (warning,)


def start(thread: threading.Thread) -> None:
    """Start the thread.

    Raises:
        HostError: this machine refused it.

    """
    try:
        thread.start()
    except RuntimeError as error:
        raise refused(error, "thread") from error


def refusal(error: BaseException) -> HostError | None:
    """Return the error as what this machine refused; None if it was not this machine."""
    for each in causes(error):
        if isinstance(each, HostError):
            return each
        if isinstance(each, MemoryError):
            return refused(each)
        if isinstance(each, OSError) and each.errno in _USED_UP:
            return refused(each)
        if isinstance(each, RuntimeError) and _lacks_thread(each):
            return refused(each, "thread")
    return None


def hidden_refusal(error: BaseException) -> HostError | None:
    """Return the same also of an error without an errno, if this process is at a limit."""
    found = refusal(error)
    if found is None and (limit := _reached()) is not None:
        said = f"{type(error).__name__}: {error}"
        found = HostError(
            f"this machine has too little left: {limit.message} ({said})", limit=limit.name
        )
    return found


def refused(error: BaseException, call: str | None = None) -> HostError:
    """Return what this machine refused, as an error that says what would help.

    `call` is the system call that was refused, or `thread`; None if that is not known.
    """
    number = errno.ENOMEM if isinstance(error, MemoryError) else getattr(error, "errno", None)
    if call in {"fcntl", "dup2"} and number == errno.EINVAL:  # a descriptor above the limit
        number = errno.EMFILE
    code = f" ({errno.errorcode.get(number, number)})" if number else ""
    limit = _limit(number, call, getattr(error, "filename", None))
    if number in {errno.ENOMEM, errno.ENOSPC}:
        what = f"memory{code}"
    elif number in {errno.EMFILE, errno.ENFILE}:
        what = f"a descriptor{code}"
    elif number == errno.EFBIG:
        what = f"a file of that size{code}"
    elif (kind := _STARTS.get(call or "")) is not None:
        what = f"to start a {kind}{code}"
    elif call in _CALLS:
        what = f"{call}{code}, which a run needs to {_CALLS[call][0]}"
    else:
        what = f"{call or 'something that a run needs'}{code}"
    return HostError(
        f"this machine refused {what}: {limit.message}", errno=number, limit=limit.name
    )


def killed() -> str:
    """Return what may have sent a SIGKILL that nobody here has sent."""
    limit = cgroup.memory_limit()
    if limit is None:
        return "nobody here sent it: perhaps the kernel's OOM killer did, as dmesg shows"
    return f"nobody here sent it: perhaps the kernel's OOM killer did; {limit}"


# -- limits


def _limit(number: int | None, call: str | None, file: object) -> _Limit:
    """Return what was reached if a call failed with that errno; `file` is what it was about."""
    if number in {errno.EMFILE, errno.ENFILE}:
        return _descriptors(number)
    if number in {errno.ENOMEM, errno.ENOSPC}:
        return _memory()
    if number == errno.EFBIG:
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        return _Limit(
            "RLIMIT_FSIZE",
            f"the limit is {_size(most)} (ulimit -f), for the file in memory that holds a batch"
            " too; raise that limit, or take smaller batches",
        )
    if call in _STARTS and number in {None, errno.EAGAIN}:
        return _tasks(_STARTS[call])
    why = os.strerror(number) if number else "nothing more is known"
    if file is not None:
        why = f"{why}: {file}"
    if number in _NOT_ALLOWED:
        why = _sandbox("clone3, by which it is done" if call in _STARTS else "it")
    if call in _CALLS:
        why = f"Linux {_CALLS[call][1]} and later have it; {_sandbox('it')}"
    return _Limit(None, why)


def _sandbox(what: str) -> str:
    return f"a seccomp profile or a sandbox may refuse {what}, and has to allow it"


def _descriptors(number: int) -> _Limit:
    if number == errno.ENFILE:
        return _Limit(
            "fs.file-max",
            "all its programs together are at the limit of open files (fs.file-max);"
            " raise that limit, or end some of them",
        )
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _Limit(
        "RLIMIT_NOFILE",
        f"the limit of a process is {most} open descriptors (ulimit -n); raise that limit",
    )


def _memory() -> _Limit:
    if (least := _address_space(0)) is not None:
        return least
    if (limit := cgroup.memory_limit()) is not None:
        return _Limit("memory.max", f"{limit}; raise that limit, or take smaller batches")
    return _Limit(None, "it has no more; end some programs, or take smaller batches")


def _tasks(kind: str) -> _Limit:
    """Return why no process or thread could be started."""
    if kind == _THREAD and (limit := _address_space(_STACK_BYTES, at_it=True)) is not None:
        return limit
    if (full := cgroup.tasks_limit()) is not None:
        return _Limit("pids.max", f"{full}; raise that limit, or end some of them")
    most = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    user = os.getuid()
    if user != 0 and most != resource.RLIM_INFINITY:
        running = _tasks_of(user)
        reached = (
            f"the limit of user {user} is {most} processes and threads (ulimit -u), {running} of"
            " them run here; raise that limit, or end some of them"
        )
        # some may have ended since; of a thread it is not known whether it was EAGAIN
        if kind == _PROCESS or 2 * running >= most:
            return _Limit("RLIMIT_NPROC", reached)
        return _Limit(None, f"{reached}; or {_sandbox('clone3')}")
    return _Limit(
        None,
        "no limit of processes and threads is known to be reached; the kernel may have no more"
        f" (kernel.threads-max, kernel.pid_max), or {_sandbox('clone3')}",
    )


def _reached() -> _Limit | None:
    """Return the limit that this process is at; None if it is at none."""
    try:
        used = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - one descriptor, no more
    except OSError as error:
        return _descriptors(error.errno) if error.errno in {errno.EMFILE, errno.ENFILE} else None
    if used + _SPARE_FDS > resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
        return _descriptors(errno.EMFILE)
    return _address_space(_SPARE_BYTES, at_it=True)


def _address_space(spare: int, *, at_it: bool = False) -> _Limit | None:
    """Return the limit of this process's memory; None if there is none.

    With `at_it`, only if less than `spare` bytes are left.
    """
    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    if most == resource.RLIM_INFINITY:
        return None
    with suppress(OSError):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        if at_it and used + spare <= most:
            return None
    return _Limit(
        "RLIMIT_AS",
        f"the limit of a process is {_size(most)} of memory (ulimit -v); raise that limit",
    )


def _tasks_of(user: int) -> int:
    """Return how many processes and threads of that user can be seen."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            lines = (process / "status").read_text().splitlines()
            fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
            if int(fields["Uid"].split()[0]) == user:
                count += int(fields["Threads"])
    return count


def _size(number: int) -> str:
    return f"{number / 2**20:.4g} MiB" if number >= 2**20 else f"{number} bytes"


# -- errors


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, what led to it, and so on; each once."""
    seen: set[int] = set()  # by identity: a driver's error may be equal to any other
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        yield each
        seen.add(id(each))
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)


def _lacks_thread(error: RuntimeError) -> bool:
    """Tell whether `Thread.start` raised it, of a thread that has not been started."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None or last.tb_frame.f_code is not threading.Thread.start.__code__:
        return False
    thread = last.tb_frame.f_locals.get("self")
    return isinstance(thread, threading.Thread) and thread.ident is None
