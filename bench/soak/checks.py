"""What is looked at after each copy, and at the end."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psycopg

from bench.soak.copies import Ended
from bench.soak.measures import Measures
from bench.soak.scene import Scene
from pipecopy.events import CallEnded
from pipecopy.workers.servers import fork_servers
from tests.support.checks import LATE_COPY
from tests.support.databases import TemporaryDatabase
from tests.support.leftovers import PATIENCE

Versions = dict[int, int]
"""The version of each row, by id; the load counts it up."""

GONE_PROCESSES = 1.0
"""Seconds after which no process of a copy may be left, not even of one that was killed."""
GONE_AT_RETURN = 0.1
"""The same for `copy_table`, which returns when they are gone: the time to look at all of them."""
_ON_THE_WAY = 0.1
_START = 3.0
"""Seconds that a command may take besides its copy: for its interpreter, and its last lines."""
_STOP = 2.0
"""Seconds from a signal to the command's end besides the time of grace: 1 to close both sides, the
rest for the clean-up."""


def versions(database: TemporaryDatabase) -> Versions:
    """Return what is in the table now."""
    rows = database.query("SELECT id, coalesce((data->>'version')::int, 0) FROM profiles")
    return dict(rows)


def check_time(ended: Ended, scene: Scene, measures: Measures) -> None:
    """See that the copy ended in its time, and a stopped command soon after the signal."""
    limit = ended.config.full_copy_timeout + scene.stopped_seconds
    if ended.mode == "library":
        late = ended.seconds - limit
    else:
        late = (ended.report["seconds"] if ended.report else 0.0) - ended.config.full_copy_timeout
        if ended.seconds > limit + LATE_COPY + _START:
            measures.report("hangs", f"the command took {ended.seconds:.2f} of {limit:.2f} s")
    if late > 0:
        measures.late_copies.append(late)
    if late > LATE_COPY:
        measures.report("hangs", f"a copy with a limit of {limit:g} s was {late:.3f} s late")
    if ended.outcome == "stopped by a signal":
        seconds = time.monotonic() - scene.stopped_at
        measures.stop_seconds.append(seconds)
        if seconds > _STOP + ended.config.grace:
            measures.report("hangs", f"{seconds:.2f} s from a signal to the command's end")


def check_processes(ended: Ended, scene: Scene, measures: Measures) -> None:
    """See that the copy's processes are gone, right at its end.

    The fork server of this process may stay for the next copy.
    """
    fork_servers.stop_idle()
    timeout = GONE_AT_RETURN if ended.mode == "library" else GONE_PROCESSES
    seconds = _wait_until_gone(
        measures,
        lambda: [f"process {process} after {ended.outcome}" for process in scene.processes()],
        timeout,
    )
    measures.process_seconds.append(seconds)


def check_sessions(scene: Scene, measures: Measures) -> None:
    """See that the copy's sessions are gone from both servers; its faults must be lifted."""
    seconds = _wait_until_gone(
        measures, lambda: [f"session {session}" for session in scene.sessions()], PATIENCE
    )
    measures.session_seconds.append(seconds)


def check_files(measures: Measures) -> None:
    """See that this process holds nothing of a copy's any more, and no temporary file is left."""
    _wait_until_gone(measures, lambda: [*_held(), *_files()], PATIENCE)


def _wait_until_gone(measures: Measures, look: Callable[[], list[str]], timeout: float) -> float:
    """Wait until a look finds nothing, or report what is left; return the seconds that it took."""
    began = time.monotonic()
    while left := look():
        if time.monotonic() - began > timeout:
            for line in left:
                measures.report("leftovers", line)
            break
        time.sleep(0.005)
    return time.monotonic() - began


def _held() -> list[str]:
    held = [f"thread {t.name}" for t in threading.enumerate() if t.name.startswith("pipecopy")]
    for link in Path("/proc/self/fd").iterdir():
        try:
            name = str(link.readlink())
        except OSError:
            continue
        if name.startswith(("/memfd:pipecopy", "anon_inode:[pidfd]", "anon_inode:[eventfd]")):
            held.append(f"descriptor {name}")
    return held


def _files() -> list[str]:
    return [f"file {path}" for path in Path(tempfile.gettempdir()).iterdir()]


def check_next_id(ended: Ended, before: Versions, scene: Scene, measures: Measures) -> None:
    """See that every row below `next_id` is in the target, no older than when the copy began.

    A copy that has not heard of a failover can't know what it has lost.
    """
    if ended.report is None or not _has_heard(ended, scene):
        return
    measures.next_ids += 1
    next_id = ended.report["next_id"]
    after = versions(scene.database("target"))
    wrong = [
        (id_, version, after.get(id_))
        for id_, version in before.items()
        if id_ < next_id and after.get(id_, -1) < version
    ]
    if wrong:
        shown = ", ".join(f"id {i}: version {v}, in the target {t}" for i, v, t in wrong[:5])
        measures.report("false next_id", f"{len(wrong)} rows below {next_id}: {shown}")


def _has_heard(ended: Ended, scene: Scene) -> bool:
    """Return whether some call reached the server that is the target's now."""
    if scene.failed_over is None:
        return True
    # the old one is frozen: what it said before may have taken so long on the way
    since = scene.failed_over + _ON_THE_WAY
    return any(
        isinstance(seen.event, CallEnded)
        and (seen.event.where.side, seen.event.outcome) == ("target", "returned")
        and seen.event.where.call != "close"
        and seen.at > since
        for seen in ended.seen
    )


def check_mismatch(ended: Ended, scene: Scene, measures: Measures) -> None:
    """See that no copy says of a table that it changed if it did not."""
    if ended.outcome == "TableMismatchError" and not scene.altered:
        measures.report("unexpected ends", "a copy says that a table changed, and none did")


def compare(scene: Scene, name: str, measures: Measures) -> None:
    """Compare a target with the source, row by row; no load runs any more."""
    rows = "SELECT id, md5(t::text) FROM profiles AS t"
    source = dict(scene.source.query(rows))
    found = scene.targets[name].query(rows)
    target = dict(found)
    doubled = sum(count - 1 for count in Counter(id_ for id_, _ in found).values())
    lost = source.keys() - target.keys()
    differing = [id_ for id_, digest in target.items() if source.get(id_) != digest]
    measures.counts[f"rows compared, {name}"] = len(source)
    for what, count in (
        ("rows lost", len(lost)),
        ("rows doubled", doubled),
        ("rows differing", len(differing)),
    ):
        if count:
            measures.report(what, f"in the {name} target", count)


def empty(database: TemporaryDatabase) -> None:
    """Remove all rows, as for a first copy."""
    with database.connect() as connection:
        connection.execute("SET lock_timeout = '10s'")
        try:
            connection.execute("TRUNCATE profiles")
        except psycopg.errors.LockNotAvailable:
            raise RuntimeError("a session that should be gone still has a lock") from None
