"""The errors: their tree, and that they survive pickling whole."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import dill
import pytest

from pipecopy import CopyReport, errors

REPORT = CopyReport(
    run_id="0123456789ab",
    source="PROD",
    target="STATS",
    outcome="failed",
    rows=10,
    batches=1,
    bytes=1000,
    max_id=99,
    next_id=10,
    calls=5,
    timeouts=1,
    kills=1,
    retries=1,
    seconds=1.5,
    warnings=("a warning",),
)
WHERE: dict[str, Any] = {
    "side": "source",
    "dbname": "PROD",
    "call": "load_rows",
    "remedy": "see why.",
    "key_range": (10, 20),
    "attempts": 2,
    "report": REPORT,
}
SQL: dict[str, Any] = {
    "sqlstate": "42P01",
    "driver_error": "psycopg.errors.UndefinedTable",
    "driver_message": "there is none",
    "driver_traceback": "Traceback …",
}
ERRORS = [
    errors.PipecopyError("it failed", **WHERE),
    errors.ConfigError("it failed"),
    errors.CallTimeoutError("it failed", **WHERE),
    errors.FullCopyTimeoutError("it failed", **WHERE),
    errors.DatabaseError("it failed", **SQL, **WHERE),
    errors.WorkerCrashedError("it failed", exitcode=3, **WHERE),
    errors.WorkerCrashedError("it failed", signal=9, **WHERE),
    errors.TableMismatchError("it failed", differences=("one", "two"), **WHERE),
    errors.StoppedError("it failed", **WHERE),
    errors.HostError("it failed", errno=24, limit="RLIMIT_NOFILE", **WHERE),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_survives_pickling_whole(error: errors.PipecopyError, protocol: int) -> None:
    for again in (
        pickle.loads(pickle.dumps(error, protocol)),
        dill.loads(dill.dumps(error, protocol)),
        copy.copy(error),
    ):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_what_helps_is_said_once_at_the_end() -> None:
    said = "it failed; see why."
    assert str(errors.DatabaseError("it failed", remedy="see why.")) == said
    assert str(errors.DatabaseError(said, remedy="see why.")) == said


def test_the_tree() -> None:
    assert issubclass(errors.ConfigError, ValueError)
    assert issubclass(errors.CallTimeoutError, TimeoutError)
    assert issubclass(errors.FullCopyTimeoutError, TimeoutError)
    assert not issubclass(errors.FullCopyTimeoutError, errors.CallTimeoutError)
    assert issubclass(errors.WorkerCrashedError, errors.DatabaseError)
    for error in ERRORS:
        assert isinstance(error, errors.PipecopyError)


def test_what_does_not_apply_is_none() -> None:
    error = errors.DatabaseError("it failed")
    flags = {"in_use": False, "lost": False, "voids_plan": False}
    assert vars(error) == {**dict.fromkeys([*WHERE, *SQL]), **flags, "holder": None}
