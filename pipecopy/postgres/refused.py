"""A connection that was refused: the SQLSTATE that the server gave, and what to do about it.

libpq hands on the text of a refusal alone, in the server's language. A libpq that was asked before
it connects writes the SQLSTATE into that text, at a place of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
import sys
import time
from collections.abc import Generator
from functools import cache
from typing import Any, Self

import psycopg
from psycopg import errors, pq
from psycopg.pq import ConnStatus, PollingStatus
from psycopg.pq.abc import PGconn
from psycopg.pq.misc import find_libpq_full_path
from psycopg.waiting import Wait

from pipecopy.postgres.names import quoted

_DEFAULT, _VERBOSE = 0x1, 0x2
"""Of libpq's PGVerbosity."""
_CODE = re.compile(r":  (?P<sqlstate>[0-9A-Z]{5}): ")
"""What stands between the severity, which is translated too, and the message."""
_SOON = ("57P03", "53300")
"""SQLSTATEs of a server that is starting up, and of one without a free connection."""
_PLACE = re.compile(r"\n[^\n:]+:  \w+, \w+\.c:\d+$", re.MULTILINE)
"""The last line: the place in the server's code."""

_GIVE_IT = "put the role's password into ~/.pgpass, a service file or PGPASSWORD"
_BY_SQLSTATE = {
    "28P01": _GIVE_IT,
    "28000": (
        "fix the role's name, or let it log in: the server needs the role, with LOGIN, and a line"
        " for it and this host in its pg_hba.conf"
    ),
    "3D000": "fix the name of the database",
    "53300": "wait until sessions there have ended, or end some",
    "55000": "let it take connections again: ALTER DATABASE {database} ALLOW_CONNECTIONS true;",
    "57P03": "wait until the server is up, and run it again",
    "42501": "GRANT CONNECT ON DATABASE {database} TO {role};",
}
_UNKNOWN_HOST = "fix the host's name, or have this machine resolve it"
_UNREACHABLE = (
    "start the server there, or fix its host and port; if it is about SSL, fix sslmode,"
    " sslrootcert, sslcert and sslkey"
)


class PsycopgConnection(psycopg.Connection[Any]):
    """psycopg's, but a refusal of the server has that SQLSTATE, and is of its class.

    Should psycopg some day connect in another way than by `_connect_gen`, the SQLSTATE is missing,
    and no more than that.
    """

    @classmethod
    def connect(cls, conninfo: str = "", **parameters: Any) -> Self:
        """Do what psycopg's own does, which asks one host after the other."""
        try:
            return super().connect(conninfo, **parameters)
        except psycopg.OperationalError as error:
            raise _refusal(error) from None

    @classmethod
    def _connect_gen(
        cls, conninfo: str = "", *, timeout: float = 0.0
    ) -> Generator[tuple[int, Wait], Any, Any]:
        """Do what psycopg's own does; `timeout` is in seconds, 0 if the caller sees to it."""
        until = time.monotonic() + timeout if timeout else 0.0
        pgconn = pq.PGconn.connect_start(conninfo.encode())
        _set_verbosity(pgconn, _VERBOSE)
        while pgconn.status != ConnStatus.BAD:
            status = pgconn.connect_poll()
            if status == PollingStatus.OK:
                _set_verbosity(pgconn, _DEFAULT)
                pgconn.nonblocking = 1
                return cls(pgconn)
            if status == PollingStatus.FAILED:
                break
            wait = Wait.R if status == PollingStatus.READING else Wait.W
            while not (yield pgconn.socket, wait):
                if until and time.monotonic() > until:
                    raise errors.ConnectionTimeout("connection timeout expired")
        message = pgconn.get_error_message("utf-8")
        raise errors.OperationalError(
            f"connection failed: {message}", pgconn=errors.finish_pgconn(pgconn)
        )


def _refusal(refused: psycopg.Error) -> psycopg.Error:
    """Return the error of a connection that failed, with the SQLSTATE of the last host's refusal.

    If one of several hosts will answer soon, it is that one's: the others may well refuse until
    then, as a standby does a session that is to write.
    """
    text = str(refused)
    codes = _CODE.findall(text)
    if not codes:
        return refused
    text = _PLACE.sub("", _CODE.sub(":  ", text))
    if isinstance(refused, errors.ConnectionTimeout):
        return errors.ConnectionTimeout(text, pgconn=refused.pgconn)
    code = next((code for code in codes if code in _SOON), codes[-1])
    kind: type[psycopg.Error] = errors.OperationalError
    with contextlib.suppress(KeyError):  # it may not be one of PostgreSQL's own
        kind = errors.lookup(code)
    error = kind(text, pgconn=refused.pgconn)
    error.sqlstate = code
    return error


def remedy_of(error: psycopg.Error) -> str | None:
    """Return what to do about a connection that could not be opened."""
    connection = error.pgconn
    if connection is None:  # no host was asked
        return _UNKNOWN_HOST if isinstance(error, psycopg.OperationalError) else None
    if error.sqlstate is None or error.sqlstate.startswith("08"):  # no server has said a word
        return _GIVE_IT if connection.needs_password else _UNREACHABLE
    remedy = _BY_SQLSTATE.get(error.sqlstate)
    return remedy and remedy.format(
        database=quoted(connection.db.decode()), role=quoted(connection.user.decode())
    )


def _set_verbosity(pgconn: PGconn, verbosity: int) -> None:
    """Do what psycopg has no function for; nothing if its libpq can't be reached."""
    function, pointer = _libpq_function(), getattr(pgconn, "pgconn_ptr", None)
    if function is not None and pointer is not None:
        function(pointer, verbosity)


@cache
def _libpq_function() -> Any:
    """Return `PQsetErrorVerbosity` of the very libpq that psycopg has loaded."""
    path = (
        find_libpq_full_path()
        if pq.__impl__ == "python"
        else sys.modules[pq.PGconn.__module__].__file__  # which finds what it is linked with
    )
    try:
        function = ctypes.CDLL(path).PQsetErrorVerbosity
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_void_p, ctypes.c_int)
    return function
