"""Pauses: for what a run waits besides its calls, and how long it has waited for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pipecopy.events import Event, Paused, PauseReason, Resumed
from pipecopy.units import seconds_text


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Why a run waits, and the seconds after which it looks again."""

    reason: PauseReason
    detail: str
    seconds: float


class Pauses:
    """The waits of a run; the observer is told of each, and of its end."""

    def __init__(self, now: Callable[[], float], notify: Callable[[Event], None]) -> None:
        self._now = now
        self._notify = notify
        self._ended: dict[PauseReason, float] = {}
        self._wait: Wait | None = None
        self._began = 0.0

    def waits(self, wait: Wait) -> None:
        """Take note of a wait that begins or goes on; one for another reason has ended."""
        if self._wait is not None and wait.reason != self._wait.reason:
            self.resume()
        before, self._wait = self._wait, wait
        if before is None:
            self._began = self._now()
        if before is None or before.detail != wait.detail:
            seconds = self._now() - self._began if before else 0.0
            self._notify(Paused(reason=wait.reason, detail=wait.detail, seconds=seconds))

    def resume(self) -> None:
        """Take note that the run goes on, if it was paused."""
        if self._wait is not None:
            reason = self._wait.reason
            self._notify(Resumed(reason=reason, seconds=self.end()))

    def end(self) -> float:
        """Take note that the pause has ended, if there was one; return its seconds."""
        if self._wait is None:
            return 0.0
        reason, seconds = self._wait.reason, self._now() - self._began
        self._ended[reason] = self._ended.get(reason, 0.0) + seconds
        self._wait = None
        return seconds

    def take(self, others: Iterable[Pauses], among: int) -> None:
        """Count what others have waited, of which so many go on at the same time."""
        for other in others:
            for reason, seconds in other.by_reason.items():
                self._ended[reason] = self._ended.get(reason, 0.0) + seconds / among

    @property
    def under_way(self) -> bool:
        """The run is paused now."""
        return self._wait is not None

    @property
    def by_reason(self) -> dict[PauseReason, float]:
        """How many seconds it has waited for what."""
        found = dict(self._ended)
        if self._wait is not None:
            reason = self._wait.reason
            found[reason] = found.get(reason, 0.0) + self._now() - self._began
        return found

    @property
    def seconds(self) -> float:
        """Of all pauses together."""
        return sum(self.by_reason.values())

    def __str__(self) -> str:
        """Return what the error of the whole run's limit says of them; empty for none."""
        by_reason = self.by_reason
        if not by_reason:
            return ""
        listed = ", ".join(f"{why} {seconds_text(seconds)}" for why, seconds in by_reason.items())
        now = "" if self._wait is None else f"it was paused: {self._wait.detail}; "
        return f"{now}pauses took {seconds_text(self.seconds)} in all ({listed})"
