"""The command on a machine that refuses what it needs: one line that says what, and 71."""

from __future__ import annotations

import errno
import json
import sys

import pytest

from tests.support import seccomp
from tests.support.another_user import AS_USER, BECOMES_ANOTHER_USER, USER
from tests.support.command import LONGEST, start, unstamped

COPY = ["copy", "host=a", "host=b", "--quiet"]
REFUSED = [sys.executable, seccomp.__file__, "clone3", str(errno.EPERM), "--"]


@pytest.mark.skipif(bool(seccomp.WHY_NOT), reason=seccomp.WHY_NOT)
@pytest.mark.parametrize("arguments", [COPY, ["--help"]])
def test_no_thread_or_process_can_be_started(arguments: list[str]) -> None:
    line = _error_of(arguments, REFUSED)
    assert line.startswith("error: this machine refused to start a thread: ")


@pytest.mark.skipif(bool(seccomp.WHY_NOT), reason=seccomp.WHY_NOT)
def test_the_object_of_json_is_there_all_the_same() -> None:
    with start([*COPY, "--json"], by=REFUSED) as command:
        out, _ = command.communicate(timeout=LONGEST)
    result = json.loads(out)
    assert (result["exit_code"], result["error"]["class"]) == (71, "HostError")


@pytest.mark.parametrize("most", [5, 8, 12, 16])
def test_however_few_descriptors_there_are(most: int) -> None:
    """With the least of them not even the module is found that says so best."""
    line = _error_of(COPY, ["prlimit", f"--nofile={most}"])
    assert f"the limit of a process is {most} open descriptors (ulimit -n)" in line


@BECOMES_ANOTHER_USER
@pytest.mark.parametrize("most", [1, 2, 4, 6])
def test_however_few_processes_a_user_may_have(most: int) -> None:
    """From the first thread on to the last, which draws."""
    limit = [*AS_USER, "prlimit", f"--nproc={most}"]
    line = _error_of(COPY, limit)
    assert f"the limit of user {USER} is {most} processes and threads (ulimit -u)" in line


def _error_of(arguments: list[str], by: list[str]) -> str:
    """Run the command, which must end with 71; return what it says is wrong."""
    with start(arguments, by=by) as command:
        out, err = command.communicate(timeout=LONGEST)
    assert (command.returncode, out) == (71, "")
    first, *further = unstamped(err)
    # before a run that it keeps from beginning, or as the end of one
    assert first.startswith(("error: this machine refused ", "failed: this machine refused "))
    assert all(line.startswith("to go on: ") for line in further)
    return first
