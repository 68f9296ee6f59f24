"""What Linux offers for processes and the standard library does not wrap."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_NAME = 15

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What batch hosts send to a whole process group; only the supervisor decides what follows."""


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, even if it is stuck in C.

    `parent` is the process id that the parent is known to have: where it ended before this call,
    this process ends at once.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def name_process(name: str) -> None:
    """Name this process as `ps` and `top` show it; the kernel keeps 15 bytes."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def ignore_stop_signals() -> None:
    """Leave SIGINT, SIGTERM and SIGHUP to the supervisor."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
