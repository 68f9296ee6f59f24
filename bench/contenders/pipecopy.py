"""pipecopy itself."""

from __future__ import annotations

from bench.contenders.contender import Contender
from bench.servers import Databases
from pipecopy import Config, CopyReport, Observer, copy_table
from pipecopy.postgres import PostgresPool


class Pipecopy(Contender):
    """`copy_table`, as a user's program calls it."""

    kind = "pipecopy"

    def __init__(self, batch_size: int, read_ahead: int) -> None:
        self.name = f"pipecopy-{batch_size}-{read_ahead}"
        self.title = f"pipecopy, {batch_size:,} a batch, read-ahead {read_ahead}"
        self.config = Config(
            batch_size=batch_size,
            max_retries=0,
            retries_delay=1,
            call_timeout=120,
            full_copy_timeout=1200,
            read_ahead=read_ahead,
        )

    def copy(self, databases: Databases) -> None:
        self.run(databases)

    def run(self, databases: Databases, observer: Observer | None = None) -> CopyReport:
        """Copy, and return the report."""
        pool = PostgresPool({"PROD": databases.source_conninfo, "STATS": databases.target_conninfo})
        return copy_table(self.config, pool, "PROD", "STATS", observer=observer)
