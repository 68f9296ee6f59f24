"""How long the server lets a session and its statements take."""

from __future__ import annotations

from pipecopy.contracts import Session

MILLISECONDS_MAX = 2**31 - 1


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
