"""What is said at the end, and what is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipecopy.cli.copy import CopyCommand
from pipecopy.cli.endings import done, failed
from pipecopy.cli.options import IdRange, Limits, Output, Selection
from pipecopy.cli.stop import StoppedBySignal
from pipecopy.errors import ConfigError, DatabaseError
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
    assert done(REPORT, Output()).lines == TOLD


def test_the_last_line_of_an_error_says_how_far_the_copy_came() -> None:
    error = DatabaseError("the disk\nis full", side="target", report=REPORT)
    assert failed(error, Output()).lines == (*TOLD, f"error: the disk is full; {FAR}")
    early = DatabaseError("no way", report=replace(REPORT, max_id=None, batches=0, warnings=()))
    assert failed(early, Output()).lines == ("error: no way",)


def test_quiet_says_errors_only() -> None:
    quiet = Output(quiet=True)
    assert done(REPORT, quiet).lines == ()
    error = DatabaseError("no", side="target", report=REPORT)
    assert failed(error, quiet).lines == (f"error: no; {FAR}",)
    stop = StoppedBySignal(15)
    stop.report = REPORT
    assert failed(stop, quiet).lines == (f"stopped by SIGTERM; {FAR}",)
    assert failed(ConfigError("no"), quiet).lines == ("error: no",)


def test_a_signal_without_a_report() -> None:
    assert failed(StoppedBySignal(2), Output()).lines == ("stopped by SIGINT; nothing was copied",)


def test_no_password_is_in_a_commands_repr() -> None:
    command = CopyCommand(
        source=URI,
        target="password=s3cret",
        selection=Selection(),
        ids=IdRange(),
        create=False,
        resume=False,
        limits=Limits(),
        output=Output(),
        connections={"prod": URI},
    )
    assert "s3cret" not in repr(command)


@pytest.mark.parametrize(
    "stub",
    [
        f"def copy_table(*_, observer, **__): raise ValueError({URI!r})",
        f"""
def copy_table(*_, observer, **__): raise ValueError("never told")

def failed(*_): raise OSError({URI!r})

copy.failed = failed
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
