"""A pool whose rows change while they are compared: after the first list of a side's ids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from pipecopy.contracts import Session, Side
from pipecopy.postgres import PostgresPool
from pipecopy.postgres.database import PostgresDatabase


@dataclass(frozen=True)
class LivePool:
    """Runs statements in another session once the ids were listed so often on one side."""

    pool: PostgresPool
    side: Side
    uri: str
    sql: str
    lists: int = 1
    is_side: bool = False

    def for_session(self, session: Session) -> LivePool:
        return replace(self, pool=self.pool.for_session(session), is_side=session.side == self.side)

    def connect(self, dbname: str) -> Any:
        database = self.pool.connect(dbname)
        return LiveDatabase(database, self) if self.is_side else database


class LiveDatabase:
    """One side, which is as PostgreSQL's but for that."""

    def __init__(self, database: PostgresDatabase, pool: LivePool) -> None:
        self._database = database
        self._pool = pool
        self._lists = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call: Callable[..., Any] = getattr(self._database, name)
        return call

    def row_checksums(self, min_id: int, max_id: int) -> list[tuple[int, int, int]]:
        found = self._database.row_checksums(min_id, max_id)
        self._lists += 1
        if self._lists == self._pool.lists:
            with psycopg.connect(self._pool.uri, autocommit=True) as other:
                other.execute(self._pool.sql.encode())
        return found
