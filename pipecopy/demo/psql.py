"""SQL on the demo's servers, by psql: this process opens no database connection of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from pipecopy.demo.servers import Server
from pipecopy.errors import PipecopyError

_TIMEOUT = 600.0


def run(*work: tuple[Server, str]) -> list[str]:
    """Run a piece of SQL on each server, all at once; return what they print."""
    return [_output(process) for process in [_start(server, ["-c", sql]) for server, sql in work]]


def _output(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=_TIMEOUT)
    if process.returncode:
        raise PipecopyError(f"the demo's psql failed: {' '.join(errors.split())}")
    return output.strip()


def _start(server: Server, arguments: Sequence[str]) -> subprocess.Popen[str]:
    command = [str(server.psql), server.conninfo, "-XqAt", "-v", "ON_ERROR_STOP=1", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment
    )


class OpenTransaction:
    """A session that has done something and does not commit it."""

    def __init__(self, server: Server, sql: str) -> None:
        self._psql = _start(server, [])
        if self._psql.stdin is None or self._psql.stdout is None:
            raise AssertionError("both are pipes")
        self._psql.stdin.write(f"BEGIN; {sql};\n\\echo done\n")
        self._psql.stdin.flush()
        self._psql.stdout.readline()

    def roll_back(self) -> None:
        """End the session, and with it the transaction; a second time is no error."""
        self._psql.communicate(timeout=_TIMEOUT)
