"""A side's table is altered: so that nothing matters, or so that a copy has to say it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from bench.soak.plan import Fault
from bench.soak.scene import NoVictimError, Scene

Strike = Callable[[Scene, Fault], AbstractContextManager[None]]

_REWRITE = "ALTER TABLE profiles ADD u uuid DEFAULT gen_random_uuid(); ALTER TABLE profiles DROP u"
_REFILL = """
    LOCK TABLE profiles;
    CREATE TEMPORARY TABLE kept ON COMMIT DROP AS TABLE profiles;
    TRUNCATE profiles; INSERT INTO profiles TABLE kept
"""
_RETYPE = "ALTER TABLE profiles ALTER id TYPE int"
_RETYPE_BACK = "ALTER TABLE profiles ALTER id TYPE bigint"
_RECREATE = """
    LOCK TABLE profiles;
    CREATE TABLE other (LIKE profiles INCLUDING ALL);
    INSERT INTO other TABLE profiles;
    ALTER SEQUENCE profiles_id_seq OWNED BY other.id;
    DROP TABLE profiles;
    ALTER TABLE other RENAME TO profiles
"""


def _altered(sql: str, undo: str | None = None) -> Strike:
    """Run it as one transaction.

    `undo`: it is for a copy to say, and this, if anything, undoes it at the copy's end.
    """

    @contextlib.contextmanager
    def strike(scene: Scene, fault: Fault) -> Iterator[None]:
        if scene.paused or (undo is not None and fault.side in scene.altered):
            raise NoVictimError
        # another of the soak's own locks may be in the way: it is tried again later
        limits = "SET LOCAL lock_timeout = '300ms'"
        scene.database(fault.side).execute(f"{limits}; {sql}")
        if undo is not None:
            scene.altered[fault.side] = undo
        yield

    return strike


ALTERATIONS = {
    "table rewritten": _altered(_REWRITE),
    "table emptied and filled again": _altered(_REFILL),
    "key of another type": _altered(_RETYPE, _RETYPE_BACK),
    "another table of that name": _altered(_RECREATE, ""),
}
