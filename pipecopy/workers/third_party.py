"""What this folder uses of dill and multiprocess, on a machine without a temporary folder too.

dill asks for that folder when it is imported, and fails if there is none, though nothing that is
used here writes a file; multiprocess imports dill.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _without_temporary_folder() -> Iterator[None]:
    try:
        tempfile.gettempdir()
    except OSError:  # all is read-only, or full
        tempfile.tempdir = "/"  # only its name is asked for
        try:
            yield
        finally:
            tempfile.tempdir = None  # as it was: who needs the folder is told
    else:
        yield


with _without_temporary_folder():
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
