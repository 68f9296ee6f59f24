"""Pace: whether a run may go on, decided before each load and each range that is compared.

It waits while the rate is above `max_rate_bytes` or `max_rate_rows`, while the `pause_file` exists,
while a standby is behind (`max_lag`), and while the source is busy (`max_load`). Each wait is an
event with its reason, and within the whole run's limit.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from pipecopy.config import Config
from pipecopy.contracts import Side
from pipecopy.errors import ConfigError
from pipecopy.events import Measured, PauseReason
from pipecopy.supervisor.calls import Calls
from pipecopy.supervisor.endpoints import Endpoint, Endpoints
from pipecopy.supervisor.pausefile import UNANSWERED, PauseFile
from pipecopy.supervisor.pauses import Wait
from pipecopy.units import seconds_text
from pipecopy.workers.host import refused

LAG, ACTIVE_SESSIONS = "lag", "active_sessions"
"""What a `Database` is asked for."""
ASKED_OF: dict[str, tuple[Side, ...]] = {LAG: ("source", "target"), ACTIVE_SESSIONS: ("source",)}
_ASKED_EVERY = 1.0
"""Seconds between two questions to a side at least."""
_LOOKED_EVERY = 0.25
"""Seconds between two looks at what else it may have to wait for."""
_CATCHES_UP = 1.0
"""Seconds of the rate, at most, that a run which was held up may catch up with."""
_UNITS = ((1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB"))


class Pace:
    """Asked by the run before each load and each range; it alone knows these limits."""

    def __init__(self, run: Calls[Any], endpoints: Endpoints) -> None:
        config = run.config
        self._run = run
        self._endpoints = endpoints
        self._rates = tuple(_rates(config))
        self._file = None if config.pause_file is None else PauseFile(config.pause_file)
        self.questions = tuple(_questions(config))
        """The calls that tell what it depends on."""
        self._answers: dict[tuple[str, str], Any] = {}
        self._answered: dict[tuple[str, str], float] = {}

    # -- before the first row

    def share_rates(self, other: Pace) -> None:
        """Keep to the rates together with another run of this process."""
        self._rates = other._rates

    def refuse_without_calls(self, endpoints: Iterable[Endpoint]) -> None:
        """Raise ConfigError with all that these sides lack to tell what has to be known of them."""
        bad = [
            f"the Database of {endpoint} has no {call}, which `{_OPTIONS[call]}` needs"
            for endpoint in endpoints
            for call in self.questions
            if endpoint.side in ASKED_OF[call] and call not in endpoint.offers
        ]
        if bad:
            raise ConfigError("; ".join(bad))

    def begin(self) -> None:
        """Look for the file, and ask both sides: what can't be told ends the run before its rows.

        Raises HostError, and what `Calls.wait` raises.
        """
        self.look_for_file()
        self.ask(*self._endpoints.both)
        rates = [str(rate) for rate in self._rates if rate.of_bytes]
        if rates and self._run.what == "verification":
            self._run.warn(
                f"the limit of {rates[0]} holds for what is repaired alone: a comparison is made on"
                " the servers, and moves no rows; a limit in rows holds for it too"
            )

    def look_for_file(self) -> str | None:
        """Return why the file pauses the run now; None if it does not. Raises HostError."""
        if self._file is None:
            return None
        self._file.start()
        until = self._run.clock.now() + UNANSWERED
        while not self._file.answered and self._run.clock.now() < until:
            self._run.pause(0.005)
        if self._file.error is not None:
            raise refused(self._file.error, "to look for the pause file")
        return self._file.found

    def end(self) -> None:
        """Look no more."""
        if self._file is not None:
            self._file.end()

    # -- while it runs

    def keep(self) -> None:
        """Wait until the run may go on.

        Raises what `Calls.wait_while` raises.
        """
        self._run.wait_while(self._next_wait)

    def took(self, *, rows: int, size: int) -> None:
        """Count what was loaded, or compared: `size` bytes."""
        for rate in self._rates:
            rate.took(size if rate.of_bytes else rows, self._run.clock.now())

    def ask(self, *endpoints: Endpoint) -> None:
        """Ask these sides, both at the same time, what is due; no call may be under way there."""
        run = self._run
        for call in self.questions:
            begun = {
                endpoint.side: run.begin(endpoint, call)
                for endpoint in endpoints
                if endpoint.side in ASKED_OF[call] and self._is_due((call, endpoint.side))
            }
            run.wait_both(begun.get("source"), begun.get("target"))
            for side, asked in begun.items():
                self._answers[call, side] = asked.value
                self._answered[call, side] = run.clock.now()
                run.notify(_measured(side, call, asked.value))

    def above(self, call: str, side: str, answer: Any) -> str | None:
        """Return what is told if the answer of a side is above its limit, None if it is not."""
        max_lag, max_load = self._run.config.max_lag, self._run.config.max_load
        if call == LAG and max_lag is not None:
            seconds, which = answer
            who = f"the standby {which} of the {side}" if which else f"the {side}, a standby,"
            if seconds > max_lag:
                return f"{who} is {seconds_text(seconds)} behind (at most {seconds_text(max_lag)})"
        elif max_load is not None and answer > max_load:
            are = "session is" if answer == 1 else "sessions are"
            return f"{answer:,} {are} active on the {side} (at most {max_load})"
        return None

    def _is_due(self, question: tuple[str, str]) -> bool:
        return self._run.clock.now() >= self._answered.get(question, -math.inf) + _ASKED_EVERY

    def _next_wait(self) -> Wait | None:
        """Return why it may not go on now; None if it may."""
        if self._file is not None and (found := self._file.found) is not None:
            return Wait(reason="pause file", detail=found, seconds=_LOOKED_EVERY)
        if self.questions:
            self.ask(*(end for end in self._endpoints.both if self._run.is_idle(end)))
        for (call, side), answer in self._answers.items():
            if (above := self.above(call, side, answer)) is not None:
                reason: PauseReason = "max lag" if call == LAG else "max load"
                return Wait(reason=reason, detail=above, seconds=_ASKED_EVERY)
        for rate in self._rates:
            if (left := rate.left(self._run.clock.now())) > 0:
                # no longer, since the file may appear meanwhile, or a standby lag behind
                seconds = min(left, _LOOKED_EVERY)
                return Wait(reason="max rate", detail=str(rate), seconds=seconds)
        return None


_OPTIONS = {LAG: "max_lag", ACTIVE_SESSIONS: "max_load"}


def _questions(config: Config) -> Iterator[str]:
    if config.max_lag is not None:
        yield LAG
    if config.max_load is not None:
        yield ACTIVE_SESSIONS


def _measured(side: Side, call: str, answer: Any) -> Measured:
    if call == LAG:
        seconds, _ = answer
        return Measured(side=side, what="lag", value=seconds)
    return Measured(side=side, what="active_sessions", value=answer)


# -- the rate


def _rates(config: Config) -> Iterator[_Rate]:
    if config.max_rate_bytes is not None:
        yield _Rate(config.max_rate_bytes, of_bytes=True)
    if config.max_rate_rows is not None:
        yield _Rate(config.max_rate_rows, of_bytes=False)


class _Rate:
    """A token bucket: what is taken is paid for before the next load."""

    def __init__(self, rate: float, *, of_bytes: bool) -> None:
        self._rate = rate
        self.of_bytes = of_bytes
        self._paid: float | None = None
        """When all that was taken is paid for, by the run's clock; None before the first load."""
        self._lock = threading.Lock()
        """Runs that share it, each in a thread of its own, have equal clocks."""

    def __str__(self) -> str:
        if not self.of_bytes:
            return f"at most {self._rate:,.12g} row{'' if self._rate == 1 else 's'} a second"
        one = (1, "byte" if self._rate == 1 else "bytes")
        unit, name = next((each for each in _UNITS if self._rate >= each[0]), one)
        return f"at most {self._rate / unit:,.4g} {name} a second"

    def left(self, now: float) -> float:
        """Return the seconds until the next load may begin."""
        with self._lock:
            if self._paid is None:
                self._paid = now
            return self._paid - now

    def took(self, amount: int, now: float) -> None:
        """Take note of a load that has ended."""
        with self._lock:
            paid = now if self._paid is None else self._paid
            self._paid = max(paid, now - _CATCHES_UP) + amount / self._rate
