"""The two servers of the bench, and a database for each data set on them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from tests.support.databases import TemporaryDatabase
from tests.support.servers import PostgresServer

# Autovacuum would strike one contender and spare the next, so this one table is left to the bench;
# all settings of the servers are PostgreSQL's defaults.
_TABLE = (
    "CREATE TABLE profiles (id BIGSERIAL PRIMARY KEY, data JSONB)"
    " WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off)"
)


@dataclass(frozen=True)
class Databases:
    """The filled table on PROD, and an empty one on STATS."""

    source: TemporaryDatabase
    target: TemporaryDatabase
    source_port: int | None = None
    """Where the contenders connect to instead of the server: a proxy."""
    target_port: int | None = None
    _checksums: dict[int, object] = field(default_factory=dict)

    @property
    def psql(self) -> str:
        return str(self.target.server.bin / "psql")

    @property
    def source_conninfo(self) -> str:
        return self._conninfo(self.source, self.source_port)

    @property
    def target_conninfo(self) -> str:
        return self._conninfo(self.target, self.target_port)

    @staticmethod
    def _conninfo(database: TemporaryDatabase, port: int | None) -> str:
        return database.server.conninfo(database.name, port=port or database.server.port)

    def by_ports(self, source: int, target: int) -> Databases:
        """Return the same databases, reached through other ports."""
        return replace(self, source_port=source, target_port=target)

    def empty_target(self) -> None:
        """Make the target's table anew, and let both servers finish what they still write."""
        self.target.execute("DROP TABLE IF EXISTS profiles")
        self.target.execute(_TABLE)
        self.checkpoint()

    def checkpoint(self) -> None:
        for database in (self.source, self.target):
            database.execute("CHECKPOINT")

    def copied(self, rows: int) -> bool:
        """Tell whether the target has exactly the source's first rows, to the letter."""
        if rows not in self._checksums:
            self._checksums[rows] = _checksum(self.source, f"WHERE id <= {rows}")
        return _checksum(self.target) == self._checksums[rows]

    @property
    def wal_position(self) -> int:
        """Bytes of WAL that the target's server has written since it was made."""
        return int(self.target.value("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"))


def _checksum(database: TemporaryDatabase, where: str = "") -> tuple[object, ...]:
    # a sum over the rows: unlike a checksum in the order of ids, it needs no sort on disk
    (result,) = database.query(
        "SELECT count(*), sum(('x' || left(md5(ROW(id, data)::text), 15))::bit(60)::bigint)"
        f" FROM profiles {where}"
    )
    return result


@dataclass(frozen=True)
class Servers:
    """PROD and STATS."""

    prod: PostgresServer
    stats: PostgresServer

    @contextlib.contextmanager
    def filled(
        self, name: str, rows: int, fill: Callable[[TemporaryDatabase, int], None]
    ) -> Iterator[Databases]:
        """Make a database on both, and fill the source's table."""
        for server in (self.prod, self.stats):
            server.create_database(name)
        both = Databases(TemporaryDatabase(self.prod, name), TemporaryDatabase(self.stats, name))
        try:
            both.source.execute(_TABLE)
            fill(both.source, rows)
            both.source.execute("VACUUM (FREEZE, ANALYZE) profiles")
            both.empty_target()
            yield both
        finally:
            for server in (self.prod, self.stats):
                server.drop_database(name)


@contextlib.contextmanager
def servers() -> Iterator[Servers]:
    """Start both with PostgreSQL's default settings, and remove all at the end."""
    with PostgresServer(16, {}) as prod, PostgresServer(18, {}) as stats:
        yield Servers(prod, stats)
