"""Settling: a copy by ids can't see the rows of transactions that are open when it begins.

The greatest id is read first, then the transactions that are open: a row with an id up to that one
is there already, or one of these commits it. Those that end before the first load have been seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pipecopy.contracts import OpenTransaction
from pipecopy.finding import warning
from pipecopy.supervisor.pauses import Wait
from pipecopy.supervisor.run import Run
from pipecopy.units import seconds_text

OPEN_TRANSACTIONS = "open_transactions"
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0
"""Seconds between two looks: as many as it has waited, so they double."""
_NAMED = 5
"""How many transactions a message names."""


class Settling:
    """The source's transactions that were open when its greatest id had just been read."""

    def __init__(self, run: Run[Any]) -> None:
        """Look at them; there are none if the source can't tell."""
        self._run = run
        self._seen_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._began = run.clock.now()
        self._open: Sequence[OpenTransaction] = ()
        if OPEN_TRANSACTIONS in run.source.offers:
            self._open = self._ask()

    def wait(self, until: str, consequence: str, *, remedy: str) -> None:
        """Wait for their end, for `Config.settle` at most; warn of those that are still open.

        `until` says what comes next, and `consequence` what may be wrong then. Raises what
        `Calls.wait_while` raises.
        """
        settle = self._run.config.settle
        self._run.wait_while(self._look)
        if self._open:
            waited = f", after a wait of {seconds_text(settle)}" if settle else ""
            still_open = warning(
                f"{consequence}, since {open_ones(self._open)}, open when the greatest id was read"
                f" ({self._seen_at}), had not ended when {until}{waited}",
                remedy,
            )
            self._run.warn(f"{self._run.source}: {still_open}")

    def _look(self) -> Wait | None:
        """See which are still open; return why that has to be waited for."""
        if self._open:
            self._open = self._ask([each["id"] for each in self._open])
        run = self._run
        waited = run.clock.now() - self._began
        left = run.config.settle - waited
        if not self._open or left <= 0:
            return None
        return Wait(
            reason="open transactions",
            detail=f"{run.source}: waiting up to {seconds_text(run.config.settle)} for the end of"
            f" {open_ones(self._open)}",
            seconds=min(max(_FIRST_PAUSE, waited), _LONGEST_PAUSE, left),
        )

    def _ask(self, *among: Sequence[str]) -> Sequence[OpenTransaction]:
        """Return those that are open; none, with a warning, if the source can't tell."""
        found: Sequence[OpenTransaction] | str = self._run.call(
            self._run.source, OPEN_TRANSACTIONS, *among
        )
        if not isinstance(found, str):
            return found
        self._run.warn(f"{self._run.source}: {found}")
        return ()


def open_ones(transactions: Sequence[OpenTransaction]) -> str:
    """Return how many there are, and whose they are: the oldest ones."""
    named = [
        f"{each['who']}, since {each['since']}" if each.get("since") else each["who"]
        for each in transactions[:_NAMED]
    ]
    if len(transactions) > _NAMED:
        named.append(f"and {len(transactions) - _NAMED} more")
    count = "1 transaction" if len(transactions) == 1 else f"{len(transactions)} transactions"
    return f"{count} ({'; '.join(named)})"
