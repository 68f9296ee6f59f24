"""What this machine refuses is a HostError that names it, never the fault of a side."""

from __future__ import annotations

import errno
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import seccomp
from tests.support.drivers import RecordingPool
from tests.support.scripts import run_script

COPY = """
import gc, json, os, resource, sys, threading
from pathlib import Path
from pipecopy.errors import PipecopyError
from pipecopy.workers.servers import fork_servers
from tests.support.drivers import RecordingPool
from tests.support.leftovers import Belongings
from tests.support.runs import copy
{before}
if __name__ == "__main__":
    pool = {pool}(Path("."))
    looked = Belongings("none")
    {limit}
    error = None
    try:
        report = copy(pool)
    except PipecopyError as raised:
        error, report = raised, raised.report
    {lift}
    fork_servers.stop_idle()
    for thread in threading.enumerate():
        if thread.name.startswith("pipecopy"):
            thread.join(3)
    print(json.dumps({{
        "error": type(error).__name__, "message": str(error), "outcome": report.outcome,
        "warnings": report.warnings, "left": looked.added(),
        **{{name: getattr(error, name, None) for name in ("errno", "limit", "side", "signal")}},
    }}))
    error = None
"""


@dataclass(frozen=True)
class Ended:
    """How the script's copy ended."""

    error: str
    message: str
    outcome: str
    warnings: list[str]
    left: list[str]
    """What it left behind."""
    errno: int | None
    limit: str | None
    side: str | None
    signal: int | None


@pytest.fixture
def filled(sqlite_pool: RecordingPool) -> RecordingPool:
    sqlite_pool.create(range(1, 31))
    return sqlite_pool


def copy_in_script(
    folder: Path,
    *,
    by: tuple[str, ...] = (),
    before: str = "",
    limit: str = "",
    lift: str = "",
    pool: str = "RecordingPool",
) -> Ended:
    """Copy in a script; `limit` and `lift` are lines of it, before the copy and after it."""
    text = COPY.format(before=before, limit=limit, lift=lift, pool=pool)
    ended = run_script(folder, text, by=by)
    assert ended.returncode == 0, ended.stderr
    return Ended(**json.loads(ended.stdout))


def under_filter(*filter_: object) -> tuple[str, ...]:
    """Return what runs a program to which a system call is refused."""
    if seccomp.WHY_NOT:
        pytest.skip(seccomp.WHY_NOT)
    return (sys.executable, seccomp.__file__, *map(str, filter_), "--")


@pytest.mark.parametrize(
    ("call", "number", "words"),
    [
        ("memfd_create", errno.ENOSYS, ["memfd_create (ENOSYS)", "Linux 3.17", "seccomp"]),
        ("pidfd_open", errno.EPERM, ["pidfd_open (EPERM)", "Linux 5.3", "seccomp"]),
        ("pidfd_send_signal", errno.ENOSYS, ["pidfd_send_signal (ENOSYS)", "Linux 5.1"]),
        ("eventfd2", errno.EPERM, ["eventfd (EPERM)", "seccomp"]),
        ("clone3", errno.EPERM, ["to start a thread", "clone3"]),
    ],
)
def test_a_call_that_is_refused_is_named_before_anything_is_opened(
    call: str, number: int, words: list[str], filled: RecordingPool
) -> None:
    ended = copy_in_script(filled.folder, by=under_filter(call, number))
    assert (ended.error, ended.outcome, ended.side) == ("HostError", "failed", None)
    assert ended.errno == (None if call == "clone3" else number)
    for word in words:
        assert word in ended.message
    assert ended.left == []
    assert filled.recorder.attempts() == []


def test_a_death_signal_that_is_refused_is_a_warning(filled: RecordingPool) -> None:
    refused = under_filter("prctl", errno.EPERM, 1)
    ended = copy_in_script(filled.folder, by=refused)
    (warning,) = ended.warnings
    assert "prctl(PR_SET_PDEATHSIG) (EPERM)" in warning
    assert ended.outcome == "complete"
    filled.assert_equal()
