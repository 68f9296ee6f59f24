"""PostgresPool: opens databases by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pipecopy.contracts import Session
from pipecopy.postgres import conninfo
from pipecopy.postgres.database import PostgresDatabase
from pipecopy.postgres.link import Link


class PostgresPool:
    """A `ConnectionPool` over psycopg 3, for one table.

    `connect(name)` finds `name` in `connections`, else takes it as a libpq URI or conninfo, else
    as a libpq service name. `table` is written as psql takes it (`name`, `schema.name`,
    `"Quoted"."Name"`), `key` is the integer column by which it is copied. `session_pooler` states
    that a connection pooler on the way is in session mode; without it a pooler is refused.

    It pickles, passwords included, and its `repr` shows none.
    """

    def __init__(
        self,
        connections: Mapping[str, str] | None = None,
        *,
        table: str = "profiles",
        key: str = "id",
        session_pooler: bool = False,
    ) -> None:
        self._connections = dict(connections or {})
        self._table = table
        self._key = key
        self._session_pooler = session_pooler
        self._session: Session | None = None

    @property
    def connections(self) -> Mapping[str, str]:
        """The named connection strings, passwords included."""
        return MappingProxyType(self._connections)

    def for_session(self, session: Session) -> PostgresPool:
        """Return a pool whose sessions carry the copy's name, and its limits."""
        pool = PostgresPool(
            self._connections,
            table=self._table,
            key=self._key,
            session_pooler=self._session_pooler,
        )
        pool._session = session
        return pool

    def connect(self, dbname: str) -> PostgresDatabase:
        """Open the database.

        Raises TimeoutError when the server did not answer in time, psycopg's errors when it
        refused, PostgresError for a name that says nothing, a pooler, or another copy that holds
        the target.
        """
        link = Link(
            conninfo.find(dbname, self._connections),
            session=self._session,
            table=self._table,
            session_pooler=self._session_pooler,
        )
        link.open()
        return PostgresDatabase(link, table=self._table, key=self._key)

    def __repr__(self) -> str:
        names = ", ".join(sorted(self._connections))
        return f"PostgresPool(<{names}>, table={self._table!r}, key={self._key!r})"
