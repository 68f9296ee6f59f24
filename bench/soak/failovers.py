"""Another server takes over: the standby that follows a side's server, behind the same address."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from bench.soak.plan import Fault
from bench.soak.scene import NoVictimError, Scene
from pipecopy.contracts import Side
from tests.support.standbys import Standby

_MOST_LAG = 0.5
"""Seconds for which a standby has received nothing when it is promoted."""


def _standby(scene: Scene, side: Side) -> Standby:
    """Return a side's standby; one that has taken over in this copy has none yet."""
    standby = scene.site(side).standby
    if standby is None or scene.paused or not scene.site(side).server.sessions("pipecopy/"):
        raise NoVictimError
    return standby


@contextlib.contextmanager
def _switched_over(scene: Scene, fault: Fault) -> Iterator[None]:
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
def _failed_over(scene: Scene, fault: Fault) -> Iterator[None]:
    """Freeze the target's server, and promote a standby that lacks its last commits.

    The source's may not lose any: the rows of the load would be gone, which is nobody's fault.
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


FAILOVERS: dict[str, Callable[[Scene, Fault], AbstractContextManager[None]]] = {
    "switched over in order": _switched_over,
    "failed over, commits lost": _failed_over,
}
