"""The two servers of the bench, and the table on them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from tests.profiles import TABLE, add_profiles, checksum
from tests.servers import PostgresServer, TemporaryDatabase

# PostgreSQL's defaults, but for what would make the rounds differ from each other: a checkpoint
# or an autovacuum in the middle of one of them. The log of both servers is the same.
SETTINGS = {
    "autovacuum": "off",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1h",
}


@dataclass(frozen=True)
class Servers:
    """PROD with the filled table, STATS with an empty one."""

    source: TemporaryDatabase
    target: TemporaryDatabase

    def empty_target(self) -> None:
        """Make the target's table anew, and let both servers finish what they still write."""
        self.target.execute("DROP TABLE IF EXISTS profiles")
        self.target.execute(TABLE)
        for database in (self.source, self.target):
            database.execute("CHECKPOINT")

    def assert_copied(self) -> None:
        source, target = checksum(self.source), checksum(self.target)
        if source != target:
            raise AssertionError(f"the copy differs: {source[0]} and {target[0]} rows")


@contextlib.contextmanager
def servers(rows: int) -> Iterator[Servers]:
    """Start both, fill the source, and remove all at the end."""
    with PostgresServer(16, SETTINGS) as prod, PostgresServer(18, SETTINGS) as stats:
        for server in (prod, stats):
            server.create_database("bench")
        both = Servers(TemporaryDatabase(prod, "bench"), TemporaryDatabase(stats, "bench"))
        both.source.execute(TABLE)
        add_profiles(both.source, 1, rows + 1)
        both.source.execute("VACUUM (FREEZE, ANALYZE) profiles")
        yield both
