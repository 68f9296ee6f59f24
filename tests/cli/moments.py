"""The command, at a known moment of its copy: what is sent to it then is the test's."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import psutil

from pipecopy import Config
from tests.faults.held import gate_of
from tests.support.checks import LIMITS, Tables, options
from tests.support.command import start
from tests.support.gates import finish_gate

Moment = Literal["connect", "load", "save", "retry", "finish"]


class Barrier(Protocol):
    """What a copy waits at."""

    def arrival(self) -> object:
        """Wait until it does."""

    def lift(self) -> None:
        """Let it go on."""


@dataclass(frozen=True)
class Running:
    """The command, in a session and a process group of its own."""

    process: subprocess.Popen[str]
    limits: Config
    barrier: Barrier
    family: tuple[psutil.Process, ...]
    """The processes that it has started."""

    def send(self, signum: signal.Signals, to: Literal["it", "its group"]) -> None:
        """Send a signal to it alone, or to its whole process group."""
        if to == "it":
            self.process.send_signal(signum)
        else:
            os.killpg(self.process.pid, signum)

    def alive(self) -> list[psutil.Process]:
        """Return those of its family that still run."""
        return [process for process in self.family if is_alive(process)]


@contextlib.contextmanager
def command_at(
    moment: Moment, tables: Tables, log: Path, *, by: Sequence[str] = (), **limits: Any
) -> Iterator[Running]:
    """Run the command until that moment, started `by` another; standard error goes to `log`."""
    config = replace(LIMITS, **{"call_timeout": 10, **limits})
    if moment == "retry":
        config = replace(config, **{"call_timeout": 0.5, "retries_delay": 20, **limits})
    with _barrier(moment, tables, log) as barrier, log.open("w") as stderr:
        source = barrier.uri if isinstance(barrier, _Deaf) else tables.source.uri
        arguments = ["copy", source, tables.target.uri, *options(config)]
        with start(arguments, by=by, start_new_session=True, stderr=stderr) as process:
            try:
                barrier.arrival()
                family = psutil.Process(process.pid).children(recursive=True)
                assert len(family) >= 2, "there are no workers"
                yield Running(process, config, barrier, tuple(family))
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def _barrier(moment: Moment, tables: Tables, log: Path) -> Iterator[Barrier]:
    if moment == "connect":
        with _Deaf() as deaf:
            yield deaf
    elif moment == "finish":
        with finish_gate(tables.target) as gate:
            yield gate
    elif moment == "retry":
        with gate_of(tables, "source") as gate:
            yield _Retry(gate, log)
    else:
        with gate_of(tables, "source" if moment == "load" else "target") as gate:
            yield gate


class _Deaf:
    """A server that accepts connections and never answers."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(20)
        self._accepted: list[socket.socket] = []
        self.uri = f"postgresql://postgres@127.0.0.1:{self._listener.getsockname()[1]}/nothing"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in (self._listener, *self._accepted):
            connection.close()

    def arrival(self) -> None:
        self._accepted.append(self._listener.accept()[0])

    def lift(self) -> None:
        """Nothing lets a copy connect here."""


class _Retry:
    """A call that timed out and waits for its retry."""

    def __init__(self, gate: Barrier, log: Path) -> None:
        self._gate = gate
        self._log = log

    def arrival(self) -> None:
        wait_for("retrying in", self._log)

    def lift(self) -> None:
        self._gate.lift()


def wait_for(words: str, log: Path) -> None:
    """Wait until the command has written these words."""
    deadline = time.monotonic() + 20
    while words not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.005)  # a file sends no events


def is_alive(process: psutil.Process) -> bool:
    """Tell whether the process still runs."""
    try:
        # a dead one that nobody waits for is a zombie: in a container that may be so for ever
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
