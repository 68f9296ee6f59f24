"""What each kind of fault does: a `with` block, which lasts as long as the fault.

One that finds nobody to strike raises NoVictimError; the soak tries it again later.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from bench.soak.failovers import FAILOVERS
from bench.soak.plan import Fault
from bench.soak.scene import NoVictimError, Scene
from bench.soak.struck import FAULT_NAMES, laid_out
from bench.soak.tables import ALTERATIONS

Strike = Callable[[Scene, Fault], AbstractContextManager[None]]

_PATIENCE = 1.0
"""Seconds in which a fault that waits for its victim has to find one."""


def _wait(condition: Callable[[], bool], seconds: float = _PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise NoVictimError
        time.sleep(0.005)


# -- in the worker


def _worker(scene: Scene, fault: Fault) -> int:
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
def _worker_killed(scene: Scene, fault: Fault) -> Iterator[None]:
    _signal(_worker(scene, fault), signal.SIGKILL)
    yield


@contextlib.contextmanager
def _worker_stopped(scene: Scene, fault: Fault) -> Iterator[None]:
    worker = _worker(scene, fault)
    _signal(worker, signal.SIGSTOP)
    yield
    if worker in {process.pid for process in scene.processes()}:  # or it was killed long ago
        with contextlib.suppress(NoVictimError):
            _signal(worker, signal.SIGCONT)


@contextlib.contextmanager
def _in_call(scene: Scene, fault: Fault) -> Iterator[None]:
    with laid_out(scene.folder, fault.side, fault.kind.name, after=fault.after) as taken:
        _wait(taken)
    yield


# -- on the network


@contextlib.contextmanager
def _frozen(scene: Scene, fault: Fault) -> Iterator[None]:
    with scene.site(fault.side).proxy.freeze(fault.direction) as frozen:
        _wait(frozen.struck.is_set, 0.1)
        yield


@contextlib.contextmanager
def _reset(scene: Scene, fault: Fault) -> Iterator[None]:
    with scene.site(fault.side).proxy.reset() as reset:
        _wait(reset.struck.is_set, 0.1)
    yield


@contextlib.contextmanager
def _cut(scene: Scene, fault: Fault) -> Iterator[None]:
    proxy = scene.site(fault.side).proxy
    with proxy.cut(fault.direction, after=fault.bytes, connections=1) as cut:
        _wait(cut.struck.is_set)
    yield


@contextlib.contextmanager
def _throttled(scene: Scene, fault: Fault) -> Iterator[None]:
    _worker(scene, fault)
    with scene.site(fault.side).proxy.throttle(fault.bytes):
        yield


@contextlib.contextmanager
def _deaf(scene: Scene, fault: Fault) -> Iterator[None]:
    # the worker is stopped, so that the one which replaces it has to connect anew
    with scene.site(fault.side).proxy.deaf(), _worker_stopped(scene, fault):
        yield


# -- on the server


def _backend(scene: Scene, fault: Fault) -> int:
    if fault.side in scene.paused:
        raise NoVictimError
    sessions = scene.site(fault.side).server.sessions("pipecopy/")
    if not sessions:
        raise NoVictimError
    return int(sessions[0]["pid"])


def _told_by_administrator(function: str) -> Strike:
    @contextlib.contextmanager
    def strike(scene: Scene, fault: Fault) -> Iterator[None]:
        backend = _backend(scene, fault)
        ((done,),) = scene.site(fault.side).server.query(f"SELECT {function}(%s)", [backend])
        if not done:
            raise NoVictimError
        yield

    return strike


@contextlib.contextmanager
def _backend_stopped(scene: Scene, fault: Fault) -> Iterator[None]:
    server = scene.site(fault.side).server
    backend = _backend(scene, fault)
    try:
        server.pause(backend)
    except ProcessLookupError:
        raise NoVictimError from None
    try:
        yield
    finally:
        if server is scene.site(fault.side).server:  # else it is frozen whole, or gone
            server.resume()


@contextlib.contextmanager
def _postmaster_stopped(scene: Scene, fault: Fault) -> Iterator[None]:
    if scene.paused:
        raise NoVictimError
    server = scene.site(fault.side).server
    with _worker_stopped(scene, fault):  # likewise: it has to connect anew
        server.pause()
        scene.paused.add(fault.side)
        try:
            yield
        finally:
            scene.paused.clear()
            server.resume()


@contextlib.contextmanager
def _restarted(scene: Scene, fault: Fault) -> Iterator[None]:
    _backend(scene, fault)
    scene.site(fault.side).server.restart("immediate")
    yield


@contextlib.contextmanager
def _table_locked(scene: Scene, fault: Fault) -> Iterator[None]:
    with _locked(scene, fault, "LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE"):
        yield


@contextlib.contextmanager
def _rows_locked(scene: Scene, fault: Fault) -> Iterator[None]:
    # on the target, where rows are written; an unlike row is what makes a first copy wait
    middle = scene.rows // 2
    lock = (
        f"INSERT INTO profiles SELECT {middle}, NULL"
        f" WHERE NOT EXISTS (SELECT FROM profiles WHERE id > {middle});"
        f" SELECT id FROM profiles WHERE id > {middle} FOR UPDATE"
    )
    with _locked(scene, fault, lock, on_target=True):
        yield


@contextlib.contextmanager
def _locked(scene: Scene, fault: Fault, lock: str, *, on_target: bool = False) -> Iterator[None]:
    database = scene.database("target" if on_target else fault.side)
    _worker(scene, fault)
    if scene.paused:
        raise NoVictimError
    with contextlib.closing(database.connect()) as connection:
        # another of the soak's own locks may be in the way: the caller goes on then
        connection.execute(f"SET statement_timeout = '300ms'; BEGIN; {lock}")
        yield
        # it is closed without a word, which a server that is frozen meanwhile would not answer


# -- to the supervisor


def _send(scene: Scene, fault: Fault, number: signal.Signals) -> None:
    supervisor = scene.supervisor
    if supervisor is None or supervisor.poll() is not None:
        raise NoVictimError
    if fault.group:
        os.killpg(supervisor.pid, number)  # it leads a group of its own
    else:
        supervisor.send_signal(number)


def _heeds_signals(scene: Scene) -> bool:
    """Tell whether the command has its handlers: before, while Python starts, nothing is begun."""
    if scene.supervisor is None:
        return False
    try:
        status = Path(f"/proc/{scene.supervisor.pid}/status").read_text()
    except OSError:
        return False
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught & 1 << (signal.SIGHUP - 1))  # the last one that it installs


def _ended_by(number: signal.Signals) -> Strike:
    @contextlib.contextmanager
    def strike(scene: Scene, fault: Fault) -> Iterator[None]:
        if number != signal.SIGKILL:
            _wait(lambda: _heeds_signals(scene), 0.0)
        _send(scene, fault, number)
        if not scene.stop_signals:
            scene.stopped_at = time.monotonic()
        scene.stop_signals.add(number)
        yield

    return strike


@contextlib.contextmanager
def _supervisor_stopped(scene: Scene, fault: Fault) -> Iterator[None]:
    began = time.monotonic()
    _send(scene, replace(fault, group=False), signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(NoVictimError):  # killed meanwhile
            _send(scene, replace(fault, group=False), signal.SIGCONT)
        scene.stopped_seconds += time.monotonic() - began
        scene.stopped_at = time.monotonic()  # before it, a signal to end it could not be heeded


STRIKES: dict[str, Strike] = {
    "killed by SIGKILL": _worker_killed,
    "stopped by SIGSTOP": _worker_stopped,
    **dict.fromkeys(FAULT_NAMES, _in_call),
    "frozen": _frozen,
    "reset": _reset,
    "cut after some bytes": _cut,
    "throttled": _throttled,
    "deaf to new connections": _deaf,
    "session ended": _told_by_administrator("pg_terminate_backend"),
    "query cancelled": _told_by_administrator("pg_cancel_backend"),
    "backend stopped": _backend_stopped,
    "postmaster stopped": _postmaster_stopped,
    "immediate shutdown, restart": _restarted,
    "table locked": _table_locked,
    "rows locked": _rows_locked,
    **FAILOVERS,
    **ALTERATIONS,
    "SIGKILL": _ended_by(signal.SIGKILL),
    "SIGTERM": _ended_by(signal.SIGTERM),
    "SIGINT": _ended_by(signal.SIGINT),
    "SIGHUP": _ended_by(signal.SIGHUP),
    "SIGSTOP, SIGCONT": _supervisor_stopped,
}
