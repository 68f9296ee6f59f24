"""What strikes on a server: its sessions, the server itself, a failover, and DDL on its table."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from bench.soak.scene import NoVictimError, Scene
from bench.soak.strikes import Fault, Strike, find_worker, worker_stopped
from pipecopy.contracts import Side
from tests.support.standbys import Standby

_MOST_LAG = 0.5
"""Seconds for which a standby has received nothing when it is promoted."""
_LOCK_TIMEOUT = "300ms"
"""Another of the soak's own locks may be in the way: the fault is retried later then."""

# -- sessions


def _backend(scene: Scene, fault: Fault) -> int:
    if fault.side in scene.paused:
        raise NoVictimError
    sessions = scene.site(fault.side).server.sessions("pipecopy/")
    if not sessions:
        raise NoVictimError
    return int(sessions[0]["pid"])


def by_administrator(function: str) -> Strike:
    """Call a function such as pg_terminate_backend on a session of the copy."""

    @contextlib.contextmanager
    def strike(scene: Scene, fault: Fault) -> Iterator[None]:
        backend = _backend(scene, fault)
        ((done,),) = scene.site(fault.side).server.query(f"SELECT {function}(%s)", [backend])
        if not done:
            raise NoVictimError
        yield

    return strike


@contextlib.contextmanager
def backend_stopped(scene: Scene, fault: Fault) -> Iterator[None]:
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


# -- the server


@contextlib.contextmanager
def postmaster_stopped(scene: Scene, fault: Fault) -> Iterator[None]:
    if scene.paused:
        raise NoVictimError
    server = scene.site(fault.side).server
    with worker_stopped(scene, fault):  # so that the worker that replaces it has to connect
        server.pause()
        scene.paused.add(fault.side)
        try:
            yield
        finally:
            scene.paused.clear()
            server.resume()


@contextlib.contextmanager
def restarted(scene: Scene, fault: Fault) -> Iterator[None]:
    _backend(scene, fault)
    scene.site(fault.side).server.restart("immediate")
    yield


# -- failovers: a side's standby becomes its server, behind the same address


def _standby(scene: Scene, side: Side) -> Standby:
    """Return the standby of a side; one that has taken over in this copy has none yet."""
    standby = scene.site(side).standby
    if standby is None or scene.paused or not scene.site(side).server.sessions("pipecopy/"):
        raise NoVictimError
    return standby


@contextlib.contextmanager
def switched_over(scene: Scene, fault: Fault) -> Iterator[None]:
    """Shut the server down once its standby has received all of it."""
    standby = _standby(scene, fault.side)
    site = scene.site(fault.side)
    with site.proxy.deaf():
        standby.catch_up()  # it does follow: a shutdown waits for no other one
        site.server.stop("fast")
        standby.promote()
        scene.move(fault.side).remove()
    yield


@contextlib.contextmanager
def failed_over(scene: Scene, fault: Fault) -> Iterator[None]:
    """Freeze the server of the target, and promote a standby that lacks its last commits.

    The source may not lose any: the rows of the load would be gone, which is nobody's fault.
    """
    standby = _standby(scene, "target")
    site = scene.target_site
    standby.cut_off()
    time.sleep(min(fault.pause, _MOST_LAG))
    with site.proxy.deaf():
        scene.failed_over = time.monotonic()
        site.server.freeze()
        standby.promote()
        before = scene.move("target")
    try:
        yield
    finally:
        before.remove()


# -- the table


@contextlib.contextmanager
def table_locked(scene: Scene, fault: Fault) -> Iterator[None]:
    with _locked(scene, fault, fault.side, "LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE"):
        yield


@contextlib.contextmanager
def rows_locked(scene: Scene, fault: Fault) -> Iterator[None]:
    # on the target, where rows are written; an unlike row is what makes a first copy wait
    middle = scene.rows // 2
    lock = (
        f"INSERT INTO profiles SELECT {middle}, NULL"
        f" WHERE NOT EXISTS (SELECT FROM profiles WHERE id > {middle});"
        f" SELECT id FROM profiles WHERE id > {middle} FOR UPDATE"
    )
    with _locked(scene, fault, "target", lock):
        yield


@contextlib.contextmanager
def _locked(scene: Scene, fault: Fault, side: Side, lock: str) -> Iterator[None]:
    find_worker(scene, fault)
    if scene.paused:
        raise NoVictimError
    with contextlib.closing(scene.database(side).connect()) as connection:
        connection.execute(f"SET statement_timeout = '{_LOCK_TIMEOUT}'; BEGIN; {lock}")
        yield
        # it is closed without a word, which a server that is frozen meanwhile would not answer


def altered(sql: str, undo: str | None = None) -> Strike:
    """Run DDL as one transaction.

    `undo`: a copy has to report the change, and this, if anything, undoes it at the copy's end.
    """

    @contextlib.contextmanager
    def strike(scene: Scene, fault: Fault) -> Iterator[None]:
        if scene.paused or (undo is not None and fault.side in scene.altered):
            raise NoVictimError
        limit = f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"
        scene.database(fault.side).execute(f"{limit}; {sql}")
        if undo is not None:
            scene.altered[fault.side] = undo
        yield

    return strike


REWRITE = "ALTER TABLE profiles ADD u uuid DEFAULT gen_random_uuid(); ALTER TABLE profiles DROP u"
REFILL = """
    LOCK TABLE profiles;
    CREATE TEMPORARY TABLE kept ON COMMIT DROP AS TABLE profiles;
    TRUNCATE profiles; INSERT INTO profiles TABLE kept
"""
RETYPE = "ALTER TABLE profiles ALTER id TYPE int"
RETYPE_BACK = "ALTER TABLE profiles ALTER id TYPE bigint"
RECREATE = """
    LOCK TABLE profiles;
    CREATE TABLE other (LIKE profiles INCLUDING ALL);
    INSERT INTO other TABLE profiles;
    ALTER SEQUENCE profiles_id_seq OWNED BY other.id;
    DROP TABLE profiles;
    ALTER TABLE other RENAME TO profiles
"""
