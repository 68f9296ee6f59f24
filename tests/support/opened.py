"""Databases that a test opens in its own process, as a worker does in its."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator
from typing import Any

from pipecopy.contracts import Mode, SavedRows, Session, Side
from pipecopy.postgres import CopyRows, PostgresPool
from pipecopy.postgres.database import PostgresDatabase
from pipecopy.shard import Part
from tests.support.databases import TemporaryDatabase

RUN_ID = "0123456789ab"


@contextlib.contextmanager
def opened(
    database: TemporaryDatabase | str,
    side: Side | None = None,
    *,
    run_id: str = RUN_ID,
    call_timeout: float = 30,
    max_batch_bytes: int | None = None,
    mode: Mode = "copy",
    writes: bool | None = None,
    deletes: bool = False,
    other: Any = None,
    part: Part | None = None,
    **how: Any,
) -> Iterator[PostgresDatabase]:
    """Open a database; with a side, as a worker of a copy does."""
    pool = PostgresPool(**how)
    if side is not None:
        pool = pool.for_session(
            Session(
                run_id=run_id,
                side=side,
                call_timeout=call_timeout,
                max_batch_bytes=max_batch_bytes,
                mode=mode,
                writes=mode == "copy" if writes is None else writes,
                deletes=deletes,
                other=other,
                part=part,
            )
        )
    name = database if isinstance(database, str) else database.uri
    with contextlib.closing(pool.connect(name)) as opened_database:
        yield opened_database


def copy(
    source: TemporaryDatabase, target: TemporaryDatabase, *, batch_size: int = 1000, **how: Any
) -> SavedRows:
    """Copy a table batch by batch, each handed over as between two workers; count the rows."""
    saved = []
    with opened(source, "source", **how) as reader, opened(target, "target", **how) as writer:
        max_id = reader.get_max_id()
        for first in range(0, max_id + 1, batch_size):
            rows = reader.load_rows(first, min(first + batch_size, max_id + 1))
            saved.append(writer.save_rows(handed_over(rows)))
    return SavedRows(
        inserted=sum(each.inserted for each in saved),
        updated=sum(each.updated for each in saved),
        unchanged=sum(each.unchanged for each in saved),
    )


def handed_over(rows: CopyRows) -> CopyRows:
    """Return the rows as the writer gets them: over a read-only view of the bytes."""
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(rows, protocol=5, buffer_callback=buffers.append)
    assert len(buffers) == 1
    views = [memoryview(bytes(buffer.raw())) for buffer in buffers]
    unpickled: CopyRows = pickle.loads(pickled, buffers=views)
    return unpickled
