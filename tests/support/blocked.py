"""A copy in which a call blocks until the test lets it go."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.command import LONGEST, start
from tests.support.databases import TemporaryDatabase
from tests.support.profiles import create_profiles


@contextmanager
def blocked_copy(
    source: TemporaryDatabase, target: TemporaryDatabase, *options: str, **streams: Any
) -> Iterator[subprocess.Popen[str]]:
    """Run the command until one of its calls waits for a lock of the test's."""
    create_profiles(source, 100)
    create_profiles(target)
    with source.connect() as other, other.transaction():
        other.execute("LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE")
        process = start(["copy", source.uri, target.uri, *options], **streams)
        try:
            wait_for_lock_waiter(source, process)
            yield process
            process.wait(LONGEST)
        finally:
            process.kill()
            process.communicate()


def wait_for_lock_waiter(database: TemporaryDatabase, process: subprocess.Popen[str]) -> None:
    """Wait until a session of the copy's waits for the lock."""
    deadline = time.monotonic() + 15
    while not any(s["wait_event_type"] == "Lock" for s in database.sessions()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the copy does not wait for the lock: {process.poll()}")
        time.sleep(0.02)  # pg_stat_activity sends no events
