"""Where a call was stuck: seen from outside, without the worker's help.

The Python stack is written by a C thread of the worker's own, which `faulthandler` starts with the
call, shortly before the limit: it needs neither the interpreter nor signals. The rest is what the
kernel tells of the process in /proc.
"""

from __future__ import annotations

import re
from pathlib import Path

from pipecopy.events import Sighting
from pipecopy.workers.memory import MemoryFile

_MOST_STACK = 16_000
_STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "in uninterruptible sleep",
    "T": "stopped",
    "t": "stopped by a debugger",
    "Z": "dead",
    "X": "dead",
    "I": "idle",
}  # proc_pid_stat(5)
_OURS = re.compile(r'/pipecopy/workers/process\.py", line \d+ in ')


def stack_due(limit: float) -> float:
    """Return after how many seconds of a call its stack is written.

    A little before the limit: the worker is killed at the limit, and writing takes a moment.
    """
    return max(0.001, limit - max(0.02, min(0.25, limit / 20)))


def sight(pid: int, stack: MemoryFile) -> Sighting:
    """Return where the process is now; it must not have been killed yet."""
    return Sighting(
        state=state_of(pid), wait_channel=_wait_channel(pid), stack=_driver_stack(stack)
    )


def state_of(pid: int) -> str:
    """Return the process's state in a word or two; `gone` where there is none."""
    try:
        # the name in parentheses may hold anything, a parenthesis too
        code = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return "gone"
    return _STATES.get(code, code)


def _wait_channel(pid: int) -> str:
    """Return the kernel function in which it waits, "" where it does not or may not be told."""
    try:
        channel = Path(f"/proc/{pid}/wchan").read_text()
        if channel not in {"", "0"}:
            return channel
        # some kernels keep it from wchan, and show root the whole stack
        innermost = Path(f"/proc/{pid}/stack").read_text().partition("\n")[0]
    except OSError:
        return ""
    return innermost.removeprefix("[<0>] ").partition("+")[0]


def _driver_stack(stack: MemoryFile) -> str:
    """Return the driver's frames of the thread that was in the call, innermost first."""
    for thread in stack.tail(_MOST_STACK).split("\n\n"):
        lines = thread.splitlines()
        ours = next((number for number, line in enumerate(lines) if _OURS.search(line)), None)
        if ours is not None:
            return "\n".join(line for line in lines[:ours] if line.startswith("  File "))
    return ""
