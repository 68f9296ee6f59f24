"""SIGINT, SIGTERM and SIGHUP stop the command once, whenever they come."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # this file is the first that runs: it imports as little as can be
    from pipecopy.report import Report

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StoppedBySignal(BaseException):
    """A signal stops the command. It is no `Exception`: nothing on the way may handle it."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum
        self.report: Report | None = None
        """How far the run came, set by `supervise`."""


class StopSignals:
    """The signal handlers. The first signal raises `StoppedBySignal` in the main thread."""

    def __init__(self) -> None:
        self._stopping = False
        self._settled = False

    def install(self) -> None:
        """Heed the signals from now on, but those that `nohup` or a shell's `&` ignores."""
        sys.unraisablehook = self._unraisable
        for signum in SIGNALS:
            if signum == signal.SIGTERM or signal.getsignal(signum) != signal.SIG_IGN:
                signal.signal(signum, self._stop)

    def settle(self) -> None:
        """Heed no signal any more, from any thread: the outcome is known, and about to be told."""
        self._settled = True

    def _stop(self, signum: int, _frame: FrameType | None) -> None:
        if not (self._stopping or self._settled):
            self._stopping = True  # a second one must not disturb the clean-up
            raise StoppedBySignal(signum)

    def _unraisable(self, lost: sys.UnraisableHookArgs) -> None:
        """Send a signal again that came while a `__del__` ran, where exceptions get lost."""
        if isinstance(lost.exc_value, StoppedBySignal):
            self._stopping = False
            again = threading.Timer(0.01, os.kill, (os.getpid(), lost.exc_value.signum))
            again.daemon = True
            again.start()
        else:
            sys.__unraisablehook__(lost)
