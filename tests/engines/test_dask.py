"""Shards on a Dask cluster of real processes: each host its own nanny and worker.

After each fault the run is complete or ends with one error and can be gone on with; the rows are
those of the source, the ledger's count is exact, and nothing is left on any host or server.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

import pytest

from pipecopy import ShardedReport, copy_sharded
from pipecopy.engines.dask import cluster
from pipecopy.errors import PipecopyError
from tests.support.checks import Tables
from tests.support.dask_cluster import DaskCluster, Host, needs_distributed
from tests.support.gates import save_gate
from tests.support.leftovers import PATIENCE
from tests.support.runs import CONFIG

needs_distributed()

ALL = "SELECT array_agg(p::text ORDER BY id) FROM profiles p"
ATTEMPTS = "SELECT sum(attempt) FROM pipecopy_shards"
BACK = 4.0
"""Seconds after which a lost shard is under way elsewhere: less than the 5 s of `worker-ttl`, so
that it was not its silence that told. `python -m bench.shards` measures it."""
LIMITS = replace(CONFIG, call_timeout=20, full_copy_timeout=60)


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
def engine(two_hosts: DaskCluster) -> Iterator[Executor]:
    with cluster(two_hosts.address) as executor:
        yield executor


class Running:
    """A sharded run in a thread of its own."""

    def __init__(self, tables: Tables, executor: Executor | None, **how: Any) -> None:
        self._end: list[ShardedReport | BaseException] = []
        self.stop = threading.Event()
        limits = {name: how.pop(name) for name in ("full_copy_timeout",) if name in how}
        how = {"shards": 5, "jobs": 1, "stop": self.stop, **how}

        def run() -> None:
            try:
                self._end.append(
                    copy_sharded(
                        replace(LIMITS, **limits),
                        tables.pool(),
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


def wait_until(what: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)  # neither /proc nor a table sends events


def attempts(tables: Tables) -> int:
    return int(tables.target.value(ATTEMPTS))


def victim(dask: DaskCluster) -> Host:
    """Return the host on which the one shard that is under way is."""
    wait_until(lambda: any(host.copying for host in dask.hosts))
    (host,) = (host for host in dask.hosts if host.copying)
    return host


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
    dask.hosts.remove(host)


def kill_machine(dask: DaskCluster, host: Host) -> None:
    dask.remove(host)


def drain(dask: DaskCluster, host: Host) -> None:
    """Have the scheduler give its shard away, while its worker goes on with it."""
    os.kill(host.nanny, signal.SIGTERM)
    dask.hosts.remove(host)


@pytest.mark.parametrize("fault", [kill_worker, kill_nanny, kill_machine, drain])
def test_a_shard_that_is_lost_is_soon_under_way_elsewhere(
    tables: Tables, two_hosts: DaskCluster, engine: Executor, fault: Any
) -> None:
    with save_gate(tables.target, 25) as save:
        run = Running(tables, engine)
        save.arrival()
        host, before = victim(two_hosts), attempts(tables)
        fault(two_hosts, host)
        struck = time.monotonic()
        wait_until(lambda: attempts(tables) > before)
        took = time.monotonic() - struck
    check_complete(tables, run.report(), two_hosts)
    wait_until(lambda: not host.copying, PATIENCE)
    assert took <= BACK
