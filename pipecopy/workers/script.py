"""The script that a copy was started from, and the pool object that is sent to the workers.

A worker imports the script anew, as multiprocess has it, so that a class defined in its
`__main__` works there too. A script without the guard would so start a copy in each worker.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import dill
from multiprocess import process

from pipecopy.errors import ConfigError

UNGUARDED_EXIT = 213
"""Exit code of a worker that found itself starting a copy while it imported the script."""


def in_importing_worker() -> bool:
    """Tell whether this is a worker that is importing the script."""
    return bool(getattr(process.current_process(), "_inheriting", False))


def leave_unguarded_script() -> None:
    """End this worker, quietly: the supervisor says what is wrong."""
    os._exit(UNGUARDED_EXIT)


def pickle_pool(pool: Any) -> bytes:
    """Return the pool as the workers get it.

    Raises:
        ConfigError: it can't be pickled.

    """
    # what an interactive session defines can't be imported by a worker: it is all sent along
    importable = hasattr(sys.modules["__main__"], "__file__")
    try:
        pickled: bytes = dill.dumps(pool, recurse=not importable)
    except Exception as error:
        raise ConfigError(
            f"the pool can't be sent to a worker process: {type(pool).__name__} can't be pickled "
            f"({type(error).__name__}: {error}); let its connect() open what can't be sent"
        ) from error
    return pickled
