"""How a command ends: its exit code, and what is said at the end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipecopy.cli.codes import EXIT_CODES, exit_code
from pipecopy.cli.exits import completed, failed
from pipecopy.cli.main import StoppedBySignal
from pipecopy.cli.options import Output
from pipecopy.errors import (
    CallTimeoutError,
    ConfigError,
    DatabaseError,
    FullCopyTimeoutError,
    HostError,
    TableMismatchError,
    WorkerCrashedError,
)
from pipecopy.report import CopyReport
from tests.support.command import run_stubbed

URI = "postgresql://me:s3cret@host/db"
REPORT = CopyReport(
    run_id="0123456789ab",
    source="prod",
    target="stats",
    outcome="failed",
    rows=400,
    batches=4,
    bytes=9_000_000,
    max_id=999,
    next_id=401,
    calls=11,
    timeouts=0,
    kills=0,
    retries=0,
    seconds=2.0,
    warnings=("there is no index",),
)
FAR = "every id below 401 (of 999) is in the target: 400 rows in 2.0s"
TOLD = (
    "warning: there is no index",
    "400 rows in 4 batches, 9.0 MB, in 2s: 200 rows/s, 4.5 MB/s",
    "run 0123456789ab: 11 calls, 0 timeouts, 0 kills, 0 retries",
)


def test_a_copy_that_is_complete_names_its_run() -> None:
    assert completed(REPORT, Output(), "copy").lines == TOLD


def test_the_last_line_of_an_error_says_how_far_the_copy_came() -> None:
    error = DatabaseError("the disk\nis full", side="target", report=REPORT)
    assert failed(error, Output(), "copy").lines == (*TOLD, f"error: the disk is full; {FAR}")
    early = DatabaseError("no way", report=replace(REPORT, max_id=None, batches=0, warnings=()))
    assert failed(early, Output(), "copy").lines == ("error: no way",)


def test_quiet_says_errors_only() -> None:
    quiet = Output(quiet=True)
    assert completed(REPORT, quiet, "copy").lines == ()
    error = DatabaseError("no", side="target", report=REPORT)
    assert failed(error, quiet, "copy").lines == (f"error: no; {FAR}",)
    stop = StoppedBySignal(15)
    stop.report = REPORT
    assert failed(stop, quiet, "copy").lines == (f"stopped by SIGTERM; {FAR}",)
    assert failed(ConfigError("no"), quiet, "copy").lines == ("error: no",)


def test_a_signal_without_a_report() -> None:
    assert failed(StoppedBySignal(2), Output(), "copy").lines == (
        "stopped by SIGINT; nothing was copied",
    )


@pytest.mark.parametrize(
    "stub",
    [
        f"def copy_table(*_, observer, **__): raise ValueError({URI!r})",
        f"""
def copy_table(*_, observer, **__): raise ValueError("never told")

def failed(*_, **__): raise OSError({URI!r})

app.failed = failed
""",
    ],
    ids=["in the copy", "in its ending"],
)
def test_no_password_is_in_an_internal_error(stub: str) -> None:
    result = run_stubbed(stub, "--quiet")
    assert result.returncode == 70
    (line,) = result.stderr.splitlines()
    assert line.startswith("internal error: ")
    assert "postgresql://me:***@host/db" in line


PASSING = ("40001", "40P01", "57P01", "57P02", "57P03", "53300", "08006", "08001")
CODES = [
    (ConfigError(""), 2),
    (DatabaseError("", side="source"), 3),
    (DatabaseError("", side="target"), 4),
    (WorkerCrashedError("", side="source"), 3),
    (WorkerCrashedError("", side="target"), 4),
    (TableMismatchError(""), 5),
    (ValueError(""), 70),
    (HostError(""), 71),
    (CallTimeoutError("", side="target"), 75),
    (DatabaseError("", side="target", sqlstate="55006", in_use=True), 75),
    (DatabaseError("", side="target", sqlstate="55006"), 4),  # the server's own word
    *((DatabaseError("", side="source", sqlstate=code), 75) for code in PASSING),
    *((DatabaseError("", side="source", sqlstate=code), 3) for code in ("08P01", "25006", "57014")),
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
