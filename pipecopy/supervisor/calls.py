"""The calls that are under way: begun, driven until one has an outcome, cut short."""

from __future__ import annotations

from typing import Any

from pipecopy.errors import PipecopyError
from pipecopy.supervisor.call import Call
from pipecopy.supervisor.clock import Wakeup
from pipecopy.supervisor.run import Run
from pipecopy.supervisor.seat import Seat
from pipecopy.workers import Task


class StoppedError(Exception):
    """An exception was raised in the thread that called `supervise`."""


class Calls:
    """All calls of one run: one on each side at a time. Only `stop` is for other threads."""

    def __init__(self, run: Run, wakeup: Wakeup) -> None:
        self._run = run
        self._wakeup = wakeup
        self._under_way: list[Call] = []
        self._stop = False

    def stop(self) -> None:
        """Have the wait that is under way, or the next one, raise StoppedError, once."""
        self._stop = True
        self._wakeup.wake()

    def begin(self, seat: Seat, task: Task, **how: Any) -> Call:
        """Begin a call; `how` is what `Call` takes beyond."""
        call = Call(seat, task, run=self._run, **how)
        self._under_way.append(call)
        call.advance()
        return call

    def wait(self, call: Call) -> Any:
        """Return what the call returned; the others that are under way are driven meanwhile.

        Raises what `Call.advance` raises, for any of them, and StoppedError.
        """
        while True:
            if self._stop:
                self._stop = False
                raise StoppedError
            for each in self._under_way:
                each.advance()
            self._under_way = [each for each in self._under_way if not each.done]
            if call.done:
                return call.value
            self._wakeup.wait(
                min(each.due for each in self._under_way) - self._run.clock.now(),
                (pidfd for each in self._under_way for pidfd in each.pidfds),
            )

    def pause(self, seconds: float) -> None:
        """Let so many seconds pass, at most those that are left; raises StoppedError."""
        at_most = min(seconds, self._run.left)  # first, or it would end just before the limit
        until = self._run.clock.now() + at_most
        while not self._stop and (left := until - self._run.clock.now()) > 0:
            self._wakeup.wait(left, ())
        if self._stop:
            self._stop = False
            raise StoppedError

    def cut_short(self) -> None:
        """Kill the workers of the calls that are under way."""
        for call in self._under_way:
            call.cut_short()
        self._under_way.clear()

    def close(self, seats: tuple[Seat, ...], limit: float) -> list[str]:
        """Close what is connected on these sides, all at once; `limit` is in seconds.

        Returns a warning for each that did not close.
        """
        warnings: list[str] = []
        closing: list[Call] = []
        for seat in seats:
            if seat.connected:
                try:
                    closing.append(self.begin(seat, Task("close"), limit=limit, retry=False))
                except PipecopyError as error:
                    warnings.append(str(error))
        for call in closing:
            while not call.done:  # another one's error may come first
                try:
                    self.wait(call)
                except PipecopyError as error:
                    warnings.append(str(error))
        return warnings
