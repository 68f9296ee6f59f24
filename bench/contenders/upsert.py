"""The loop that one would write by hand."""

from __future__ import annotations

import psycopg

from bench.contenders.contender import Contender
from bench.servers import Databases

_BATCH = 10_000


class Upsert(Contender):
    """SELECT by a server-side cursor; upsert by `executemany`, which psycopg pipelines."""

    name = "upsert"
    title = "psycopg SELECT + executemany upsert"
    kind = "peer"
    once = True

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def copy(self, databases: Databases) -> None:
        with (
            psycopg.connect(databases.source_conninfo) as source,
            psycopg.connect(databases.target_conninfo) as target,
            source.cursor("rows") as reader,
            target.cursor() as writer,
        ):
            # as text: neither side decodes a value, and no number is changed by a float
            reader.execute(
                "SELECT id, data::text FROM profiles WHERE id <= %s ORDER BY id", (self.rows,)
            )
            while rows := reader.fetchmany(_BATCH):
                writer.executemany(
                    "INSERT INTO profiles (id, data) VALUES (%s, %s::jsonb)"
                    " ON CONFLICT (id) DO UPDATE SET data = excluded.data",
                    rows,
                )
                target.commit()
