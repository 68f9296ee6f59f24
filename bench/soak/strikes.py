"""What a fault does: to a worker, on the network, or to the supervisor.

Each is a `with` block, which lasts as long as the fault. One that finds nobody to strike raises
NoVictimError; the soak tries it again later. `bench.soak.plan` has the table of all kinds.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from bench.soak.pool import fault_for_a_call
from bench.soak.scene import Mode, NoVictimError, Scene
from pipecopy.contracts import Side
from tests.support.traffic import Direction

Place = Literal["worker", "network", "server", "table", "supervisor"]
Strike: TypeAlias = "Callable[[Scene, Fault], AbstractContextManager[None]]"

_PATIENCE = 1.0
"""Seconds in which a fault that waits for its victim has to find one."""


@dataclass(frozen=True)
class Kind:
    """A kind of fault."""

    name: str
    place: Place
    strike: Strike
    seconds: tuple[float, float] = (0.0, 0.0)
    """For how long it lasts, at least and at most; 0 for what is over at once."""
    mode: Mode | None = None
    """The copies that it can strike; None: any."""


@dataclass(frozen=True)
class Fault:
    """One fault, as the seed drew it; what does not apply to its kind is ignored."""

    number: int
    kind: Kind
    side: Side
    pause: float
    """Seconds after the one before it, or after the copy's start."""
    seconds: float
    direction: Direction
    bytes: int
    """It strikes after so many bytes, or lets so many through in a second."""
    after: bool
    """In a worker: it strikes when the work of the call is done, but not yet answered."""
    group: bool
    """A signal goes to the whole process group of the supervisor, as batch hosts send it."""


def _wait(condition: Callable[[], bool], seconds: float = _PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise NoVictimError
        time.sleep(0.005)


# -- in the worker


def find_worker(scene: Scene, fault: Fault) -> int:
    """Return the process id of the worker on the side of the fault."""
    worker = scene.worker(fault.side)
    if worker is None:
        raise NoVictimError
    return worker


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        raise NoVictimError from None


@contextlib.contextmanager
def worker_killed(scene: Scene, fault: Fault) -> Iterator[None]:
    _signal(find_worker(scene, fault), signal.SIGKILL)
    yield


@contextlib.contextmanager
def worker_stopped(scene: Scene, fault: Fault) -> Iterator[None]:
    worker = find_worker(scene, fault)
    _signal(worker, signal.SIGSTOP)
    yield
    if worker in {process.pid for process in scene.processes()}:  # or it was killed long ago
        with contextlib.suppress(NoVictimError):
            _signal(worker, signal.SIGCONT)


def in_call(name: str) -> Strike:
    """Strike in the next call, by one of the tests' faults in a worker."""

    @contextlib.contextmanager
    def strike(scene: Scene, fault: Fault) -> Iterator[None]:
        with fault_for_a_call(scene.folder, fault.side, name, after=fault.after) as taken:
            _wait(taken)
        yield

    return strike


# -- on the network


@contextlib.contextmanager
def frozen(scene: Scene, fault: Fault) -> Iterator[None]:
    with scene.site(fault.side).proxy.freeze(fault.direction) as strike:
        _wait(strike.struck.is_set, 0.1)
        yield


@contextlib.contextmanager
def reset(scene: Scene, fault: Fault) -> Iterator[None]:
    with scene.site(fault.side).proxy.reset() as strike:
        _wait(strike.struck.is_set, 0.1)
    yield


@contextlib.contextmanager
def cut(scene: Scene, fault: Fault) -> Iterator[None]:
    proxy = scene.site(fault.side).proxy
    with proxy.cut(fault.direction, after=fault.bytes, connections=1) as strike:
        _wait(strike.struck.is_set)
    yield


@contextlib.contextmanager
def throttled(scene: Scene, fault: Fault) -> Iterator[None]:
    find_worker(scene, fault)
    with scene.site(fault.side).proxy.throttle(fault.bytes):
        yield


@contextlib.contextmanager
def deaf(scene: Scene, fault: Fault) -> Iterator[None]:
    # the worker is stopped, so that the worker that replaces it has to connect
    with scene.site(fault.side).proxy.deaf(), worker_stopped(scene, fault):
        yield


# -- to the supervisor


def _send(scene: Scene, number: signal.Signals, *, group: bool = False) -> None:
    supervisor = scene.supervisor
    if supervisor is None or supervisor.poll() is not None:
        raise NoVictimError
    if group:
        os.killpg(supervisor.pid, number)  # it leads a group of its own
    else:
        supervisor.send_signal(number)


def _handles_signals(scene: Scene) -> bool:
    """Return whether the command has its handlers: before that, Python itself is starting."""
    if scene.supervisor is None:
        return False
    try:
        status = Path(f"/proc/{scene.supervisor.pid}/status").read_text()
    except OSError:
        return False
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught & 1 << (signal.SIGHUP - 1))  # the last one that it installs


def ended_by(number: signal.Signals) -> Strike:
    """Send the supervisor a signal that ends it."""

    @contextlib.contextmanager
    def strike(scene: Scene, fault: Fault) -> Iterator[None]:
        if number != signal.SIGKILL:
            _wait(lambda: _handles_signals(scene), 0.0)
        _send(scene, number, group=fault.group)
        if not scene.stop_signals:
            scene.stopped_at = time.monotonic()
        scene.stop_signals.add(number)
        yield

    return strike


@contextlib.contextmanager
def supervisor_stopped(scene: Scene, _: Fault) -> Iterator[None]:
    began = time.monotonic()
    _send(scene, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(NoVictimError):  # killed meanwhile
            _send(scene, signal.SIGCONT)
        scene.stopped_seconds += time.monotonic() - began
        scene.stopped_at = time.monotonic()  # before it, a signal to end it could not be handled
