"""Databases on a server of the tests: fresh ones, and those that are emptied and used again."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from pipecopy.postgres import PostgresPool
from tests.support.servers import PostgresServer

_numbers = itertools.count(1)

_EMPTY = """
    SET lock_timeout = '2s';
    DO $$
    DECLARE command text;
    BEGIN
        FOR command IN
            SELECT format('DROP PUBLICATION %I', pubname) FROM pg_publication
            UNION ALL SELECT format('DROP SCHEMA %I CASCADE', nspname) FROM pg_namespace
                WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
            UNION ALL SELECT format('ALTER DATABASE %I RESET ALL', datname)
                FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase AND setrole = 0
                WHERE datname = current_database()
        LOOP EXECUTE command; END LOOP;
        CREATE SCHEMA public;
        IF current_setting('server_version_num')::int < 150000 THEN
            GRANT ALL ON SCHEMA public TO PUBLIC;
        ELSE
            ALTER SCHEMA public OWNER TO pg_database_owner;
            GRANT USAGE ON SCHEMA public TO PUBLIC;
        END IF;
    END $$
"""
_CATALOGS = """
    pg_am pg_cast pg_class pg_collation pg_conversion pg_default_acl pg_event_trigger pg_extension
    pg_foreign_data_wrapper pg_foreign_server pg_language pg_largeobject_metadata pg_namespace
    pg_opclass pg_operator pg_opfamily pg_proc pg_publication pg_transform pg_ts_config pg_ts_dict
    pg_ts_parser pg_ts_template pg_type
"""
_OTHERS = """
    SELECT 1 FROM pg_replication_slots WHERE database = current_database()
    UNION ALL
    SELECT 1 FROM pg_database d WHERE datname = current_database() AND (datacl IS NOT NULL
        OR datconnlimit <> -1 OR EXISTS (SELECT FROM pg_subscription WHERE subdbid = d.oid)
        OR EXISTS (SELECT FROM pg_db_role_setting WHERE setdatabase = d.oid))
    UNION ALL
    SELECT 1 FROM pg_proc p LEFT JOIN pg_init_privs ON objoid = p.oid
        AND classoid = 'pg_proc'::regclass
    WHERE proacl IS DISTINCT FROM initprivs
    UNION ALL
    SELECT 1 FROM pg_class c LEFT JOIN pg_init_privs ON objoid = c.oid
        AND classoid = 'pg_class'::regclass AND objsubid = 0
    WHERE relacl IS DISTINCT FROM initprivs AND relnamespace = 'pg_catalog'::regnamespace
    UNION ALL
    -- with a member that was dropped the extension goes too
    SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'plpgsql')
"""
_LEFT = " UNION ALL ".join(
    [
        _OTHERS,
        *(
            # initdb's own come before; `public` was made again
            f"SELECT 1 FROM {name} WHERE oid >= 16384 AND oid <> 'public'::regnamespace"
            for name in _CATALOGS.split()
        ),
    ]
)
"""Rows for what a new database has not, and for what it has and this one lacks."""


class TemporaryDatabase:
    """A database on a server, for one test."""

    def __init__(self, server: PostgresServer, name: str) -> None:
        self.server = server
        self.name = name

    def __repr__(self) -> str:
        return f"<database {self.name} on {self.server!r}>"

    @property
    def uri(self) -> str:
        return self.server.uri(self.name)

    @property
    def conninfo(self) -> str:
        return self.server.conninfo(self.name)

    def connect(self, **overrides: Any) -> psycopg.Connection[Any]:
        return self.server.connect(self.name, **overrides)

    def execute(self, sql: str, params: Sequence[Any] = ()) -> None:
        self.server.execute(sql, params, dbname=self.name)

    def query(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self.server.query(sql, params, dbname=self.name)

    def value(self, sql: str, params: Sequence[Any] = ()) -> Any:
        """Return the one value that a query gives."""
        ((value,),) = self.query(sql, params)
        return value

    def sessions(self) -> list[dict[str, Any]]:
        return self.server.sessions(dbname=self.name)


@contextlib.contextmanager
def temporary_database(
    server: PostgresServer, *, encoding: str = "UTF8", template: str = "template0"
) -> Iterator[TemporaryDatabase]:
    """Make a database, and see at the end that nobody is still connected to it."""
    database = TemporaryDatabase(server, f"db{next(_numbers)}")
    server.create_database(database.name, encoding=encoding, template=template)
    try:
        yield database
        see_unused(database)
    finally:
        _drop(database)


_spare: dict[PostgresServer, list[TemporaryDatabase]] = defaultdict(list)
"""Databases that are as good as new."""


@contextlib.contextmanager
def empty_database(server: PostgresServer) -> Iterator[TemporaryDatabase]:
    """Give a database that is as good as new, in a fraction of a new one's time.

    It is used again unless emptying it leaves anything behind, or somebody is still connected.
    """
    spare = _spare[server]
    if not spare:
        spare.append(TemporaryDatabase(server, f"db{next(_numbers)}"))
        server.create_database(spare[-1].name)
    database = spare.pop()
    emptied = False
    try:
        yield database
        see_unused(database)
        emptied = _emptied(database)
    finally:
        if emptied:
            spare.append(database)
        else:
            _drop(database)


def _drop(database: TemporaryDatabase) -> None:
    if database.server.running:
        database.server.drop_database(database.name)


def _emptied(database: TemporaryDatabase) -> bool:
    if not database.server.running:
        return False
    try:
        # whatever the test has set, for the database or for its superuser
        with database.connect(
            options="-c search_path=pg_catalog -c default_transaction_read_only=off"
        ) as connection:
            connection.execute(_EMPTY)
            return not connection.execute(_LEFT).fetchall()
    except psycopg.Error:
        return False


def see_unused(database: TemporaryDatabase) -> None:
    """See that nobody is connected to it but the test itself."""
    if not database.server.running:
        return
    database.server.resume()
    deadline = time.monotonic() + 3
    while sessions := database.sessions():
        if time.monotonic() > deadline:
            seen = [(s["application_name"], s["state"], s["query"][:100]) for s in sessions]
            raise AssertionError(f"sessions left in {database!r}: {seen}")
        time.sleep(0.005)  # pg_stat_activity sends no events


@dataclass(frozen=True)
class Both:
    """A fresh database on each side."""

    source: TemporaryDatabase
    target: TemporaryDatabase

    def __getitem__(self, side: str) -> TemporaryDatabase:
        return {"source": self.source, "target": self.target}[side]

    def pool(self, *, users: dict[str, str] | None = None, **how: Any) -> PostgresPool:
        """Return a pool with the two under the names `source` and `target`."""
        users = users or {}
        return PostgresPool(
            {
                side: self[side].server.uri(self[side].name, user=users.get(side, "postgres"))
                for side in ("source", "target")
            },
            **how,
        )
