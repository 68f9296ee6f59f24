"""Several runs of one process: which fork server each has, and when that goes."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from pipecopy.errors import CallTimeoutError, HostError
from pipecopy.workers.buffer import MemoryFile
from pipecopy.workers.forkserver import WORD
from pipecopy.workers.launch import launch
from pipecopy.workers.servers import fork_servers
from tests.support.runs import copy
from tests.support.scripts import run_script
from tests.support.strikes import Strike
from tests.workers.looking import LookingPool

OWN_FORK_SERVERS = True
"""Each test starts without one."""
GONE = 2.0
"""Seconds in which an idle server goes by itself: after one, and a little."""
SERVER = "pipecopy forker"
"""How `ps` shows one."""


@pytest.fixture
def pools(tmp_path: Path) -> Iterator[list[LookingPool]]:
    found = []
    for number in range(3):
        (folder := tmp_path / str(number)).mkdir()
        found.append(LookingPool(folder))
        found[-1].create(range(number, 30))
    yield found
    for pool in found:
        pool.assert_equal()


def servers() -> list[psutil.Process]:
    """Return the fork servers of this process."""
    return [each for each in psutil.Process().children() if each.name() == SERVER]


def test_one_after_the_other_have_one(pools: list[LookingPool]) -> None:
    for pool in pools:
        copy(pool)
    (server,) = servers()
    assert [pool.seen()[2] for pool in pools] == [str(server.pid)] * 3
    assert server.children() == []  # the workers are gone with each run


def test_at_once_have_one_and_a_kill_strikes_one_run_alone(pools: list[LookingPool]) -> None:
    hung, *others = pools
    strike = Strike(side="source", call="load_rows", fault="deadlock", skip=1)
    with ThreadPoolExecutor(3) as threads:
        failing = threads.submit(
            copy, LookingPool(hung.folder, (strike,)), call_timeout=1, full_copy_timeout=20
        )
        reports = list(threads.map(copy, others))
        with pytest.raises(CallTimeoutError):
            failing.result()
    assert [report.kills for report in reports] == [0, 0]
    assert len({pool.seen()[2] for pool in pools}) == 1
    copy(hung)


def test_it_goes_when_no_run_follows(pools: list[LookingPool]) -> None:
    for pool in pools:
        copy(pool)
    (server,) = servers()
    (thread,) = (each for each in threading.enumerate() if each.name == "pipecopy-servers")
    thread.join(GONE)
    assert not thread.is_alive()
    assert not server.is_running()


def test_it_goes_a_second_after_the_last_run(pools: list[LookingPool]) -> None:
    for pool in pools:
        copy(pool)
        time.sleep(0.6)
    assert len({pool.seen()[2] for pool in pools}) == 1


def test_a_script_leaves_no_zombie(pools: list[LookingPool], tmp_path: Path) -> None:
    """In a container there may be nobody to wait for what a process leaves behind."""
    script = f"""
        import atexit, os, psutil
        from pathlib import Path

        def look():  # after all that pipecopy does at the end
            os._exit(len(psutil.Process().children()))

        atexit.register(look)
        from tests.support.runs import copy
        from tests.workers.looking import LookingPool

        if __name__ == "__main__":
            for folder in {[str(pool.folder) for pool in pools]!r}:
                copy(LookingPool(Path(folder)))
        """
    assert run_script(tmp_path, script).returncode == 0


def test_a_descriptor_above_the_limit_is_closed(pools: list[LookingPool], tmp_path: Path) -> None:
    script = f"""
        import fcntl, os, resource
        from pathlib import Path
        from tests.support.runs import copy
        from tests.workers.looking import LookingPool

        if __name__ == "__main__":
            os.set_inheritable(fcntl.fcntl(0, fcntl.F_DUPFD, 200), True)
            _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (150, most))
            for folder in {[str(pool.folder) for pool in pools]!r}:
                copy(LookingPool(Path(folder)))
        """
    ended = run_script(tmp_path, script)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_each_run_has_the_environment_of_its_own_start(
    pools: list[LookingPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, pool in enumerate(pools):
        monkeypatch.setenv("SEEN", str(number))
        monkeypatch.chdir(pool.folder)
        copy(pool)
    assert [pool.seen()[:2] for pool in pools] == [["0", "0"], ["1", "1"], ["2", "2"]]


def test_a_module_that_was_added_to_the_path_later(
    pools: list[LookingPool], tmp_path: Path
) -> None:
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "later_driver.py").write_text(
        "from tests.support.drivers import RecordingPool\nclass Pool(RecordingPool): pass\n"
    )
    script = f"""
        import sys
        from pathlib import Path
        from tests.support.drivers import RecordingPool
        from tests.support.runs import copy

        if __name__ == "__main__":
            copy(RecordingPool(Path({str(pools[0].folder)!r})))
            sys.path.insert(0, {str(tmp_path / "later")!r})
            import later_driver
            for folder in {[str(pool.folder) for pool in pools[1:]]!r}:
                copy(later_driver.Pool(Path(folder)))
        """
    ended = run_script(tmp_path, script)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_one_that_was_killed_while_it_was_idle_is_replaced(pools: list[LookingPool]) -> None:
    copy(pools[0])
    (server,) = servers()
    server.send_signal(signal.SIGKILL)
    psutil.wait_procs([server], timeout=GONE)
    for pool in pools[1:]:
        copy(pool)
    assert pools[1].seen()[2] == pools[2].seen()[2] != str(server.pid)


def test_a_stopped_one_is_replaced_in_the_next_run(pools: list[LookingPool]) -> None:
    copy(pools[0])
    (server,) = servers()
    server.suspend()
    with pytest.raises(CallTimeoutError):  # its workers do not start
        copy(pools[1], call_timeout=1)
    for pool in pools[1:]:
        copy(pool)
    assert pools[1].seen()[2] != str(server.pid)
    assert not server.is_running()


def test_a_process_that_is_forked_after_a_run_has_its_own(
    pools: list[LookingPool], tmp_path: Path
) -> None:
    script = f"""
        import os
        from pathlib import Path
        from tests.support.runs import copy
        from tests.workers.looking import LookingPool

        if __name__ == "__main__":
            first, *others = [LookingPool(Path(f)) for f in {[str(p.folder) for p in pools]!r}]
            copy(first)
            child = os.fork()
            if child == 0:
                copy(others[0])
                os._exit(0)
            copy(others[1])  # at the same time
            _, status = os.waitpid(child, 0)
            raise SystemExit(os.waitstatus_to_exitcode(status))
        """
    ended = run_script(tmp_path, script)
    assert ended.returncode == 0, ended.stderr
    seen = [pool.seen()[2] for pool in pools]
    assert seen[0] == seen[2] != seen[1]


def test_it_inherits_no_descriptor_of_the_host(pools: list[LookingPool], tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        for pool in pools:
            copy(pool)
        (server,) = servers()
        assert lock.name not in [file.path for file in server.open_files()]


def test_what_a_worker_says_as_it_starts_is_not_told_of_another_one() -> None:
    server = fork_servers.take(())
    try:
        with closing(MemoryFile("output", append=True)) as output:
            forked = server.fork(output.fd, ())
            os.close(forked.data)  # so that it has nothing to run
            os.close(forked.pidfd)
            with forked.status:
                assert forked.status.recv(WORD.size) == WORD.pack(1)
            assert "EOFError" in output.tail(1000)
        assert server.output.size == 0
    finally:
        fork_servers.give_back(server)


def test_a_launch_that_lacks_a_descriptor_leaves_nothing() -> None:
    """However many there are, up to just enough."""
    before, limits = _owned(), resource.getrlimit(resource.RLIMIT_NOFILE)
    server, failed = None, 0
    while server is None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (failed + 10, limits[1]))
        try:
            server = launch(())
        except HostError:
            failed += 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert server is not None or _owned() == before
    server.stop(GONE)
    server.close()
    assert failed > 2
    assert _owned() == before


def _owned() -> tuple[int, int]:
    """Return how many descriptors and children this process has."""
    this = psutil.Process()
    return this.num_fds(), len(this.children())


@pytest.mark.parametrize(
    "arguments", [["--help"], ["copy", "--help"], ["copy"], ["copy", "a", "b", "c"]]
)
def test_a_command_that_copies_nothing_leaves_none(arguments: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipecopy", *arguments]
    mark = str(tmp_path)
    ended = subprocess.run(
        command, env={**os.environ, "SEEN": mark}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == (0 if "--help" in arguments else 2)
    left = [each for each in psutil.process_iter() if _environment(each).get("SEEN") == mark]
    assert left == []


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}
