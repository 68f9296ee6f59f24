"""PostgresError: what this driver itself refuses to do; and the SQLSTATEs of that."""

from __future__ import annotations

from pipecopy.finding import with_remedy

INTERNAL_ERROR = "XX000"
UNABLE_TO_CONNECT = "08001"
CONNECTION_FAILURE = "08006"
TOO_MANY_CONNECTIONS = "53300"
FEATURE_NOT_SUPPORTED = "0A000"
INVALID_PARAMETER_VALUE = "22023"
TRIGGERED_DATA_CHANGE_VIOLATION = "27000"
UNIQUE_VIOLATION = "23505"
INSUFFICIENT_PRIVILEGE = "42501"
OBJECT_NOT_IN_PREREQUISITE_STATE = "55000"
UNDEFINED_PARAMETER = "42P02"
UNDEFINED_COLUMN = "42703"
UNDEFINED_OBJECT = "42704"
UNDEFINED_TABLE = "42P01"
WRONG_OBJECT_TYPE = "42809"
PROGRAM_LIMIT_EXCEEDED = "54000"
ABOUT_THE_TEXT = ("0A", "22", "42", "54")
"""Classes of SQLSTATE of what a server says of a statement that it can't parse."""
ABOUT_THE_TABLE = (*ABOUT_THE_TEXT, "P0")
"""The same of DDL that it refuses; P0: by an event trigger."""


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
