"""Where a database is: from a name to libpq's connection parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pipecopy.contracts import Session
from pipecopy.postgres.errors import INVALID_PARAMETER_VALUE, PostgresError
from pipecopy.redact import redact

_SCHEMES = ("postgresql://", "postgres://")
_SHORTEST_CONNECT = 2
"""Seconds: libpq and psycopg round a shorter connect_timeout up."""
_LONGEST_KEEPALIVE = 32767
"""Seconds: Linux refuses a longer one, and libpq then the connection."""


@dataclass(frozen=True)
class Server:
    """Where to connect, without what is added for a session. Its `repr` shows no password."""

    shown: str
    """The name for messages, without a password."""
    conninfo: str
    is_service: bool = False
    """Nothing else is known by this name."""

    def __repr__(self) -> str:
        return f"Server({self.shown!r})"


def find(name: str, connections: Mapping[str, str]) -> Server:
    """Return the server of that name: in `connections`, a URI or conninfo, or a service."""
    text = connections.get(name, name)
    shown = redact(name)
    if not text.strip():
        raise PostgresError("the name of a database is empty", INVALID_PARAMETER_VALUE)
    if text.startswith(_SCHEMES) or "=" in text:
        return Server(shown, text)
    return Server(shown, f"service={_conninfo_value(text)}", is_service=True)


def parameters(server: Server, session: Session | None) -> dict[str, str]:
    """Return the connection parameters, with limits that the user did not set.

    Raises PostgresError, without a password in it, for a conninfo that can't be read.
    """
    try:
        given = {key: str(value) for key, value in conninfo_to_dict(server.conninfo).items()}
    except psycopg.ProgrammingError:
        # libpq's message may quote the text, password and all
        raise PostgresError(
            f"the connection string of {server.shown!r} can't be read:"
            " it is neither a URI nor a list of keyword=value",
            INVALID_PARAMETER_VALUE,
        ) from None
    added = {"client_encoding": "UTF8"}
    if session is not None:
        added["application_name"] = application_name(session)
        known = given | _from_elsewhere(given)
        hosts = 1 + known.get("host", known.get("hostaddr", "")).count(",")
        limits = _network_limits(session.call_timeout, hosts)
        # named here, since psycopg reads no service file for the connect_timeout that it applies
        given |= {name: known.get(name, limit) for name, limit in limits.items()}
    return given | added


def _from_elsewhere(given: dict[str, str]) -> dict[str, str]:
    """Return all parameters as libpq finds them in the service file, environment and defaults.

    It tells them of a connection only: one that it gives up before the network, by a wrong value.
    """
    never = make_conninfo(**given | {"sslmode": "never"})
    attempt = pq.PGconn.connect_start(never.encode())
    try:
        return {
            option.keyword.decode(): option.val.decode() for option in attempt.info if option.val
        }
    finally:
        attempt.finish()


def application_name(session: Session) -> str:
    """Return the name under which the server lists the session."""
    return f"pipecopy/{session.run_id}/{session.side}"


def _network_limits(call_timeout: float, hosts: int) -> dict[str, str]:
    """Limits that end a little before the call's own, so that the error says what was wrong."""
    return {
        "connect_timeout": str(max(_SHORTEST_CONNECT, int(0.9 * call_timeout / hosts))),
        "keepalives": "1",
        "keepalives_idle": str(max(1, min(int(call_timeout / 3), _LONGEST_KEEPALIVE))),
        "keepalives_interval": str(max(1, min(int(call_timeout / 6), _LONGEST_KEEPALIVE))),
        "keepalives_count": "3",
        "tcp_user_timeout": str(int(min(900 * call_timeout, 2**31 - 1))),
    }


def _conninfo_value(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
