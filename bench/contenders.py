"""Who copies: each is timed on the same two servers, in turn."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import Protocol

from bench.servers import Servers
from pipecopy import Config, copy_table
from pipecopy.postgres import PostgresPool


class Contender(Protocol):
    """Copies the table from one server to the other."""

    @property
    def name(self) -> str: ...

    def copy(self, servers: Servers) -> None: ...


@dataclass(frozen=True)
class Pipe:
    """`psql COPY | psql COPY`: the limit, with no batches and no retries."""

    format: str = "binary"

    @property
    def name(self) -> str:
        return f"psql COPY {self.format} | psql"

    def copy(self, servers: Servers) -> None:
        psql = [str(servers.target.server.bin / "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1"]
        out = f"COPY (SELECT id, data FROM profiles ORDER BY id) TO STDOUT ({self._option})"
        into = f"COPY profiles (id, data) FROM STDIN ({self._option})"
        with subprocess.Popen(
            [*psql, "-c", out, servers.source.conninfo], stdout=subprocess.PIPE
        ) as reader:
            writer = subprocess.run(
                [*psql, "-c", into, servers.target.conninfo], stdin=reader.stdout, check=False
            )
        if reader.returncode or writer.returncode:
            raise RuntimeError(f"{self.name} failed")

    @property
    def _option(self) -> str:
        return f"FORMAT {self.format}"


@dataclass(frozen=True)
class Pipecopy:
    """`copy_table`, as the command runs it."""

    batch_size: int = 10_000
    read_ahead: int = 1

    @property
    def name(self) -> str:
        return f"pipecopy, {self.batch_size:,} a batch, read-ahead {self.read_ahead}"

    def copy(self, servers: Servers) -> None:
        config = Config(
            batch_size=self.batch_size,
            max_retries=0,
            retries_delay=1,
            call_timeout=60,
            full_copy_timeout=3600,
            read_ahead=self.read_ahead,
        )
        pool = PostgresPool({"PROD": servers.source.conninfo, "STATS": servers.target.conninfo})
        copy_table(config, pool, "PROD", "STATS")
