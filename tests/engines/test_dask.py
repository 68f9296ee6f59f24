"""Shards on a Dask cluster of real processes: each host its own nanny and worker.

After each fault the run is complete or ends with one error and can be gone on with; the rows are
those of the source, the ledger's count is exact, and nothing is left on any host or server.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bench.shards import ROWS, SLOW, Chaos
from pipecopy import ShardedReport, copy_sharded
from pipecopy.engines.dask import cluster
from pipecopy.errors import (
    ConfigError,
    FullCopyTimeoutError,
    HostError,
    PipecopyError,
    WorkerCrashedError,
)
from pipecopy.postgres import PostgresPool
from tests.support.checks import Tables
from tests.support.command import run as run_command
from tests.support.command import start
from tests.support.dask_cluster import DaskCluster, Host, needs_distributed
from tests.support.databases import Both
from tests.support.gates import load_gate, save_gate
from tests.support.leftovers import PATIENCE
from tests.support.profiles import create_profiles
from tests.support.runs import CONFIG

needs_distributed()
# of the programs of the cluster each takes a second of a processor to start; the script of the
# manual runs on a cluster with every Python
pytestmark = [pytest.mark.timeout(400), pytest.mark.server]

ALL = "SELECT array_agg(p::text ORDER BY id) FROM profiles p"
ATTEMPTS = "SELECT sum(attempt) FROM pipecopy_shards"
LIMITS = replace(CONFIG, call_timeout=60, full_copy_timeout=120)


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with DaskCluster(tmp_path_factory.mktemp("dask")) as running:
        running.start_scheduler()
        running.add_hosts(2)
        yield running


@pytest.fixture
def two_hosts(dask: DaskCluster) -> DaskCluster:
    """Give the cluster, with what an earlier test has killed replaced."""
    dask.add_hosts(2 - len(dask.hosts))
    return dask


@pytest.fixture
def two_without_nannies(dask: DaskCluster) -> Iterator[DaskCluster]:
    """Give the cluster with hosts whose silence the scheduler ends after `worker-ttl`.

    It gives a nanny half a minute more.
    """
    dask.replace_hosts(2, nannies=False)
    yield dask
    dask.replace_hosts(0)


@pytest.fixture
def engine(dask: DaskCluster) -> Iterator[Executor]:
    with cluster(dask.address) as executor:
        yield executor


class Running:
    """A sharded run in a thread of its own."""

    def __init__(self, tables: Tables, executor: Executor | None, **how: Any) -> None:
        self._end: list[ShardedReport | BaseException] = []
        self.stop = threading.Event()
        sides = {name: how.pop(name) for name in ("target",) if name in how}
        limits = {name: how.pop(name) for name in [*how] if name.endswith("_timeout")}
        how = {"shards": 5, "jobs": 1, "stop": self.stop, **how}

        def run() -> None:
            try:
                self._end.append(
                    copy_sharded(
                        replace(LIMITS, **limits),
                        tables.pool(**sides),
                        "source",
                        "target",
                        executor=executor,
                        **how,
                    )
                )
            except PipecopyError as error:
                self._end.append(error)

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def end(self) -> ShardedReport | BaseException:
        self._thread.join(LIMITS.full_copy_timeout + 5)
        return self._end[0]

    def report(self) -> ShardedReport:
        """Return how it went. Raises what it raised."""
        end = self.end()
        if isinstance(end, BaseException):
            raise end
        return end


def wait_until(what: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)  # neither /proc nor a table sends events


def attempts(tables: Tables) -> int:
    return int(tables.target.value(ATTEMPTS))


def victim(dask: DaskCluster) -> Host:
    """Return the host on which the one shard that is under way is."""
    found: list[Host] = []

    def is_one() -> bool:
        found[:] = [host for host in dask.hosts if host.copying]
        return len(found) == 1

    wait_until(is_one)
    return found[0]


def check_complete(tables: Tables, report: ShardedReport, dask: DaskCluster) -> None:
    assert report.done == report.shards
    assert report.rows == 50
    assert tables.target.value(ALL) == tables.source.value(ALL)
    assert tables.target.value("SELECT to_regclass('pipecopy_shards')") is None
    check_nothing_runs(tables, dask)


def check_nothing_runs(tables: Tables, dask: DaskCluster) -> None:
    """See that no session and no process of the run is left anywhere in time."""
    wait_until(lambda: not sessions(tables), PATIENCE)
    wait_until(lambda: not dask.copying, PATIENCE)


def sessions(tables: Tables) -> list[Any]:
    servers = (tables.source.server, tables.target.server)
    return [session for server in servers for session in server.sessions("pipecopy/")]


def kill_worker(dask: DaskCluster, host: Host) -> None:
    del dask
    os.kill(host.worker, signal.SIGKILL)


def kill_nanny(dask: DaskCluster, host: Host) -> None:
    os.kill(host.nanny, signal.SIGKILL)
    dask.leave(host)


def kill_machine(dask: DaskCluster, host: Host) -> None:
    dask.remove(host)


def drain(dask: DaskCluster, host: Host) -> None:
    """Have the scheduler give its shard away, while its worker goes on with it."""
    os.kill(host.nanny, signal.SIGTERM)
    dask.leave(host)


def test_a_shard_that_is_lost_is_soon_under_way_elsewhere(
    tables: Tables, two_hosts: DaskCluster, engine: Executor
) -> None:
    with save_gate(tables.target, 25) as save:
        run = Running(tables, engine, shard_retries=9)
        save.arrival()
        for fault in (kill_worker, kill_nanny, drain, kill_machine):
            host, before = victim(two_hosts), attempts(tables)
            two_hosts.add_hosts(2 - len(two_hosts.hosts))
            fault(two_hosts, host)
            wait_until(lambda before=before: attempts(tables) > before)
            wait_until(lambda host=host: not host.copying)
    check_complete(tables, run.report(), two_hosts)


def test_nothing_is_lost_under_random_faults(
    both: Both, two_hosts: DaskCluster, tmp_path: Path
) -> None:
    create_profiles(both.source, ROWS)
    create_profiles(both.target)
    both.target.execute(SLOW)
    chaos = Chaos(both.source, both.target, two_hosts, Random(1), tmp_path)
    chaos.copy(2)
    assert not chaos.wrong
    assert chaos.faults.total() == 2


def test_the_limit_of_the_run_ends_all_sessions_on_all_hosts(
    tables: Tables, two_hosts: DaskCluster, engine: Executor
) -> None:
    with save_gate(tables.target, 5) as save:
        run = Running(tables, engine, full_copy_timeout=8)
        save.arrival()
        assert isinstance(run.end(), FullCopyTimeoutError)
        check_nothing_runs(tables, two_hosts)


def test_a_host_that_was_frozen_saves_nothing_when_it_wakes(
    tables: Tables, two_without_nannies: DaskCluster, engine: Executor
) -> None:
    """The frozen one has loaded the old row, another has copied the new one meanwhile.

    Two things hold it back: its new session no longer finds its claim, and each save needs it (see
    tests/postgres/test_ledger.py for that alone).
    """
    two_hosts = two_without_nannies
    with load_gate(tables.source, 25) as load, save_gate(tables.target, 45) as save:
        run = Running(tables, engine)
        load.arrival()
        host, before = victim(two_hosts), attempts(tables)
        host.kill(signal.SIGSTOP)
        load.lift()
        tables.source.execute("UPDATE rows SET data = '\"new\"' WHERE id = 25")
        wait_until(lambda: attempts(tables) > before)
        save.arrival()
        host.kill(signal.SIGCONT)
        wait_until(lambda: not host.copying)
        assert tables.target.value("SELECT data FROM profiles WHERE id = 25") == "new"
    check_complete(tables, run.report(), two_hosts)


def test_a_worker_whose_task_was_given_up_is_given_no_other_one(
    two_hosts: DaskCluster, engine: Executor, tmp_path: Path
) -> None:
    """It may be frozen, and seems to be free to the scheduler."""
    os.mkfifo(fifo := tmp_path / "fifo")
    stuck = engine.submit(Path.read_bytes, fifo)
    with fifo.open("wb"):  # once the task has opened the other end
        stuck.cancel()
        for _ in range(4):
            assert engine.submit(os.getpid).result(60)
    assert len(two_hosts.hosts) == 2


def test_a_command_that_is_killed_or_interrupted_is_gone_on_with_by_another(
    tables: Tables, two_hosts: DaskCluster
) -> None:
    sides = (tables.source.uri, tables.target.uri)
    dask = ("--dask", two_hosts.address, "--jobs", "1", "--batch-size", "10")
    with save_gate(tables.target, 25) as save:
        with start(["copy", *sides, *dask, "--shards", "5"]) as process:
            save.arrival()
            process.kill()
        run_id = tables.target.value("SELECT DISTINCT run FROM pipecopy_shards")
        before = attempts(tables)
        with start(["copy", *sides, *dask, "--run", run_id, "--grace", "0"]) as process:
            wait_until(lambda: attempts(tables) > before)
            save.arrival()
            process.send_signal(signal.SIGINT)
            assert process.wait() == 130
            check_nothing_runs(tables, two_hosts)
    done = run_command("copy", *sides, *dask, "--run", run_id, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 50
    assert done.stderr.count("Traceback") == 0
    assert tables.target.value(ALL) == tables.source.value(ALL)
    check_nothing_runs(tables, two_hosts)


@pytest.mark.parametrize(
    "address", ["", "scheduler", "scheduler:8786", "tcp://scheduler", "http://a:1", "tcp://a:x"]
)
def test_a_wrong_address_is_told(address: str) -> None:
    with pytest.raises(ConfigError, match="the address of the Dask scheduler"), cluster(address):
        pass


def test_a_scheduler_that_does_not_answer_is_told_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(HostError) as raised, cluster(address, limit=0.5):
            pass
        assert time.monotonic() - began < 2
    assert str(raised.value) == (
        f"the Dask scheduler {address} did not answer within 500 ms: see whether it runs, and"
        " whether the address is the right one"
    )


def test_over_tls_a_service_is_looked_for_in_the_file_of_the_worker(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = certificates(tmp_path)
    target = tables.target
    services = {
        "here": target.server.socket_conninfo(target.name),
        "workers": f"{target.conninfo} password=x",
    }
    for name, conninfo in services.items():
        (tmp_path / name).write_text("\n".join(["[stats]", *conninfo.split()]))
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "here"))
    environment = {"PGSERVICEFILE": str(tmp_path / "workers"), **tls}
    with DaskCluster(tmp_path, environment, protocol="tls") as encrypted:
        encrypted.start_scheduler()
        encrypted.add_hosts(1, nannies=False)
        with (
            dask_config(tls),
            cluster(encrypted.address) as engine,
            save_gate(target, 25) as save,
        ):
            run = Running(tables, engine, target="service=stats")
            pid = save.arrival()
            (session,) = [each for each in target.sessions() if each["pid"] == pid]
            save.lift()
            report = run.report()
        assert session["client_addr"] == "127.0.0.1"
        check_complete(tables, report, encrypted)
    assert report.warnings == ()


def certificates(folder: Path) -> dict[str, str]:
    """Make what both sides of each connection show, and trust; return it as Dask's settings."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = f"{openssl} req -new -x509 -nodes -subj /CN=x -newkey rsa:2048"
    files = ["-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    tls = "DASK_DISTRIBUTED__COMM__TLS__"
    own = {f"{tls}{role}__KEY": str(key) for role in ("SCHEDULER", "WORKER", "CLIENT")}
    own |= {f"{tls}{role}__CERT": str(cert) for role in ("SCHEDULER", "WORKER", "CLIENT")}
    return {f"{tls}CA_FILE": str(cert), **own}


def dask_config(environment: dict[str, str]) -> AbstractContextManager[Any]:
    """Have this process, too, use the settings."""
    from dask import config  # noqa: PLC0415 - not before it is known that it is installed

    keys = {name: name.removeprefix("DASK_").lower().replace("__", ".") for name in environment}
    settings: AbstractContextManager[Any] = config.set(
        {keys[name].replace("_", "-"): value for name, value in environment.items()}
    )
    return settings


def test_certificates_that_are_missing_are_told() -> None:
    with pytest.raises(ConfigError, match="TLS configuration"), cluster("tls://127.0.0.1:1"):
        pass


def test_a_worker_without_pipecopy_is_named(two_hosts: DaskCluster, tmp_path: Path) -> None:
    (stub := tmp_path / "pipecopy").mkdir()
    (stub / "__init__.py").write_text("raise ModuleNotFoundError('no', name='pipecopy')")
    (host,) = two_hosts.add_hosts(1, PYTHONPATH=str(tmp_path))
    named = r"the Dask worker tcp://127\.0\.0\.1:\d+ has no pipecopy .*: this process has Python 3"
    with pytest.raises(ConfigError, match=named), cluster(two_hosts.address):
        pass
    two_hosts.remove(host)


def test_a_password_that_anyone_can_read_on_the_way_is_warned_of(
    tables: Tables, two_hosts: DaskCluster, engine: Executor
) -> None:
    pool = PostgresPool(
        {"source": tables.source.uri, "target": f"{tables.target.conninfo} password=x"}
    )
    report = copy_sharded(LIMITS, pool, "source", "target", shards=1, jobs=1, executor=engine)
    (warning,) = report.warnings
    assert warning == (
        "the password of target target is sent to the workers without encryption: write it into a"
        " service file or a password file there (service=…, PGPASSFILE), or use tls://"
    )
    check_complete(tables, report, two_hosts)


def test_a_run_whose_scheduler_is_gone_goes_on_in_threads(
    tables: Tables, two_hosts: DaskCluster
) -> None:
    with cluster(two_hosts.address, limit=1) as engine, save_gate(tables.target, 25) as save:
        run = Running(tables, engine)
        save.arrival()
        os.kill(two_hosts.scheduler, signal.SIGKILL)
        two_hosts.lose_hosts()  # they end by themselves, once their tasks have
        error = run.end()
        check_nothing_runs(tables, two_hosts)
    assert isinstance(error, WorkerCrashedError)
    assert f"the Dask scheduler {two_hosts.address} did not answer within 1 s" in str(error)
    two_hosts.start_scheduler()
    report = Running(tables, None, run=error.report.run_id).report()
    check_complete(tables, report, two_hosts)
