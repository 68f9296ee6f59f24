"""What to do about a call that failed, by what the driver said of it."""

from __future__ import annotations

import re

from pipecopy.errors import CallTimeoutError, PipecopyError

_SILENT = "See that the server answers, and that no firewall drops what is sent to it."
_STUCK = (
    "See in the server's pg_stat_activity what it waits for; or give a call more time"
    " (call_timeout)."
)
_BY_MESSAGE = {
    "Connection refused": "Start the server there, or put right its host and port.",
    "could not translate host name|Name or service not known": (
        "Put right the host's name, or its entry in the DNS."
    ),
    "No such file or directory": "Start the server there, or put right its host or socket.",
    "Network is unreachable|No route to host": "Put right the host, or the route to it.",
    "password authentication failed|no password supplied|empty password": (
        "Put the role's password into ~/.pgpass, a service file or PGPASSWORD."
    ),
    "no pg_hba.conf entry|pg_hba.conf rejects": (
        "Let this role in from this host by a line in the server's pg_hba.conf, and reload it."
    ),
    'role "[^"]*" (does not exist|is not permitted)': "Put right the role, or let it log in.",
    'database "[^"]*" does not exist': "Put right the name of the database.",
    'permission denied for database "(?P<name>[^"]*)"': (
        'Let the role in: GRANT CONNECT ON DATABASE "{name}" to it.'
    ),
    "too many clients|too many connections|remaining connection slots": (
        "Wait until sessions there have ended, or end some."
    ),
    "database system is (starting|shutting|in recovery|not)|not yet accepting connections": (
        "Wait until the server is up, and look again."
    ),
    "unrecognized configuration parameter": "Use a server of PostgreSQL 14 or later.",
    "SSL|certificate": "Put right sslmode, sslrootcert, sslcert and sslkey.",
    "timeout expired": _SILENT,
}
"""Of `connect`: what libpq, the server or the network say, and what helps."""


def remedy_for(error: PipecopyError) -> str | None:
    """Return what to do about it, None where nothing but its message helps."""
    if isinstance(error, CallTimeoutError):
        return _SILENT if error.call == "connect" else _STUCK
    if error.call != "connect":
        return None
    said = str(error)
    for pattern, remedy in _BY_MESSAGE.items():
        if match := re.search(pattern, said):
            return remedy.format_map(match.groupdict())
    return None
