"""Sessions that insert with delays before their commits, until the standard input ends.

`python -m bench.late.load CONNINFO SEED SESSIONS`. Some take their ids early, some roll back, and
some commit in two phases.
"""

from __future__ import annotations

import sys
import threading
from random import Random

import psycopg

NAME = "late load"
_IDLE = 1.0
"""Seconds between two transactions of a session, on average."""
_DELAY = 0.15
"""Seconds between two statements of a transaction, on average."""
_LONGEST = 3.0
_EARLY, _ROLLED_BACK, _PREPARED = 0.3, 0.2, 0.05
"""The shares of transactions."""

_INSERT = "INSERT INTO profiles (data) SELECT '{}' FROM generate_series(1, %s)"


class _Session(threading.Thread):
    def __init__(self, conninfo: str, seed: str, stopped: threading.Event) -> None:
        super().__init__()
        self._conninfo = conninfo
        self._random = Random(seed)
        self._stopped = stopped
        self._transactions = 0

    def run(self) -> None:
        with psycopg.connect(self._conninfo, application_name=NAME, autocommit=True) as connection:
            while not self._wait(_IDLE):
                self._transact(connection)

    def _transact(self, connection: psycopg.Connection) -> None:
        connection.execute("BEGIN")
        if self._random.random() < _EARLY:
            row = connection.execute("SELECT nextval('profiles_id_seq')").fetchone()
            self._wait(_DELAY)
            connection.execute("INSERT INTO profiles VALUES (%s, '{}')", row)
        else:
            connection.execute(_INSERT, [self._random.randint(1, 3)])
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
        """Wait for about so long, and tell whether it is time to stop."""
        return self._stopped.wait(min(self._random.expovariate(1 / seconds), _LONGEST))


def main(conninfo: str, seed: str, sessions: str) -> None:
    stopped = threading.Event()
    threads = [_Session(conninfo, f"{seed} {n}", stopped) for n in range(int(sessions))]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stopped.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
