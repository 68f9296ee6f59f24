"""How long the network, the session and a statement may take, by the limit of a call."""

from __future__ import annotations

from pipecopy.contracts import Session

MILLISECONDS_MAX = 2**31 - 1
_SHORTEST_CONNECT = 2
"""Seconds: libpq and psycopg round a shorter connect_timeout up."""
_LONGEST_KEEPALIVE = 32767
"""Seconds: Linux refuses a longer one, and libpq then the connection."""


def network_limits(run: Session, hosts: int) -> dict[str, str]:
    """Return libpq's parameters for one of so many hosts.

    They end a little before the call's own limit, so that the error says what was wrong.
    """
    limit = run.call_timeout
    return {
        "connect_timeout": str(max(_SHORTEST_CONNECT, int(0.9 * limit / hosts))),
        "keepalives": "1",
        "keepalives_idle": str(max(1, min(int(limit / 3), _LONGEST_KEEPALIVE))),
        "keepalives_interval": str(max(1, min(int(limit / 6), _LONGEST_KEEPALIVE))),
        "keepalives_count": "3",
        "tcp_user_timeout": str(int(min(900 * limit, MILLISECONDS_MAX))),
    }


def statement_limit(run: Session) -> int:
    """Return the milliseconds for one statement: the server cancels it before the worker dies."""
    limit = min(int(1000 * run.call_timeout), MILLISECONDS_MAX)
    return max(1, limit - min(limit // 10, 500))


def session_limits(run: Session) -> dict[str, str]:
    """Return the server's own limits.

    A backend that waits for data in COPY FROM STDIN heeds no statement_timeout; there the
    keepalives, and the orphan's end by the next session, do it.
    """
    limit = min(int(1000 * run.call_timeout), MILLISECONDS_MAX)
    seconds = max(1, int(min(run.call_timeout, 30)))
    return {
        "statement_timeout": str(statement_limit(run)),
        "idle_in_transaction_session_timeout": str(limit),
        "idle_session_timeout": "0",  # one side may wait long for the other
        "tcp_keepalives_idle": str(seconds),
        "tcp_keepalives_interval": str(max(1, seconds // 3)),
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": str(limit),
    }
