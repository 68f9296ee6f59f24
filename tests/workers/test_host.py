"""What this machine refuses is a HostError that names it, never the fault of a side."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import seccomp
from tests.support.another_user import AS_USER, BECOMES_ANOTHER_USER, USER
from tests.support.drivers import RecordingPool
from tests.support.scripts import run_script

COPY = """
import gc, json, os, resource, sys, threading
from pathlib import Path
from pipecopy.errors import PipecopyError
from pipecopy.workers.servers import fork_servers
from tests.support.drivers import RecordingPool
from tests.support.leftovers import Belongings
from tests.support.runs import check, copy
{before}
if __name__ == "__main__":
    pool = {pool}(Path("."))
    looked = Belongings("none")
    {limit}
    error = None
    try:
        report = {run}(pool, {limits})
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
    limits: str = "",
    operation: str = "copy",
) -> Ended:
    """Copy in a script; `limit` and `lift` are lines of it, before the copy and after it."""
    text = COPY.format(
        before=before, limit=limit, lift=lift, pool=pool, limits=limits, run=operation
    )
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


# -- limits

BIG_ROWS = """
class BigRows(RecordingPool):
    def connect(self, dbname):
        database = super().connect(dbname)
        database.load_rows = lambda a, b: [(i, "x" * 10_000) for i in range(a, b)]
        return database
"""
GREEDY = """
class Greedy(RecordingPool):
    def connect(self, dbname):
        database = super().connect(dbname)
        database.get_max_id = lambda: bytes(1 << 60)
        return database
"""
HOARDING = """
import sqlite3
from contextlib import suppress
class Hoarding(RecordingPool):
    def connect(self, dbname):
        resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))
        with suppress(OSError):
            while True:
                os.dup(0)
        return sqlite3.connect("new.sqlite")
"""
FEW_DESCRIPTORS = """
import json, resource, sys
from pathlib import Path
from pipecopy.errors import HostError
from pipecopy.workers.servers import fork_servers
from tests.support.drivers import RecordingPool
from tests.support.leftovers import Belongings
from tests.support.runs import copy
if __name__ == "__main__":
    pool, said = RecordingPool(Path(".")), []
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    before = Belongings("none")
    for number in range(8, 60, 4):
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, most))
        try:
            copy(pool)
            break
        except HostError as error:
            said.append([number, str(error), error.limit, error.report.outcome])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    fork_servers.stop_idle()
    import time
    until = time.monotonic() + 3
    while before.added() and time.monotonic() < until:
        time.sleep(0.01)
    print(json.dumps([said, before.added()]))
"""


def limited(name: str, value: str) -> dict[str, Any]:
    """Return lines that set a limit for the copy alone."""
    set_it = f"resource.setrlimit(resource.RLIMIT_{name}, "
    return {
        "limit": f"most = resource.getrlimit(resource.RLIMIT_{name})[1]; {set_it}({value}, most))",
        "lift": f"{set_it}(most, most))",
    }


def test_however_few_descriptors_there_are(filled: RecordingPool) -> None:
    ended = run_script(filled.folder, FEW_DESCRIPTORS)
    assert ended.returncode == 0, ended.stderr
    said, left = json.loads(ended.stdout)
    assert len(said) > 3
    for number, message, *rest in said:
        assert f"(EMFILE): the limit of a process is {number} open descriptors" in message
        assert rest == ["RLIMIT_NOFILE", "failed"]
    assert left == []
    filled.assert_equal()


def test_no_memory_for_a_thread(filled: RecordingPool) -> None:
    used = "int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()"
    ended = copy_in_script(filled.folder, **limited("AS", f"{used} + {4 << 20}"))
    assert (ended.error, ended.limit, ended.left) == ("HostError", "RLIMIT_AS", [])
    assert "MiB of memory (ulimit -v)" in ended.message


@pytest.mark.parametrize("operation", ["copy", "check"])
def test_a_driver_for_which_there_is_no_memory(operation: str, filled: RecordingPool) -> None:
    ended = copy_in_script(filled.folder, before=GREEDY, pool="Greedy", operation=operation)
    assert (ended.error, ended.errno) == ("HostError", errno.ENOMEM)
    assert "get_max_id" in ended.message
    assert "this machine refused memory (ENOMEM)" in ended.message


def test_an_error_without_an_errno_while_no_descriptor_is_left(filled: RecordingPool) -> None:
    ended = copy_in_script(filled.folder, before=HOARDING, pool="Hoarding")
    assert (ended.error, ended.errno, ended.limit) == ("HostError", None, "RLIMIT_NOFILE")
    assert "open descriptors (ulimit -n)" in ended.message
    assert "OperationalError: unable to open database file" in ended.message


def test_a_batch_greater_than_a_file_may_be(filled: RecordingPool) -> None:
    how = limited("FSIZE", "50_000")
    ended = copy_in_script(filled.folder, before=BIG_ROWS, pool="BigRows", **how)
    assert (ended.error, ended.errno, ended.limit) == ("HostError", errno.EFBIG, "RLIMIT_FSIZE")
    assert "load_rows" in ended.message
    assert "a file of that size (EFBIG): the limit is 50000 bytes (ulimit -f)" in ended.message
    assert ended.left == []


