# ruff: noqa: S608 - SQL is what this file writes; it holds nothing but numbers
"""Whether a new session is on the server that the last one was on, and not at an earlier time.

With several hosts, a virtual address or DNS, a new session may reach a standby that lags behind, or
one that was promoted without the last commits. The cluster's identifier, its timeline, and its
position in the write-ahead log show that. A standby reaches a position later, so that can be waited
for; a timeline that changed can't be undone, and no role may ask where the two parted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipecopy.contracts import ServerChangedError

_PAGE = 8192
_PAGE_HEADERS = (24, 40)
"""Bytes of a page of the log before its first record (SizeOfXLogShortPHD, SizeOfXLogLongPHD)."""

LSN = (
    "CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()"
    " ELSE pg_catalog.pg_current_wal_flush_lsn() END"
)
"""SQL for how far the server is: what is flushed stays after a crash, and is sent to standbys."""

_SYSTEM = "(SELECT system_identifier FROM pg_catalog.pg_control_system())::bigint"
_STANDBYS_TIMELINE = (
    # of its last restart point, or of what it wrote last
    "(SELECT greatest(c.timeline_id, r.min_recovery_end_timeline)"
    " FROM pg_catalog.pg_control_checkpoint() AS c, pg_catalog.pg_control_recovery() AS r)"
)
_PRIMARYS_TIMELINE = (
    "('x' OPERATOR(pg_catalog.||) pg_catalog.substr(pg_catalog.pg_walfile_name("
    "pg_catalog.pg_current_wal_flush_lsn()), 1, 8))::bit(32)::int"
)


def _state(system: str, standbys_timeline: str) -> str:
    return (
        f"SELECT {system}, CASE WHEN is_standby THEN {standbys_timeline}"
        f" ELSE {_PRIMARYS_TIMELINE} END, is_standby, {LSN}"
        " FROM (SELECT pg_catalog.pg_is_in_recovery() OFFSET 0) AS server (is_standby)"
    )


STATES = (
    _state(_SYSTEM, _STANDBYS_TIMELINE),
    _state("NULL::bigint", "NULL::int"),
    "SELECT NULL::bigint, NULL::int, pg_catalog.pg_is_in_recovery(), NULL",
)
"""SQL for a `ServerState`: for a role that may ask all of it, as any may by default; for one that
may not ask what the control file says; for any other, and for a server that does not tell."""
PRIMARY_ONLY = (
    "to delete surplus rows, the source has to be the primary (with several hosts:"
    " target_session_attrs=primary)"
)
"""What is said if surplus rows were to be found by a standby."""


@dataclass(frozen=True, kw_only=True)
class ServerState:
    """Which server a session is on, and how far that has come; None for what it does not tell."""

    system: int | None
    timeline: int | None
    """A standby's may be known late: it is at least that."""
    is_standby: bool
    lsn: int | None
    greatest_key: int | None = None
    """The table's, if a loss of its last rows is to be seen by it."""
    next_id: int | None = None
    """Of a shard: every id below it was saved, as the ledger said last."""

    def at(self, lsn: str | None, greatest_key: int | None = None) -> ServerState:
        """Return the same server at another position, as the server writes it."""
        number = self.lsn if lsn is None else _number(lsn)
        return replace(self, lsn=number, greatest_key=greatest_key)

    def plain(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def server_state(row: tuple[Any, ...]) -> ServerState:
    """Return the state from a row of one of the statements `STATES`."""
    system, timeline, is_standby, lsn = row
    return ServerState(
        system=system,
        timeline=timeline,
        is_standby=is_standby,
        lsn=None if lsn is None else _number(lsn),
    )


def state_from_plain(plain: Any) -> ServerState | None:
    """Return what `ServerState.plain` made plain values of; None if it is nothing of the kind."""
    return ServerState(**plain) if isinstance(plain, Mapping) else None


def bytes_behind(before: ServerState, now: ServerState) -> int:
    """Return how many bytes of the log the server has to replay to be where the last one was.

    Raises ServerChangedError if it never will be there.
    """
    if None not in (before.system, now.system) and before.system != now.system:
        raise ServerChangedError(
            "a new connection leads to another server: its system identifier is"
            f" {now.system}, it was {before.system}"
        )
    if before.timeline is not None and now.timeline is not None:
        is_older = now.timeline < before.timeline and not now.is_standby
        if now.timeline > before.timeline or is_older:
            raise ServerChangedError(
                "a new connection leads to a server that took over after a failover: it is on"
                f" timeline {now.timeline}, the one before was on timeline {before.timeline},"
                " and the last commits there may be lost"
            )
    if before.lsn is None or now.lsn is None or now.lsn >= before.lsn:
        return 0
    behind = before.lsn - now.lsn
    if not now.is_standby:
        raise ServerChangedError(
            "the server has gone back in time, as after a restored backup: its log ends"
            f" {behind} bytes before the place where it was"
        )
    return behind


def compare_greatest_keys(before: ServerState, now: ServerState) -> None:
    """See that the last rows are still there: a position is that of before a commit, if known."""
    if before.greatest_key is None or before.greatest_key <= (now.greatest_key or 0):
        return
    raise ServerChangedError(
        f"the greatest id is {now.greatest_key or 0} after a new connection, and was"
        f" {before.greatest_key} before: it leads to another server, or to one that has gone back"
        " in time"
    )


def _number(lsn: str) -> int:
    """Return a position of the log as a number.

    A primary that has filled a page says where the next record will begin; a standby, where the
    last one ended.
    """
    high, low = lsn.split("/")
    number = (int(high, 16) << 32) + int(low, 16)
    return number - number % _PAGE if number % _PAGE in _PAGE_HEADERS else number
