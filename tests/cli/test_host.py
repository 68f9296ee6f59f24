"""The command on a machine that refuses what it needs: one line that says what, and 71."""

from __future__ import annotations

import errno
import sys

import pytest

from tests.support import seccomp
from tests.support.command import start

pytestmark = pytest.mark.skipif(bool(seccomp.WHY_NOT), reason=seccomp.WHY_NOT)


@pytest.mark.parametrize("arguments", [["copy", "a", "b"], ["--help"]])
def test_no_thread_or_process_can_be_started(arguments: list[str]) -> None:
    refused = [sys.executable, seccomp.__file__, "clone3", str(errno.EPERM), "--"]
    with start(arguments, by=refused) as command:
        out, err = command.communicate(timeout=30)
    assert (command.returncode, out) == (71, "")
    assert err.startswith("error: this machine refused to start a thread: ")
    assert err.count("\n") == 1
