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

CODES = [
    (ConfigError(""), 2),
    (DatabaseError("", side="source"), 3),
    (DatabaseError("", side="target"), 4),
    (WorkerCrashedError("", side="source"), 3),
    (WorkerCrashedError("", side="target"), 4),
    (TableMismatchError(""), 5),
    (ValueError(""), 70),
    (CallTimeoutError("", side="target"), 75),
    (DatabaseError("", side="target", sqlstate="55006"), 75),
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