PRINTS_FIRST = """
if __name__ == "__mp_main__":
    sys.stdout = open(1, "w", buffering=1000, closefd=False)
    print("said by the script")
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    os.dup(0)
"""


def test_what_is_refused_after_the_script_has_printed(filled: RecordingPool) -> None:
    ended = copy_in_script(filled.folder, before=PRINTS_FIRST)
    assert (ended.error, ended.errno) == ("HostError", errno.EMFILE)
    assert ended.left == []


@BECOMES_ANOTHER_USER
@pytest.mark.parametrize("most", [1, 6, 12])
def test_however_few_processes_a_user_may_have(most: int, filled: RecordingPool) -> None:
    limit = ("prlimit", f"--nproc={most}")
    ended = copy_in_script(filled.folder, by=(*AS_USER, *limit))
    assert (ended.error, ended.limit) == ("HostError", "RLIMIT_NPROC")
    assert f"the limit of user {USER} is {most} processes and threads (ulimit -u)" in ended.message
    assert ended.left == []


@pytest.mark.parametrize(
    ("first_line", "words"),
    [("#!/none", "(ENOENT): No such file or directory: "), ("#!/bin/false", "exited with code 1")],
)
def test_an_interpreter_that_does_not_run(
    first_line: str, words: str, filled: RecordingPool
) -> None:
    program = filled.folder / "python-broken"
    program.write_text(first_line)
    program.chmod(0o755)
    named = f"import multiprocess; multiprocess.set_executable({str(program)!r})"
    ended = copy_in_script(filled.folder, before=named)
    assert (ended.error, ended.left) == ("HostError", [])
    assert words in ended.message
    assert str(program) in ended.message


# -- what kills a worker

KILLED_BY_NOBODY_HERE = """
class Killed(RecordingPool):
    def connect(self, dbname):
        os.kill(os.getpid(), 9)
"""
ABORTED = """
class Aborted(RecordingPool):
    def connect(self, dbname):
        os.kill(os.getppid(), 19)
        os.abort()
"""


@pytest.fixture
def memory_group() -> Iterator[tuple[str, ...]]:
    """Give what runs a program in a cgroup that may have 512 MiB."""
    for root, name in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
        group = Path("/sys/fs/cgroup", root, f"pipecopy-test-{os.getpid()}")
        with suppress(OSError):
            group.mkdir()
            try:
                (group / name).write_text(str(512 << 20))
                yield ("sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$0" "$@"')
            finally:
                group.rmdir()
            return
    pytest.skip("no cgroup can be made here")


def test_a_kill_that_nobody_here_sent(filled: RecordingPool, memory_group: tuple[str, ...]) -> None:
    ended = copy_in_script(
        filled.folder, by=memory_group, before=KILLED_BY_NOBODY_HERE, pool="Killed"
    )
    assert (ended.error, ended.signal) == ("WorkerCrashedError", signal.SIGKILL)
    assert "OOM killer" in ended.message
    assert "the limit of its cgroup is 512 MiB of memory" in ended.message


def test_a_crash_while_the_fork_server_is_stopped_has_the_right_signal(
    filled: RecordingPool,
) -> None:
    ended = copy_in_script(filled.folder, before=ABORTED, pool="Aborted")
    assert (ended.error, ended.signal) == ("WorkerCrashedError", signal.SIGABRT)
    assert "SIGABRT" in ended.message
    assert ended.left == []


def test_a_fork_server_that_is_killed_before_it_forks(filled: RecordingPool) -> None:
    """It is stopped, so that it has yet to fork when it is killed."""
    how = """
    import psutil
    copy(pool)
    (server,) = psutil.Process().children()
    server.suspend()
    threading.Timer(0.3, server.kill).start()"""
    ended = copy_in_script(filled.folder, limit=how)
    assert (ended.error, ended.signal) == ("WorkerCrashedError", signal.SIGKILL)
    assert ended.left == []


# -- the host's signals

FAILS_AT_IMPORT = """
import signal
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
class Big(RecordingPool):
    def __init__(self, folder):
        super().__init__(folder)
        object.__setattr__(self, "ballast", os.urandom(1 << 20))
if __name__ == "__mp_main__":
    raise ValueError("not here")
"""
ALL_BLOCKED = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.NSIG))
class Hung(RecordingPool):
    def connect(self, dbname):
        threading.Event().wait()
"""


def test_a_pipe_to_a_worker_that_is_gone_does_not_end_the_host(filled: RecordingPool) -> None:
    ended = copy_in_script(filled.folder, before=FAILS_AT_IMPORT, pool="Big")
    assert ended.error == "WorkerCrashedError"
    assert "ValueError: not here" in ended.message
    assert ended.left == []


def test_the_stack_of_a_hung_call_whatever_signals_the_host_blocks(filled: RecordingPool) -> None:
    ended = copy_in_script(filled.folder, before=ALL_BLOCKED, pool="Hung", limits="call_timeout=1")
    assert ended.error == "CallTimeoutError"
    assert "while sleeping in wait (threading.py" in ended.message
