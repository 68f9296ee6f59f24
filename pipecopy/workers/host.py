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
_PR_SET_PDEATHSIG, _PR_GET_PDEATHSIG = 1, 2  # linux/prctl.h


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
    if libc.prctl(_PR_SET_PDEATHSIG, before.value, 0, 0, 0) == 0:  # changes nothing
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
    for each in _chain(error):
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
        found = HostError(f"this machine has too little left: {limit.message} ({said})")
        found.limit = limit.name
    return found


def refused(error: BaseException, call: str | None = None) -> HostError:
    """Return what this machine refused, as an error that says what would help.

    `call` is the system call that was refused, or `thread`; None if that is not known.
    """
    number = errno.ENOMEM if isinstance(error, MemoryError) else getattr(error, "errno", None)
    if call in {"fcntl", "dup2"} and number == errno.EINVAL:  # a descriptor above the limit
        number = errno.EMFILE
    code = f" ({errno.errorcode.get(number, number)})" if number else ""
    limit = _limit(number, call)
    if number in {errno.ENOMEM, errno.ENOSPC}:
        what = f"memory{code}"
    elif number in {errno.EMFILE, errno.ENFILE}:
        what = f"a descriptor{code}"
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
    limit = memory_limit()
    if limit is None:
        return "nobody here sent it: perhaps the kernel's OOM killer did (see dmesg)"
    return f"nobody here sent it: perhaps the kernel's OOM killer did; {limit}"


# -- limits


def _limit(number: int | None, call: str | None) -> _Limit:
    """Return what was reached if a call failed with that errno."""
    if number in {errno.EMFILE, errno.ENFILE}:
        return _descriptors(number)
    if number in {errno.ENOMEM, errno.ENOSPC}:
        return _memory()
    if number == errno.EFBIG:
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        return _Limit(
            "RLIMIT_FSIZE",
            f"a file may have {_size(most)} (ulimit -f), and a batch is kept in a file in memory;"
            " raise that limit, or take a smaller max_batch_bytes or batch_size",
        )
    if call in _STARTS and number in {None, errno.EAGAIN}:
        return _tasks(_STARTS[call])
    why = os.strerror(number) if number else "nothing more is known"
    if number in _NOT_ALLOWED:
        why = _sandbox("clone3, by which it is done" if call in _STARTS else "it")
    if call in _CALLS:
        why = f"Linux {_CALLS[call][1]} and later has it; {_sandbox('it')}"
    return _Limit(None, why)


def _sandbox(what: str) -> str:
    return f"a seccomp profile or a sandbox may refuse {what}, and has to allow it"


def _descriptors(number: int) -> _Limit:
    if number == errno.ENFILE:
        return _Limit(
            "fs.file-max",
            "all programs together have as many open files as it allows (fs.file-max);"
            " raise that limit, or end some of them",
        )
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _Limit(
        "RLIMIT_NOFILE",
        f"a process may have {most} open descriptors (ulimit -n); raise that limit, or close some",
    )


def _memory() -> _Limit:
    if (least := _address_space(0)) is not None:
        return least
    limit = memory_limit()
    if limit is not None:
        return _Limit("memory.max", f"{limit}; raise that limit, or take smaller batches")
    return _Limit(None, "it has no more; end some programs, or take smaller batches")


def _tasks(kind: str) -> _Limit:
    """Return why no process or thread could be started."""
    if kind == _THREAD and (limit := _address_space(_STACK_BYTES, at_it=True)) is not None:
        return limit
    for folder in _cgroup("pids"):
        most, now = (_number(folder / f"pids.{name}") for name in ("max", "current"))
        if most is not None and now is not None and now >= most:
            return _Limit(
                "pids.max",
                f"its cgroup may have {most} processes and threads (pids.max), and has {now};"
                " raise that limit, or end some of them",
            )
    most = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if os.getuid() != 0 and most != resource.RLIM_INFINITY:
        return _Limit(
            "RLIMIT_NPROC",
            f"user {os.getuid()} may have {most} processes and threads (ulimit -u), and"
            f" {_tasks_of(os.getuid())} run here; raise that limit, or end some of them"
            f" (or {_sandbox('clone3')})",
        )
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
        f"a process may have {_size(most)} of memory (ulimit -v); raise that limit,"
        " or take smaller batches",
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


# -- cgroups


def memory_limit() -> str | None:
    """Return the limit of memory of this process's cgroup in words; None if there is none."""
    found: list[tuple[int, Path]] = []
    for folder in _cgroup("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            most = _number(folder / name)
            if most is not None and most < _NO_LIMIT:
                found.append((most, folder))
    if not found:
        return None
    least, folder = min(found)
    kills = _oom_kills(folder)
    return f"its cgroup may have {_size(least)} of memory" + (
        f", and {kills} of its processes were killed for it so far" if kills else ""
    )


_NO_LIMIT = 2**60
"""Bytes: version 1 of cgroups has a number near 2**63 if there is no limit."""


def _cgroup(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's cgroup, and of those that it is in."""
    lines: list[str] = []
    with suppress(OSError):
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = Path("/sys/fs/cgroup", controller if controllers else "")
        inner = root / path.lstrip("/")
        # in a container the path may be the host's: then the root is this process's
        yield from (each for each in (inner, *inner.parents) if each.is_relative_to(root))


def _oom_kills(folder: Path) -> int:
    for name in ("memory.events", "memory.oom_control"):
        with suppress(OSError):
            for line in (folder / name).read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    return 0


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # there is none, or it is "max"
        return None


def _size(number: int) -> str:
    return f"{number / 2**20:g} MiB" if number >= 2**20 else f"{number} bytes"


# -- errors


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what led to it."""
    seen: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and each not in seen:
        yield each
        seen.append(each)
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
