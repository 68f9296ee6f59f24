"""What the demo says of the hangs: sentences for the events that the reader should understand."""

from __future__ import annotations

from dataclasses import dataclass

from pipecopy.events import CallEnded, CallStarted, Event, Where, WorkerKilled
from pipecopy.units import duration_text


@dataclass(frozen=True, kw_only=True)
class Hangs:
    """Which rows hang, and how."""

    deadlock_at: int
    """The id whose load deadlocks in the driver."""
    locked_at: int
    """The id whose save waits for another session."""

    def strikes(self, where: Where) -> bool:
        """Tell whether the call is one of the two."""
        hangs = {"load_rows": self.deadlock_at, "save_rows": self.locked_at}
        if where.call not in hangs or where.key_range is None:
            return False
        first, past_last = where.key_range
        return first <= hangs[where.call] < past_last

    def blocked_save_ended(self, event: Event) -> bool:
        """Tell whether the save that another session blocks has just reached its limit."""
        return (
            isinstance(event, CallEnded)
            and event.where.call == "save_rows"
            and event.outcome == "timed out"
            and self.strikes(event.where)
        )


def remark(event: Event, hangs: Hangs) -> str | None:
    """Return what the event means, where it belongs to one of the hangs."""
    match event:
        case CallStarted(where=where, limit=limit) if hangs.strikes(where) and where.attempt == 1:
            return f"{_cause(where, hangs)}\n   Its limit is {duration_text(limit)}."
        case WorkerKilled(where=where) if hangs.strikes(where):
            return (
                "-> That was its limit: the process was ended with SIGKILL,\n"
                "   which nothing in it can put off."
            )
        case CallEnded() if hangs.blocked_save_ended(event):
            return "-> Now the other session ends, and lets go of its lock."
        case CallEnded(where=where, outcome="returned") if (
            hangs.strikes(where) and where.attempt > 1
        ):
            return "-> A new process has connected, and done the same call. The copy goes on."
    return None


def _cause(where: Where, hangs: Hangs) -> str:
    if where.call == "load_rows":
        return (
            f"-> The next load hangs: the driver of {where.dbname} locks a C mutex twice,\n"
            "   and keeps Python's global lock. No exception, signal handler or thread\n"
            "   can get that process going again."
        )
    return (
        f"-> The next save has to wait: another session has inserted id {hangs.locked_at}\n"
        f"   on {where.dbname}, and neither commits nor rolls back."
    )
