"""The script that a copy was started from, and the pool object that is sent to the workers.

A worker imports the script anew, as multiprocess has it, so that a class defined in its
`__main__` works there too. A script without the guard would so start a copy in each worker.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipecopy.errors import ConfigError
from pipecopy.workers.launch import DRIVER
from pipecopy.workers.third_party import dill, process

UNGUARDED_EXIT = 213
"""Exit code of a worker that found itself starting a copy while it imported the script."""


def in_importing_worker() -> bool:
    """Return whether this is a worker that is importing the script."""
    return bool(getattr(process.current_process(), "_inheriting", False))


def leave_unguarded_script() -> None:
    """End this worker, quietly: the supervisor says what is wrong."""
    os._exit(UNGUARDED_EXIT)


def modules_to_preload() -> list[str]:
    """Return the modules that the fork server imports, for the workers to have them already.

    They are ours alone: a module of the user's may open a connection when it is imported, which
    two workers must never share, or start a thread, which no fork takes along.
    """
    ours = {name for name in sys.modules if name.startswith("pipecopy.")}
    if "pipecopy.postgres.pool" in ours:
        ours.add(DRIVER)  # which its pool imports when it connects
    return sorted(name for name in ours if not name.startswith(("pipecopy.cli", "pipecopy.demo")))


@contextmanager
def importing() -> Iterator[None]:
    """Mark that this process imports what is the user's: no copy may start of it."""
    current = process.current_process()
    current._inheriting = True  # noqa: SLF001 - what multiprocess sets while it imports the script
    try:
        yield
    finally:
        del current._inheriting  # noqa: SLF001


def main_to_import() -> dict[str, str]:
    """Return how a worker imports the main module, in multiprocess's terms; {} if it can't.

    An interactive session and a script from standard input can't be imported.
    """
    main = sys.modules["__main__"]
    module = getattr(main.__spec__, "name", None)
    if module is not None:
        return {"init_main_from_name": module}
    path = Path(process.ORIGINAL_DIR or "", getattr(main, "__file__", None) or "-")
    return {"init_main_from_path": str(path)} if path.is_file() else {}


def pickle_pool(pool: Any) -> bytes:
    """Return the pool as the workers get it.

    Raises:
        ConfigError: it can't be pickled.

    """
    try:
        # of a main module that can't be imported, all that is needed is sent along
        pickled: bytes = dill.dumps(pool, recurse=not main_to_import())
    except Exception as error:
        raise ConfigError(
            f"the pool can't be sent to a worker process: {type(pool).__name__} can't be pickled "
            f"({type(error).__name__}: {error}); let its connect() open what can't be sent"
        ) from error
    return pickled
