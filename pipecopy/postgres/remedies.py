"""What to do about a refused connection: by the SQLSTATE, else by what libpq knows of it."""

from __future__ import annotations

import psycopg

from pipecopy.postgres.names import quoted

_GIVE_IT = "put the role's password into ~/.pgpass, a service file or PGPASSWORD."
_BY_SQLSTATE = {
    "28P01": _GIVE_IT,
    "28000": (
        "fix the role's name, or let it log in: the server needs the role, with LOGIN, and a line"
        " for it and this host in its pg_hba.conf."
    ),
    "3D000": "fix the name of the database.",
    "53300": "wait until sessions there have ended, or end some.",
    "55000": "let it take connections again: ALTER DATABASE {database} ALLOW_CONNECTIONS true;",
    "57P03": "wait until the server is up, and run it again.",
    "42501": "GRANT CONNECT ON DATABASE {database} TO {role};",
}
_UNREACHABLE = (
    "start the server there, or fix its host and port; if it is about SSL, fix sslmode,"
    " sslrootcert, sslcert and sslkey."
)


def remedy_of(error: psycopg.Error) -> str | None:
    """Return what to do about a connection that could not be opened."""
    connection = error.pgconn
    if connection is None:
        return None
    if error.sqlstate is None or error.sqlstate.startswith("08"):  # no server has said a word
        return _GIVE_IT if connection.needs_password else _UNREACHABLE
    remedy = _BY_SQLSTATE.get(error.sqlstate)
    return remedy and remedy.format(
        database=quoted(connection.db.decode()), role=quoted(connection.user.decode())
    )
