"""`psql COPY | psql COPY`: the limit."""

from __future__ import annotations

import subprocess
from typing import Literal

from bench.commands import LONGEST, CommandError
from bench.contenders.contender import Contender
from bench.servers import Databases


class Pipe(Contender):
    """No batches, no retries, no idempotence."""

    kind = "limit"

    def __init__(self, copy_format: Literal["binary", "text"], *, once: bool = False) -> None:
        self.name = f"pipe-{copy_format}"
        self.title = f"psql COPY {copy_format} | psql COPY {copy_format}"
        self.once = once
        self._format = copy_format

    def start(
        self, databases: Databases
    ) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
        """Start both sides."""
        psql = [databases.psql, "-XqAt", "-v", "ON_ERROR_STOP=1"]
        option = f"(FORMAT {self._format})"
        out = f"COPY (SELECT id, data FROM profiles ORDER BY id) TO STDOUT {option}"
        into = f"COPY profiles (id, data) FROM STDIN {option}"
        reader = subprocess.Popen(
            [*psql, "-c", out, databases.source_conninfo], stdout=subprocess.PIPE
        )
        try:
            writer = subprocess.Popen(
                [*psql, "-c", into, databases.target_conninfo], stdin=reader.stdout
            )
        finally:
            if reader.stdout is not None:
                reader.stdout.close()  # the writer's alone, so that its end ends the reader
        return reader, writer

    def copy(self, databases: Databases) -> None:
        both = self.start(databases)
        try:
            codes = [process.wait(LONGEST) for process in reversed(both)]
        finally:
            for process in both:
                process.kill()
                process.wait()
        if any(codes):
            raise CommandError(f"{self.title} failed")
