"""Which errors of a server or a connection are time-outs."""

from __future__ import annotations

import errno
import os

import psycopg
from psycopg import errors

_TIMEOUTS = (
    errors.LockNotAvailable,  # 55P03: lock_timeout
    errors.TransactionTimeout,  # 25P04
    errors.IdleInTransactionSessionTimeout,  # 25P03
    errors.ConnectionTimeout,
)
_CLOCKS_DIFFER = 0.01
"""Seconds by which the server's clock and ours may measure the same time differently."""


def is_timeout(error: psycopg.Error, *, elapsed: float, statement_timeout: float) -> bool:
    """Tell whether the error is a time-out of the server, the network or the driver.

    `elapsed` is how many seconds the statement took, by the monotonic or the wall clock, whichever
    says more; `statement_timeout` how many it was allowed (0: no limit). A cancelled statement
    timed out only if it took that long, since an administrator's cancel has the same SQLSTATE,
    57014.
    """
    if isinstance(error, errors.QueryCanceled):
        return 0 < statement_timeout <= elapsed + _CLOCKS_DIFFER
    if isinstance(error, _TIMEOUTS):
        return True
    # libpq hands no errno on: its message holds the system's own text for it
    return error.sqlstate is None and os.strerror(errno.ETIMEDOUT) in str(error)
