"""The clock by which limits are kept, and the wait for whatever comes first."""

from __future__ import annotations

import math
import os
import resource
import select
import threading
import time
from collections.abc import Iterable

from pipecopy.workers.launch import ask

TICK = 0.25
"""Seconds between two looks at the clock at most, while something is waited for."""
_STOPPED = 1.0
"""A gap this much longer than a tick, in seconds, may be one in which this process was stopped."""
_SWITCHES = 100
"""Context switches a second that tell a process that ran from one that was stopped: a thread that
waits for the interpreter, while another one keeps it, wakes 200 times (sys.getswitchinterval)."""
_RECENT = 0.001
"""Seconds for which a count of these switches is good enough: few happen in so short a time, and to
count at each look took a seventh of the CPU time of a call that does nothing (measured)."""


class Clock:
    """Monotonic seconds, less those for which this process was stopped (SIGSTOP, a frozen cgroup).

    Whoever uses it has to look at it at least once a tick. One thread does; the others may ask it
    how long the process was stopped.
    """

    def __init__(self) -> None:
        self._last = self._counted = time.monotonic()
        self._switches = _switches()
        self.stopped = 0.0
        """Seconds for which this process was stopped, as far as has been seen."""

    def now(self) -> float:
        """Return seconds since an arbitrary point."""
        reading = time.monotonic()
        gap = reading - self._last
        if gap > TICK + _STOPPED and _switches() - self._switches < gap * _SWITCHES:
            self.stopped += gap - TICK
        self._last = reading
        if reading - self._counted > _RECENT:
            self._counted, self._switches = reading, _switches()
        return reading - self.stopped


def _switches() -> int:
    """Return how often a thread of this process has given up its processor to wait."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw


class _EventFd:
    """An eventfd that any thread may write, also after it was closed."""

    def __init__(self) -> None:
        self._eventfd = ask(os.eventfd, 0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._closing = threading.Lock()

    def _write(self) -> None:
        with self._closing:
            if self._eventfd >= 0:
                os.eventfd_write(self._eventfd, 1)

    def _poll(self, seconds: float, others: Iterable[int] = ()) -> bool:
        """Wait for it or one of the others to be readable, for a tick at most; tell if it is."""
        poller = select.poll()
        for fd in (self._eventfd, *others):
            poller.register(fd, select.POLLIN)
        # poll() counts in milliseconds: round up, or the last one would be spent polling
        ready = poller.poll(math.ceil(max(0.0, min(seconds, TICK)) * 1000))
        return any(fd == self._eventfd for fd, _ in ready)

    def close(self) -> None:
        """Close the descriptor."""
        with self._closing:
            if self._eventfd >= 0:
                os.close(self._eventfd)
                self._eventfd = -1


class Wakeup(_EventFd):
    """Lets a thread wait for news from other threads, for processes to end, and for a time."""

    def wake(self) -> None:
        """End the wait under way, or the next one; for any thread, also after `close`."""
        self._write()

    def wait(self, seconds: float, processes: Iterable[int]) -> None:
        """Return on news, when one of the pidfds' processes has ended, or after `seconds`.

        It returns within a tick in any case, so that the clock is looked at.
        """
        if self._poll(seconds, processes):
            os.eventfd_read(self._eventfd)


class Flag(_EventFd):
    """Something that has happened, once, in another thread.

    `threading.Event` would do, but for a signal handler that raises while it is waited for: that
    can leave the lock within it taken for ever.
    """

    def set(self) -> None:
        """Say that it has happened; for any thread, also after `close`."""
        self._write()

    def wait(self, seconds: float) -> bool:
        """Return whether it has happened, after `seconds` or a tick at most."""
        return self._poll(seconds)
