from __future__ import annotations

import pytest

from pipecopy.cli.exits import EXIT_CODES, exit_code
from pipecopy.cli.stop import StoppedBySignal
from pipecopy.errors import (
    CallTimeoutError,
    ConfigError,
    DatabaseError,
    FullCopyTimeoutError,
    TableMismatchError,
    WorkerCrashedError,
)
from pipecopy.postgres.errors import PostgresError
from pipecopy.postgres.sqlstates import OBJECT_IN_USE


def _refused(*, side: str, call: str) -> DatabaseError:
    name = f"{PostgresError.__module__}.{PostgresError.__qualname__}"
    return DatabaseError("", side=side, call=call, sqlstate=OBJECT_IN_USE, driver_error=name)


CODES = [
    (ConfigError(""), 2),
    (DatabaseError("", side="source"), 3),
    (DatabaseError("", side="target"), 4),
    (WorkerCrashedError("", side="source"), 3),
    (WorkerCrashedError("", side="target"), 4),
    (TableMismatchError(""), 5),
    (ValueError(""), 70),
    (CallTimeoutError("", side="target"), 75),
    (_refused(side="target", call="connect"), 75),
    (_refused(side="target", call="save_rows"), 75),  # its worker was replaced, and connected
    (_refused(side="source", call="connect"), 3),
    (DatabaseError("", side="target", sqlstate="55006", driver_error="psycopg.X"), 4),
    (FullCopyTimeoutError(""), 124),
    (StoppedBySignal(1), 129),
    (StoppedBySignal(2), 130),
    (StoppedBySignal(15), 143),
]


@pytest.mark.parametrize(
    ("error", "code"), CODES, ids=[f"{type(e).__name__}-{code}" for e, code in CODES]
)
def test_each_error_has_its_code_and_the_help_names_it(error: BaseException, code: int) -> None:
    assert exit_code(error) == code
    assert f" {code}" in EXIT_CODES
