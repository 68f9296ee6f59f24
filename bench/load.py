"""Sessions that write to the source while it is copied, until the standard input ends.

`python -m bench.load late CONNINFO SEED SESSIONS` inserts, with delays before the commits: some
transactions take their ids early, some roll back, and some commit in two phases.

`python -m bench.load soak FILE SEED` inserts and updates in one session; the file holds a
conninfo, and another one once the server is another. Every update raises the row's version, so
that a copy can be held to what it must have seen. Nothing is deleted, and no id changes.
"""

from __future__ import annotations

import contextlib
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from random import Random

import psycopg

LATE = "late load"
"""The application_name of the sessions that commit late."""
_IDLE = 1.0
"""Seconds between two transactions of such a session, on average."""
_DELAY = 0.15
"""Seconds between two statements of such a transaction, on average."""
_LONGEST = 3.0
_EARLY, _ROLLED_BACK, _PREPARED = 0.3, 0.2, 0.05
"""The shares of such transactions."""
_ROUND = 0.1
"""Seconds between two transactions of the soak's load."""
_STOP_TIMEOUT = 30.0

_LATE_INSERT = "INSERT INTO profiles (data) SELECT '{}' FROM generate_series(1, %s)"
_INSERT = """
    INSERT INTO profiles (data)
    SELECT jsonb_build_object('version', 0, 'bio', repeat(md5(random()::text), 10))
    FROM generate_series(1, %s)
"""
_UPDATE = """
    UPDATE profiles SET data =
        data || jsonb_build_object('version', coalesce((data->>'version')::int, 0) + 1)
    WHERE id = ANY (%s::bigint[])
"""


def start(*arguments: str, quiet: bool = False) -> subprocess.Popen[bytes]:
    """Start a process of this module; a quiet one writes nothing to standard error."""
    return subprocess.Popen(
        [sys.executable, "-m", "bench.load", *arguments],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else None,
        start_new_session=True,
    )


def stop(*processes: subprocess.Popen[bytes]) -> None:
    """Stop them, and wait until what they have begun is committed."""
    for process in processes:
        if process.stdin is not None:
            process.stdin.close()
    for process in processes:
        try:
            process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# What follows runs in that process.


class _LateSession(threading.Thread):
    def __init__(self, conninfo: str, seed: str, stopped: threading.Event) -> None:
        super().__init__()
        self._conninfo = conninfo
        self._random = Random(seed)
        self._stopped = stopped
        self._transactions = 0

    def run(self) -> None:
        with psycopg.connect(self._conninfo, application_name=LATE, autocommit=True) as connection:
            while not self._wait(_IDLE):
                self._transact(connection)

    def _transact(self, connection: psycopg.Connection) -> None:
        connection.execute("BEGIN")
        if self._random.random() < _EARLY:
            row = connection.execute("SELECT nextval('profiles_id_seq')").fetchone()
            self._wait(_DELAY)
            connection.execute("INSERT INTO profiles VALUES (%s, '{}')", row)
        else:
            connection.execute(_LATE_INSERT, [self._random.randint(1, 3)])
        self._wait(_DELAY)
        if self._random.random() < _ROLLED_BACK:
            connection.execute("ROLLBACK")
        elif self._random.random() < _PREPARED:
            self._transactions += 1
            name = f"{self.name} {self._transactions}"
            connection.execute(f"PREPARE TRANSACTION '{name}'")
            self._wait(_DELAY)
            connection.execute(f"COMMIT PREPARED '{name}'")
        else:
            connection.execute("COMMIT")

    def _wait(self, seconds: float) -> bool:
        """Wait for about so long, and return whether it is time to stop."""
        return self._stopped.wait(min(self._random.expovariate(1 / seconds), _LONGEST))


def _late(conninfo: str, seed: str, sessions: str) -> None:
    stopped = threading.Event()
    threads = [_LateSession(conninfo, f"{seed} {n}", stopped) for n in range(int(sessions))]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stopped.set()
    for thread in threads:
        thread.join()


def _soak(file: str, seed: str) -> None:
    random = Random(seed)
    while not _input_ended(0):
        # the server may be down, or may break it off: that is what the soak is for
        with (
            contextlib.suppress(psycopg.OperationalError),
            psycopg.connect(
                Path(file).read_text(),
                application_name="load",
                connect_timeout=5,
                prepare_threshold=None,  # a prepared SELECT fails once its column has another type
            ) as connection,
        ):
            while not _input_ended(_ROUND):
                with connection.transaction():
                    _write(connection, random)
        time.sleep(0.05)


def _write(connection: psycopg.Connection, random: Random) -> None:
    connection.execute(_INSERT, [random.choice((0, 0, 1, 2))])
    row = connection.execute("SELECT max(id) FROM profiles").fetchone()
    most = row[0] if row else 1
    ids = sorted(random.randint(1, most) for _ in range(random.randint(1, 20)))
    connection.execute(_UPDATE, [ids])


def _input_ended(seconds: float) -> bool:
    """Wait, and return whether standard input has ended."""
    return bool(select.select([sys.stdin], [], [], seconds)[0])


if __name__ == "__main__":
    if sys.argv[1] == "late":
        _late(*sys.argv[2:])
    else:
        _soak(*sys.argv[2:])
