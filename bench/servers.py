"""The two servers of the bench, and what is copied: small rows, large ones, and huge ones."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from pipecopy.postgres import PostgresPool
from tests.support.databases import TemporaryDatabase
from tests.support.profiles import add_profiles
from tests.support.servers import PostgresServer

FULL_ROWS = 1_000_000
"""Rows of the small data set in a full run; all else is scaled with it."""
QUICK_ROWS = 50_000
_DIFFERENT = 100_000  # small rows that are made one by one, which takes as long as to copy them

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
    """The port that the contenders connect to instead of the server's: a proxy's."""
    target_port: int | None = None
    _checksums: dict[int, object] = field(default_factory=dict)

    @property
    def psql(self) -> str:
        return str(self.target.server.bin / "psql")

    @property
    def pool(self) -> PostgresPool:
        """Both, as PROD and STATS."""
        return PostgresPool({"PROD": self.source_conninfo, "STATS": self.target_conninfo})

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
        """Create the target's table again, and let both servers finish their writes."""
        self.target.execute("DROP TABLE IF EXISTS profiles")
        self.target.execute(_TABLE)
        self.checkpoint()

    def checkpoint(self) -> None:
        for database in (self.source, self.target):
            database.execute("CHECKPOINT")

    def copied(self, rows: int) -> bool:
        """Return whether the target has exactly the source's first rows, to the letter."""
        if rows not in self._checksums:
            self._checksums[rows] = _checksum(self.source, f"WHERE id <= {rows}")
        return _checksum(self.target) == self._checksums[rows]

    @property
    def wal_position(self) -> int:
        """Bytes of WAL that the target's server has written since it was created."""
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
        """Create a database on both, and fill the source's table."""
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


@dataclass(frozen=True)
class DataSet:
    """Rows of one size."""

    name: str
    title: str
    rows: int
    fill: Callable[[TemporaryDatabase, int], None]
    """Inserts that many rows, with ids from 1 on."""
    most_rounds: int = 10**6
    """Of rows that take long: a round of them takes minutes."""


def data_sets(small_rows: int) -> list[DataSet]:
    """Return the data sets; all get fewer rows with `small_rows`."""
    medium = max(100, small_rows * 20_000 // FULL_ROWS)
    huge = max(1, small_rows * 10 // FULL_ROWS)
    return [
        DataSet("small", "rows of 400 bytes", small_rows, fill_small),
        DataSet("small_600k", "rows of 400 bytes", max(1, small_rows * 6 // 10), fill_small),
        DataSet("small_2m", "rows of 400 bytes", 2 * small_rows, fill_small),
        DataSet("medium", "rows of 50 KB", medium, _fill_medium, most_rounds=1),
        DataSet("huge", "rows of 20 MB", huge, _fill_huge, most_rounds=1),
    ]


def fill_small(database: TemporaryDatabase, rows: int) -> None:
    """Insert rows of about 400 bytes: a hundred thousand different ones, and copies of these."""
    add_profiles(database, 1, min(rows, _DIFFERENT) + 1)
    grow_small(database, rows)


def grow_small(database: TemporaryDatabase, rows: int) -> None:
    """Add copies of the rows that are there, under new ids, until there are that many."""
    while (have := int(database.value("SELECT max(id) FROM profiles"))) < rows:
        database.execute(
            f"INSERT INTO profiles SELECT id + {have}, data FROM profiles WHERE id <= {rows - have}"
        )
    database.execute("SELECT setval('profiles_id_seq', max(id)) FROM profiles")


# Hexadecimal digits of MD5 sums: the servers find nothing in them to compress, so a row takes as
# much of the disk as of the line.


def _fill_medium(database: TemporaryDatabase, rows: int) -> None:
    # pieces of one long value, since a sum for every 32 bytes would take longer than all copies
    database.execute(
        "CREATE TABLE noise (bytes bytea STORAGE EXTERNAL);"
        "INSERT INTO noise SELECT decode(string_agg(md5(i::text), ''), 'hex')"
        "  FROM generate_series(1, 125000) AS i;"
        "INSERT INTO profiles SELECT i, jsonb_build_object("
        "  'name', 'User ' || i,"
        "  'text', encode(substr(bytes, (i * 7919 % 1970000)::int + 1, 25000), 'hex'))"
        f" FROM noise, generate_series(1, {rows}::bigint) AS i;"
        "DROP TABLE noise"
    )


def _fill_huge(database: TemporaryDatabase, rows: int) -> None:
    for i in range(1, rows + 1):
        database.execute(
            f"INSERT INTO profiles SELECT {i}, jsonb_build_object("
            f"  'name', 'User {i}', 'text', string_agg(md5('{i} ' || j), ''))"
            " FROM generate_series(1, 625000) AS j"
        )
