"""A standby is a server of its own, which follows another one."""

from __future__ import annotations

import subprocess
import time
from typing import Any

from tests.support.databases import TemporaryDatabase
from tests.support.home import as_server_user
from tests.support.servers import PostgresServer

_PATIENCE = 20.0


class Standby(PostgresServer):
    """A streaming, asynchronous standby of a server that runs; it can be promoted.

    `settings` are its own, such as `recovery_min_apply_delay="1h"`.
    """

    def __init__(self, primary: PostgresServer, **settings: str) -> None:
        super().__init__(primary.version, {**primary.settings, **settings})
        self.primary = primary

    def _make_data(self) -> None:
        command = [str(self.bin / "pg_basebackup"), "-D", str(self.data), "--no-sync"]
        command += [
            "-d",
            self.primary.socket_conninfo(),
            "--checkpoint=fast",
            "--write-recovery-conf",
        ]
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            env={},
            cwd="/",
            timeout=60,
            **as_server_user(),
        )

    def catch_up(self) -> None:
        """Wait until it has replayed all that its primary has written by now."""
        self._wait_for("pg_last_wal_replay_lsn() >= %s::pg_lsn", self._written())

    def receive(self) -> None:
        """Wait until it has received all that its primary has written by now."""
        self._wait_for("pg_last_wal_receive_lsn() >= %s::pg_lsn", self._written())

    def _written(self) -> str:
        """Return how far its primary has written its log, to the end of a record.

        A server that has nothing to commit may have flushed a record in part, and no more until
        the next one is written: a standby does not replay that.
        """
        self.primary.execute("SELECT pg_logical_emit_message(true, 'tests', '')")
        ((position,),) = self.primary.query("SELECT pg_current_wal_flush_lsn()")
        return str(position)

    def pause_replay(self) -> None:
        """Have it stay as it is; what its primary writes is received, and not to be seen."""
        self.execute("SELECT pg_wal_replay_pause()")
        self._wait_for("pg_get_wal_replay_pause_state() = 'paused'")

    def resume_replay(self) -> None:
        self.execute("SELECT pg_wal_replay_resume()")

    def cut_off(self) -> None:
        """Have it receive no more: what its primary commits from now on is lost to it."""
        self.execute("ALTER SYSTEM SET primary_conninfo = ''")
        self.execute("SELECT pg_reload_conf()")
        self._wait_for("NOT EXISTS (SELECT FROM pg_stat_wal_receiver)")

    def promote(self) -> None:
        """Make it a primary; it has replayed by then what it has received."""
        ((promoted,),) = self.query("SELECT pg_promote(true, 20)")
        assert promoted, self.log

    def same(self, database: TemporaryDatabase) -> TemporaryDatabase:
        """Return what its primary's database is here."""
        return TemporaryDatabase(self, database.name)

    def _wait_for(self, condition: str, *values: Any) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not self.query(f"SELECT {condition}", values)[0][0]:
            assert time.monotonic() < deadline, f"{self!r} is not there: {condition}\n{self.log}"
            time.sleep(0.01)  # a standby sends no events


def either(one: TemporaryDatabase, other: TemporaryDatabase, **parameters: str) -> str:
    """Return the conninfo of a database that is on either of two servers."""
    servers = (one.server, other.server)
    return one.server.conninfo(
        one.name,
        host=",".join(server.host for server in servers),
        port=",".join(str(server.port) for server in servers),
        **parameters,
    )
