"""How long a run was paused, if several of its shards may be at once."""

from __future__ import annotations


class Pauses:
    """The pauses for one reason: what is paused at once counts once."""

    def __init__(self) -> None:
        self.under_way: dict[tuple[int | None, str | None], float] = {}
        """Of which shard on which host, and since when by time.monotonic()."""
        self.seconds = 0.0
        """Of those that have ended."""
        self._counted = self._counted_at = 0.0
        """Until when they are counted: by time.monotonic(), and seconds since 1970 UTC."""

    def end(
        self, who: tuple[int | None, str | None], at: float, seconds: float, now: float
    ) -> None:
        """Count one that ended at that time, after so many seconds; `now` is when that is told.

        What another process did is told later.
        """
        self.under_way.pop(who, None)
        self.seconds += max(0.0, min(seconds, at - self._counted_at))
        self._counted, self._counted_at = now, max(self._counted_at, at)

    def seconds_by(self, now: float) -> float:
        """Return the seconds of all of them by then, by time.monotonic()."""
        since = min(self.under_way.values(), default=now)
        return self.seconds + now - max(since, self._counted)
