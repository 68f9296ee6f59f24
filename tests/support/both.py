"""A fresh database on each side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipecopy.postgres import PostgresPool
from tests.support.databases import TemporaryDatabase


@dataclass(frozen=True)
class Both:
    """A fresh database on each side."""

    source: TemporaryDatabase
    target: TemporaryDatabase

    def __getitem__(self, side: str) -> TemporaryDatabase:
        return {"source": self.source, "target": self.target}[side]

    def pool(self, *, users: dict[str, str] | None = None, **how: Any) -> PostgresPool:
        """Return a pool with the two under the names `source` and `target`."""
        users = users or {}
        return PostgresPool(
            {
                side: self[side].server.uri(self[side].name, user=users.get(side, "postgres"))
                for side in ("source", "target")
            },
            **how,
        )
