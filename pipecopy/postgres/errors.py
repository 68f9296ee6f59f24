"""PostgresError: what this driver itself refuses to do."""

from __future__ import annotations


class PostgresError(Exception):
    """A refusal of this driver's own, in one sentence; `sqlstate` where a code fits."""

    def __init__(self, message: str, sqlstate: str | None = None) -> None:
        super().__init__(message, sqlstate)
        self.sqlstate = sqlstate

    def __str__(self) -> str:
        return str(self.args[0])
