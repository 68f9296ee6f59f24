"""The floor for a batch size: what one session takes for batches that are there already."""

from __future__ import annotations

import psycopg

from bench.contenders.contender import Contender
from bench.servers import Databases


class Floor(Contender):
    """One psycopg session sends ready-made COPY batches, one after the other, each committed."""

    kind = "floor"

    def __init__(self, batch_size: int) -> None:
        self.name = f"floor-{batch_size}"
        self.title = f"ready-made COPY batches of {batch_size:,}, one session"
        self._batch_size = batch_size
        self._batches: list[bytes] = []

    def prepare(self, databases: Databases) -> None:
        if self._batches:
            return  # in a later round
        size = self._batch_size
        with psycopg.connect(databases.source_conninfo) as source, source.cursor() as cursor:
            row = cursor.execute("SELECT max(id) FROM profiles").fetchone()
            for first in range(1, (row[0] if row else 0) + 1, size):
                query = (
                    f"COPY (SELECT id, data FROM profiles WHERE id BETWEEN {first}"
                    f" AND {first + size - 1} ORDER BY id) TO STDOUT (FORMAT binary)"
                )
                with cursor.copy(query.encode()) as copy:
                    self._batches.append(b"".join(copy))

    def copy(self, databases: Databases) -> None:
        with (
            psycopg.connect(databases.target_conninfo, autocommit=True) as target,
            target.cursor() as cursor,
        ):
            for batch in self._batches:
                with cursor.copy("COPY profiles (id, data) FROM STDIN (FORMAT binary)") as copy:
                    copy.write(batch)
