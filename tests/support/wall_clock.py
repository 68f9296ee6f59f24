"""The wall clock of this machine, stepped for a moment; every other test keeps out of the way.

A step reaches all servers here: one that is stepped forward takes a statement's limit for over at
its next alarm. So a test that steps runs alone, also among the processes of pytest-xdist.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOM = Path(__file__)
"""Its lock is held by every test: shared, or by one that steps alone."""
_DOOR = Path(__file__).with_name("__init__.py")
"""Its lock is held while one waits for the room: or others would pass one that steps for ever."""


@contextlib.contextmanager
def steady() -> Iterator[None]:
    """Keep the clock from being stepped meanwhile."""
    with contextlib.ExitStack() as held:
        with _locked(_DOOR, fcntl.LOCK_EX):
            held.enter_context(_locked(_ROOM, fcntl.LOCK_SH))
        yield


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Keep all other tests from running meanwhile."""
    with _locked(_DOOR, fcntl.LOCK_EX), _locked(_ROOM, fcntl.LOCK_EX):
        yield


@contextlib.contextmanager
def _locked(file: Path, kind: int) -> Iterator[None]:
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, kind)
        yield
    finally:
        os.close(fd)  # and with it the lock


@contextlib.contextmanager
def stepped(seconds: float) -> Iterator[None]:
    """Step the clock, and correct it at the end; skip the test if that can't be done."""
    ahead = time.time() - time.monotonic()
    try:
        time.clock_settime(time.CLOCK_REALTIME, time.time() + seconds)
    except PermissionError:
        pytest.skip("only root with CAP_SYS_TIME may set the clock")
    try:
        yield
    finally:
        time.clock_settime(time.CLOCK_REALTIME, time.monotonic() + ahead)
