"""The watch over shards that are copied in other processes: how far each is, by the ledger.

One whose row does not change for longer than its calls may take is silent: its host is frozen, or
cut off from the target. Before it is claimed a shard has no news: it may wait for its turn there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from pipecopy.config import Config
from pipecopy.errors import DatabaseError
from pipecopy.operations.shards.outcomes import is_loss
from pipecopy.shard import Shard
from pipecopy.supervisor.run import Run

LOOK = 1.0
"""Seconds between two looks."""
_STARTS = 1.0
"""Seconds, above the limits of calls, that an attempt may take between two saves."""


class Watch:
    """Over the attempts of one run that run elsewhere."""

    def __init__(self, run: Run[Any], *, failures: int) -> None:
        """So many looks in a row may fail, since the target fails over, perhaps."""
        self._run = run
        self._failures = self._failures_left = failures
        self._looked = run.clock.now()
        self._rows: dict[int, tuple[Shard, float]] = {}
        """Of attempts under way, and when each was seen first, by the run's clock."""

    def forget(self, number: int) -> None:
        """Take note that another attempt of the shard begins, which has not claimed it yet."""
        self._rows.pop(number, None)

    def look(self, known: Collection[Shard]) -> list[Shard]:
        """Return those that are no longer as they were known; none if it is too early to look."""
        now = self._run.clock.now()
        if not known or now < self._looked + LOOK:
            return []
        self._looked = now
        before = {shard.shard: shard for shard in known}
        changed = []
        for shard in self._ask():
            was = before.get(shard.shard)
            if (
                was is None
                or shard.state == "waiting"
                or (shard.attempt, shard.updated) == (was.attempt, was.updated)
            ):
                continue
            changed.append(shard)
            self._rows[shard.shard] = (shard, self._run.clock.now())
        return changed

    def silence(self, number: int, config: Config) -> float | None:
        """Return for how long nothing was heard of a shard, in seconds, if that is too long.

        By the clock of this run, which leaves out the time for which this process was stopped.
        """
        if number not in self._rows:
            return None
        shard, seen = self._rows[number]
        under_way = shard.state in {"running", "stopping"}
        if under_way and _may_pause(config):
            return None
        silent = self._run.clock.now() - seen
        calls = config.call_timeout  # to close, if it has ended: then the engine lost its result
        if under_way:  # a load and a save, each with all its attempts
            calls = 2 * (config.max_retries + 1) * (config.call_timeout + config.retries_delay)
        return silent if silent > calls + _STARTS else None

    def _ask(self) -> Sequence[Shard]:
        """Return the shards as the ledger has them; none if it can't be asked for the moment."""
        run = self._run
        try:
            shards: Sequence[Shard] = run.call(run.target, "shards", run.report.run_id)
        except DatabaseError as error:
            self._failures_left -= 1
            if not is_loss(error) or self._failures_left < 0:
                raise
            return ()
        self._failures_left = self._failures
        return shards


def _may_pause(config: Config) -> bool:
    """Tell whether a shard may have to wait between two batches, for as long as it takes."""
    limits = (
        config.pause_file,
        config.max_lag,
        config.max_load,
        config.max_rate_bytes,
        config.max_rate_rows,
    )
    return any(limit is not None for limit in limits)
