"""A Dask cluster of real processes: a scheduler, and hosts, each of a nanny and its worker."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

import pytest

from tests.support.leftovers import MARK

_START = 90.0
"""Seconds in which a program of the cluster is there."""
_TTL = "5s"
"""After which a host that is silent is given up: less is not possible with few workers."""
_REGISTERED = "Registered to:"
_SCHEDULER_IS_THERE = "Scheduler at:"
_FORK_SERVER = "pipecopy.workers.forkserver"


@dataclass(frozen=True)
class Process:
    """A process of the cluster's."""

    pid: int
    parent: int
    group: int
    command: str


@dataclass
class Host:
    """A nanny and its worker, in a session of their own."""

    name: str
    nanny: int
    """Its process id; the worker's if there is no nanny."""
    log: Path

    @property
    def processes(self) -> list[Process]:
        """All that run on it, those of copies included."""
        return [each for each in _all() if each.group == self.nanny or self._is_below(each.pid)]

    def _is_below(self, pid: int) -> bool:
        return f"HOST_OF_TESTS={self.name}".encode() in _environment(pid)

    @property
    def worker(self) -> int:
        """The process id of the worker; it changes when the nanny starts another one."""
        deadline = time.monotonic() + _START
        while time.monotonic() < deadline:
            for each in _all():
                if each.parent == self.nanny and "spawn_main" in each.command:
                    return each.pid
            time.sleep(0.01)  # /proc sends no events
        raise AssertionError(f"{self.name} has no worker:\n{self.log.read_text()}")

    @property
    def copying(self) -> list[Process]:
        """The processes of copies; a fork server that waits for the next one is none."""
        servers = {each.pid for each in self.processes if _FORK_SERVER in each.command}
        return [each for each in self.processes if each.pid in servers and each.parent in servers]

    def kill(self, signum: signal.Signals = signal.SIGKILL) -> None:
        """Send all its processes a signal, as if its machine went."""
        for each in sorted(self.processes, key=lambda each: each.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each.pid, signum)


class DaskCluster:
    """All of it. It ends with the process that has started it."""

    def __init__(
        self,
        folder: Path,
        environment: dict[str, str] | None = None,
        *,
        protocol: str = "tcp",
    ) -> None:
        self._folder = folder
        self._env = {
            **{name: value for name, value in os.environ.items() if name != MARK},
            "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": _TTL,
            # what costs time and is not looked at
            "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__GIL__ENABLED": "false",
            "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "false",
            "DASK_TEMPORARY_DIRECTORY": str(folder),
            "TMPDIR": str(folder),
            **(environment or {}),
        }
        self._keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.support.dask_keeper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.port = _free_port()
        self._protocol = protocol
        self.address = f"{protocol}://127.0.0.1:{self.port}"
        self.scheduler = 0
        self.hosts: list[Host] = []
        self._lost: list[Host] = []
        self._number = 0
        self._log = folder / "scheduler.log"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for host in [*self.hosts, *self._lost]:  # what its copies started has groups of its own
            host.kill(signal.SIGKILL)
        for pipe in self._pipes:
            pipe.close()
        self._keeper.wait()

    def start_scheduler(self) -> None:
        """Start it, at the same address each time."""
        argv = ["scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"]
        argv += ["--protocol", self._protocol]
        seen = _count(self._log, _SCHEDULER_IS_THERE)
        self.scheduler = self._start(argv, self._log, {})
        _wait_for(self._log, _SCHEDULER_IS_THERE, seen + 1)

    def add_hosts(self, number: int, *, nannies: bool = True, **environment: str) -> list[Host]:
        """Start so many more hosts, with one thread each."""
        added = [self._add_host(environment, nanny=nannies) for _ in range(number)]
        for host in added:
            self.wait_for_worker(host)
        return added

    def _add_host(self, environment: dict[str, str], *, nanny: bool) -> Host:
        self._number += 1
        name = f"host{self._number}-{os.getpid()}"
        (folder := self._folder / name).mkdir()
        log = folder / "log"
        argv = ["worker", self.address, "--nthreads", "1", "--no-dashboard", "--name", name]
        argv += ["--host", "127.0.0.1", "--local-directory", str(folder)]
        argv += [] if nanny else ["--no-nanny"]
        host = Host(name, self._start(argv, log, {**environment, "HOST_OF_TESTS": name}), log)
        self.hosts.append(host)
        return host

    def wait_for_worker(self, host: Host, number: int = 1) -> None:
        """Wait until its worker has registered so many times."""
        _wait_for(host.log, _REGISTERED, number)

    def remove(self, host: Host) -> None:
        """Forget a host, and see that all of it is gone."""
        self.hosts.remove(host)
        host.kill(signal.SIGKILL)

    def replace_hosts(self, number: int, *, nannies: bool = True) -> None:
        """Have so many hosts, all of them new."""
        for host in [*self.hosts]:
            self.remove(host)
        self.add_hosts(number, nannies=nannies)

    def leave(self, host: Host) -> None:
        """Forget a host that ends by itself."""
        self.hosts.remove(host)
        self._lost.append(host)

    def lose_hosts(self) -> None:
        """Forget all hosts: their scheduler is gone, and without it they end by themselves."""
        self._lost += self.hosts
        self.hosts.clear()

    @property
    def copying(self) -> list[Process]:
        """The processes of copies on all hosts, also on those that are lost."""
        return [each for host in [*self.hosts, *self._lost] for each in host.copying]

    def _start(self, argv: list[str], log: Path, env: dict[str, str]) -> int:
        module = f"distributed.cli.dask_{argv[0]}"
        program = {
            "argv": [sys.executable, "-m", module, *argv[1:]],
            "env": {**self._env, **env},
            "log": str(log),
        }
        orders, answers = self._pipes
        orders.write(json.dumps(program) + "\n")
        orders.flush()
        return int(answers.readline())

    @property
    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        return self._keeper.stdin, self._keeper.stdout


def needs_distributed() -> None:
    """Skip a module of tests that can't run without it."""
    pytest.importorskip("distributed", reason="the extra `dask` is not installed")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _count(log: Path, text: str) -> int:
    return log.read_text().count(text) if log.exists() else 0


def _wait_for(log: Path, text: str, number: int) -> None:
    deadline = time.monotonic() + _START
    while _count(log, text) < number:
        if time.monotonic() > deadline:
            raise AssertionError(f"no {text!r} in:\n{log.read_text()}")
        time.sleep(0.02)  # a file sends no events


def _environment(pid: int) -> list[bytes]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []


def _all() -> Iterator[Process]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                _, _, stat = (folder / "stat").read_text().rpartition(") ")
                state, parent, group, *_ = stat.split()
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if state not in "ZX":
                    yield Process(int(folder.name), int(parent), int(group), command)
