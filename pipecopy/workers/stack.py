"""Where a call hangs, as far as the worker and the kernel can tell when its limit is reached.

The worker is asked for its Python stack by a signal that `faulthandler` answers in C, in the thread
of the call: a driver that hangs in C, even under the interpreter's lock, does not hinder it. (Its
`dump_traceback_later` looks from another thread while the call goes on, and then may end the
process in a segmentation fault.) The rest is what the kernel tells of the process in /proc.
"""

from __future__ import annotations

import faulthandler
import re
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pipecopy.workers.buffer import MemoryFile

if TYPE_CHECKING:
    from pipecopy.events import Hang

_MOST_STACK = 64_000  # bytes
UNINTERRUPTIBLE = "in uninterruptible sleep"
_STATES = {
    "R": "running",
    "S": "sleeping",
    "D": UNINTERRUPTIBLE,
    "T": "stopped",
    "t": "stopped by a debugger",
    "Z": "dead",
    "X": "dead",
    "I": "idle",
}  # proc_pid_stat(5)
_GONE = "gone"
_ENDED = {_GONE, _STATES["Z"]}
_ANSWERING = {_STATES["R"], _STATES["S"]}
_REQUEST = signal.SIGRTMIN
_ANSWER_TIMEOUT = 0.03
"""Seconds that the stack may take: the worker outlives its limit by them. It is there in 0.5 ms
if there is a processor to spare (measured)."""
_ANSWER_TICK = 0.000_2  # seconds
_FRAMES = re.compile(
    r"""
    Stack.*\n
    (?P<drivers>(?:[ ]{2}File.*\n)*?)
    (?:[ ]{2}File[ ]".*/pipecopy/workers/process\.py",.*\n|[ ]{2}\.\.\.\n)  # ours, or too many
    """,
    re.VERBOSE,
)
"""As faulthandler writes them; "..." stands for all that are beyond a hundred."""


def write_stack_on_request(stack: MemoryFile) -> None:
    """Have this process write its main thread's stack to the file whenever it is asked."""
    faulthandler.register(_REQUEST, file=stack.fd, all_threads=False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (_REQUEST,))  # the host may have blocked all


def find_hang(pid: int, pidfd: int, stack: MemoryFile | None) -> Hang | None:
    """Return where the process hangs, None if it has just ended; it must not have been killed yet.

    `stack` is the file that it was given for `write_stack_on_request`; None if it has not come to
    that. After this it may only be killed: the request may have interrupted what it waited for.
    """
    from pipecopy.events import Hang  # noqa: PLC0415 - takes 8 ms: a fork server needs no events

    state, wait_channel = state_of(pid), _wait_channel(pid)
    if state in _ENDED:
        return None
    frames = "" if stack is None or state not in _ANSWERING else _ask_for_stack(pidfd, stack)
    return Hang(state=state, wait_channel=wait_channel, stack=frames)


def state_of(pid: int) -> str:
    """Return the process's state in a word or two; `gone` if there is none."""
    try:
        # the name in parentheses may hold anything, a parenthesis too
        code = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return _GONE
    return _STATES.get(code, code)


def _wait_channel(pid: int) -> str:
    """Return the kernel function in which it waits, "" if it does not, or if that is not shown."""
    try:
        channel = Path(f"/proc/{pid}/wchan").read_text()
        if channel not in {"", "0"}:
            return channel
        # some kernels keep it from wchan, and show root the whole stack
        innermost = Path(f"/proc/{pid}/stack").read_text().partition("\n")[0]
    except OSError:
        return ""
    return innermost.removeprefix("[<0>] ").partition("+")[0]


def _ask_for_stack(pidfd: int, stack: MemoryFile) -> str:
    """Ask for the stack; return the driver's frames, innermost first, "" if none came."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, _REQUEST)
    until = time.monotonic() + _ANSWER_TIMEOUT
    while time.monotonic() < until:
        frames = _FRAMES.match(stack.tail(_MOST_STACK))
        if frames is not None:
            return frames["drivers"].rstrip()
        time.sleep(_ANSWER_TICK)
    return ""
