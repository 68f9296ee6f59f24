# ruff: noqa: S608 - SQL is what this file writes; it holds nothing but names
"""How busy a server is: how far its standbys are behind, and how many of its sessions are active.

What is behind, and what is not seen:

- A standby is a row of `pg_stat_replication` that has told what it has replayed, but for the
  subscribers of logical replication. One that has replayed all of the server's log is not behind:
  its `replay_lag` is that of the last change until its next report, and then NULL. Of any other it
  is `replay_lag`, which grows while the replay is stuck; NULL means that nothing was sent since it
  connected, and that the time is not known: then it counts as not behind, until something is.
- A standby that is not connected is not in the view, and so does not count.
- A server that is a standby itself is behind its primary by the age of the last commit that it has
  replayed, by the clocks of the two; but by no more than the time since it was last seen connected
  and with all replayed that it had received, since the last commit of an idle primary is old.

A role sees neither of others without `pg_read_all_stats`: the columns are NULL, and mean nothing.
"""

from __future__ import annotations

import time

from pipecopy.postgres.errors import (
    INSUFFICIENT_PRIVILEGE,
    OBJECT_NOT_IN_PREREQUISITE_STATE,
    PostgresError,
)
from pipecopy.postgres.names import literal, quoted
from pipecopy.postgres.session import ServerSession

_SEES_OTHERS = "pg_has_role('pg_read_all_stats', 'USAGE'), current_user::text"
_RECEIVED = "greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())"
_LAG = f"""
    WITH here AS (
        SELECT pg_is_in_recovery() AS is_standby,
            CASE WHEN pg_is_in_recovery() THEN {_RECEIVED}
                ELSE pg_current_wal_flush_lsn() END AS log
    ), standbys AS (
        SELECT r.application_name, host(r.client_addr) AS address,
            extract(epoch FROM r.replay_lag)::float8 AS behind
        FROM here JOIN pg_stat_replication r ON r.replay_lsn < here.log
        WHERE r.replay_lag IS NOT NULL AND NOT EXISTS (
            SELECT FROM pg_replication_slots s
            WHERE s.active_pid = r.pid AND s.slot_type = 'logical')
        ORDER BY r.replay_lag DESC LIMIT 1
    )
    SELECT {_SEES_OTHERS}, standbys.application_name, standbys.address, standbys.behind,
        here.is_standby,
        pg_last_wal_replay_lsn() >= here.log
            AND EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming'),
        extract(epoch FROM clock_timestamp()
            - coalesce(pg_last_xact_replay_timestamp(), pg_postmaster_start_time()))::float8
    FROM here LEFT JOIN standbys ON true"""


class Lag:
    """How far the standbys of a server are behind, or the server itself."""

    def __init__(self) -> None:
        self._had_all: float | None = None
        """When the server, a standby, was last seen to have replayed all, by time.monotonic()."""

    def ask(self, session: ServerSession) -> tuple[float, str | None]:
        """Return the seconds, and the standby's name; None for the server itself.

        Raises PostgresError if the role may not know.
        """
        (row,) = session.ask_catalogs(_LAG)
        sees, role, name, address, behind, is_standby, has_all, age = row
        if not sees:
            raise _not_seen(role, "how far standbys are behind")
        now = time.monotonic()
        own = 0.0
        if is_standby and has_all:
            self._had_all = now
        elif is_standby:
            own = age if self._had_all is None else min(age, now - self._had_all)
        if behind is None or own >= behind:
            return max(0.0, own), None
        return behind, f'"{name}" ({address})' if address else f'"{name}"'


def active_sessions(session: ServerSession, own: str | None) -> int:
    """Return how many sessions of clients are at work on the server.

    `own` begins the application names of those that do not count. Raises PostgresError if the role
    may not know, or the server does not.
    """
    others = "true" if own is None else f"NOT starts_with(application_name, {literal(own)})"
    ((sees, role, tracked, count),) = session.ask_catalogs(
        f"SELECT {_SEES_OTHERS}, current_setting('track_activities')::bool,"
        " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        f" AND state = 'active' AND pid <> pg_backend_pid() AND {others})"
    )
    if not sees:
        raise _not_seen(role, "which sessions are active")
    if not tracked:
        raise PostgresError(
            "the server does not tell which sessions are active: track_activities is off",
            OBJECT_NOT_IN_PREREQUISITE_STATE,
            "ALTER SYSTEM SET track_activities = on;",
        )
    return int(count)


def _not_seen(role: str, what: str) -> PostgresError:
    return PostgresError(
        f"the role {role} may not see {what}",
        INSUFFICIENT_PRIVILEGE,
        f"GRANT pg_read_all_stats TO {quoted(role)};",
    )
