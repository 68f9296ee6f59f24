"""Calls: those of a run that are under way on its two sides, and the waits in which they go on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pipecopy.config import Config
from pipecopy.contracts import Mode
from pipecopy.errors import (
    CallTimeoutError,
    DatabaseError,
    HostError,
    PipecopyError,
    TableMismatchError,
)
from pipecopy.events import Observer
from pipecopy.supervisor.call import Call
from pipecopy.supervisor.clock import Wakeup
from pipecopy.supervisor.endpoints import Endpoint
from pipecopy.supervisor.pauses import Wait
from pipecopy.supervisor.state import CutShortError, ReportT, State
from pipecopy.supervisor.stop import LAST_STEPS, Stop, StopRequests
from pipecopy.workers.messages import Task


class Calls(State[ReportT]):
    """At most one call is under way on each side. Only `stop` is for other threads."""

    def __init__(
        self,
        config: Config,
        mode: Mode,
        report: ReportT,
        observer: Observer | None,
        stop: StopRequests,
    ) -> None:
        super().__init__(config, mode, report, observer)
        self._wakeup = Wakeup()
        self._under_way: list[Call] = []
        self._stop = Stop(self, stop)

    def begin(self, endpoint: Endpoint, call: str, *args: Any, **how: Any) -> Call:
        """Begin a call, which the next wait takes on; `how` is what `Call` takes beyond.

        Raises CutShortError.
        """
        self._stop.heed(self._under_way)
        begun = Call(endpoint, Task(call, args), self, **how)
        self._under_way.append(begun)
        return begun

    def wait(self, call: Call | None) -> Any:
        """Return what the call returned; the others that are under way go on meanwhile.

        Raises what `Call.advance` raises, for any of them, and CutShortError.
        """
        if call is None:
            return None
        self._go_on(lambda: call.done)
        return call.value

    def _go_on(self, ends: Callable[[], bool], until: float = math.inf) -> None:
        """Take on the calls that are under way until it ends; look at that time as well."""
        while True:
            calls = self._stop.heed(self._under_way)
            for each in calls:
                each.advance()
            self._under_way = [each for each in self._under_way if not each.done]
            if ends():
                return
            due = min([until, self._stop.until, *(each.due for each in calls if not each.done)])
            self._wakeup.wait(
                due - self.clock.now(), (pidfd for each in calls for pidfd in each.pidfds)
            )

    def is_idle(self, endpoint: Endpoint) -> bool:
        """Tell whether no call is under way there."""
        return all(each.done or each.endpoint is not endpoint for each in self._under_way)

    def call(self, endpoint: Endpoint, call: str, *args: Any, **how: Any) -> Any:
        """Make a call and return what it returned; raises what `wait` raises."""
        return self.wait(self.begin(endpoint, call, *args, **how))

    def errors_of(self, calls: Iterable[Call]) -> Iterator[PipecopyError]:
        """Wait for all of these calls; yield the error of each that fails, as soon as it does.

        Raises what ends a run at once, such as FullCopyTimeoutError and CutShortError.
        """
        for call in calls:
            while not call.done:  # the error of another one may come first
                try:
                    self.wait(call)
                except (CallTimeoutError, DatabaseError, TableMismatchError, HostError) as error:
                    yield error

    def wait_both(
        self,
        source: Call | None,
        target: Call | None,
        *,
        row_errors: list[DatabaseError] | None = None,
    ) -> tuple[Any, Any]:
        """Return what a call on each side returned; both go on at the same time.

        If both fail, the error is the source's, whichever came first: one of the target waits for
        the source's call to end, and is then a warning. An error that a single row may have brought
        about is not raised if there are `row_errors` to add it to.
        """
        of_target: PipecopyError | None = None
        try:
            for error in self.errors_of(call for call in (source, target) if call is not None):
                if (
                    row_errors is not None
                    and isinstance(error, DatabaseError)
                    and error.is_of_a_row
                ):
                    row_errors.append(error)
                    continue
                if error.side != "target":
                    raise error
                of_target = error
        except (PipecopyError, CutShortError):
            if of_target is not None:
                self.warn(str(of_target))
            raise
        if of_target is not None:
            raise of_target
        return source and source.value, target and target.value

    def wake(self) -> None:
        """Have the wait that is under way look whether it ends; for any thread."""
        self._wakeup.wake()

    def pause(self, seconds: float, ends: Callable[[], bool] = lambda: False) -> None:
        """Let so many seconds pass, at most those that are left; calls under way go on meanwhile.

        It ends before that if `ends` says so when it is woken. Raises FullCopyTimeoutError if no
        seconds are left then, and what `wait` raises.
        """
        at_most = min(seconds, self.left)  # first, or it would end just before the limit
        until = self.clock.now() + at_most
        self._go_on(lambda: ends() or self.clock.now() >= until, until)
        if self.left <= 0:
            raise self.full_copy_timeout()

    def wait_while(self, look: Callable[[], Wait | None]) -> None:
        """Wait as long as `look` says why; it is asked again after the seconds that it says.

        Raises what `look` and `pause` raise.
        """
        try:
            while (wait := look()) is not None:
                self.pauses.waits(wait)
                self.pause(wait.seconds)
            self.pauses.resume()
        finally:
            self.pauses.end()  # if something else ended it: nothing is resumed then

    def stop(self) -> None:
        """Have the wait that is under way, or the next one, raise CutShortError, once."""
        self._stop.at_once()
        self._wakeup.wake()

    @contextmanager
    def unit(self, what: str) -> Iterator[None]:
        """Mark what is finished, once it has begun, if the run is asked to stop; what it is called.

        Raises CutShortError if the run was asked before; a save that is under way is finished then.
        """
        self._stop.heed(self._under_way)
        if self.stopping:
            self._go_on(lambda: False)
        with self._stop.unit(what, self._under_way):
            yield

    @contextmanager
    def last_steps(self) -> Iterator[None]:
        """Mark what is done also if the run was asked to stop before: all rows are dealt with."""
        with self._stop.unit(LAST_STEPS, self._under_way):
            yield

    def cut_short(self) -> None:
        """Kill the workers of the calls that are under way."""
        for call in self._under_way:
            call.cut_short()
        self._under_way.clear()
