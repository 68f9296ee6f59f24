"""What this folder uses of dill and multiprocess, which can be imported on any host so.

dill asks for a temporary folder and a main module when it is imported, and fails if there is none,
though nothing that is used here writes a file; multiprocess imports dill.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from pipecopy.workers.launch import STOP_SIGNALS


@contextmanager
def _main_module() -> Iterator[None]:
    main = ModuleType("__main__")
    sys.modules.setdefault("__main__", main)
    try:
        yield
    finally:
        if sys.modules.get("__main__") is main:  # this program has none
            del sys.modules["__main__"]


@contextmanager
def _temporary_folder() -> Iterator[None]:
    # only the name is needed: to look for a folder, Python writes a file, which a kill may leave
    # behind, and for which a machine that is read-only or full has no place
    before = tempfile.tempdir
    tempfile.tempdir = before or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - as Python has it
    try:
        yield
    finally:
        tempfile.tempdir = before


@contextmanager
def _later_signals() -> Iterator[None]:
    # both packages begin with a bare `except`, which takes what a signal raises for another fault
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


with _later_signals(), _main_module(), _temporary_folder():
    import dill
    from multiprocess import (
        connection,
        context,
        forkserver,
        popen_forkserver,
        process,
        reduction,
        spawn,
    )

__all__ = [
    "connection",
    "context",
    "dill",
    "forkserver",
    "popen_forkserver",
    "process",
    "reduction",
    "spawn",
]
