"""PostgresError: what this driver itself refuses to do."""

from __future__ import annotations

from pipecopy.report import with_remedy


class PostgresError(Exception):
    """A refusal of this driver's own, in one sentence; `sqlstate` if a code fits."""

    def __init__(
        self, message: str, sqlstate: str | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(message, sqlstate, remedy)
        self.message = message
        self.sqlstate = sqlstate
        self.remedy = remedy
        """What to do about it."""

    def __str__(self) -> str:
        return with_remedy(self.message, self.remedy)
