"""One session that inserts into the source and updates it, until its standard input ends.

`python -m bench.soak.load FILE SEED`, where the file holds a conninfo, and another one once the
server is another. Every update raises the row's version, so that a copy
can be held to what it must have seen. Nothing is deleted, and no id changes.
"""

from __future__ import annotations

import contextlib
import select
import sys
import time
from pathlib import Path
from random import Random

import psycopg

_ROUND = 0.1
"""Seconds between two transactions."""

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


def main(file: str, seed: str) -> None:
    random = Random(seed)
    while not _stopped(0):
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
            _work(connection, random)
        time.sleep(0.05)


def _work(connection: psycopg.Connection, random: Random) -> None:
    while not _stopped(_ROUND):
        with connection.transaction():
            connection.execute(_INSERT, [random.choice((0, 0, 1, 2))])
            row = connection.execute("SELECT max(id) FROM profiles").fetchone()
            most = row[0] if row else 1
            ids = sorted(random.randint(1, most) for _ in range(random.randint(1, 20)))
            connection.execute(_UPDATE, [ids])


def _stopped(seconds: float) -> bool:
    """Wait, and tell whether standard input has ended."""
    return bool(select.select([sys.stdin], [], [], seconds)[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
