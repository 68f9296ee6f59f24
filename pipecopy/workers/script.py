"""The script that a copy was started from, and the pool object that is sent to the workers.

A worker imports the script anew, as multiprocess has it, so that a class defined in its
`__main__` works there too. A script without the guard would so start a copy in each worker.
"""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pipecopy.errors import ConfigError
from pipecopy.workers.host import hidden_refusal
from pipecopy.workers.launch import DRIVER
from pipecopy.workers.modules import Finder, off_the_path
from pipecopy.workers.third_party import dill, process

UNGUARDED_EXIT = 213
"""Exit code of a worker that found itself starting a copy while it imported the script."""
UNGUARDED = (
    'the script that starts this copy has no `if __name__ == "__main__":` guard:'
    " each worker imports it, and would start a copy of its own"
)


def in_importing_worker() -> bool:
    """Return whether this is a worker that is importing what is the user's."""
    return bool(getattr(process.current_process(), "_inheriting", False))


def leave_unguarded_script() -> NoReturn:
    """End the import, and with it this worker, quietly: the supervisor says what is wrong."""
    loading = process.current_process()._inheriting  # noqa: SLF001 - as below
    if isinstance(loading, _Loading):
        loading.unguarded = True
        raise _UnguardedError
    os._exit(UNGUARDED_EXIT)


class _UnguardedError(BaseException):
    """Not an `Exception`: nothing on the way may handle it."""


@dataclass
class _Loading:
    """The pool is being unpickled, which imports modules."""

    unguarded: bool = False
    """One of them starts a run when it is imported."""


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
def _loading() -> Iterator[None]:
    """Mark that this process imports what is the user's: no copy may start of it.

    Raises:
        ConfigError: one was about to.

    """
    current, loading = process.current_process(), _Loading()
    current._inheriting = loading  # noqa: SLF001 - what multiprocess sets while it imports the script
    try:
        yield
    finally:
        del current._inheriting  # noqa: SLF001
        if loading.unguarded:
            raise ConfigError(UNGUARDED)


def main_to_import() -> dict[str, str]:
    """Return how a worker imports the main module, in multiprocess's terms; {} if it can't.

    An interactive session and a script from standard input can't be imported; the `__main__` of a
    package, of a folder or of a zipapp would run, since most have no guard.
    """
    main = sys.modules.get("__main__")
    module = getattr(getattr(main, "__spec__", None), "name", None) or "__main__"
    if module.rpartition(".")[2] != "__main__":
        return {"init_main_from_name": module}
    path = Path(process.ORIGINAL_DIR or "", getattr(main, "__file__", None) or "-")
    is_script = path.name != "__main__.py" and path.is_file()
    return {"init_main_from_path": str(path)} if is_script else {}


def _comes_with_main(pool: Any) -> bool:
    """Return whether a worker that imports the main module has what the pool is made of.

    A profiler may run the script in a namespace that is not the main module's.
    """
    if not main_to_import():
        return False
    namespace = getattr(pool.connect, "__globals__", {})
    is_main = namespace.get("__name__") == "__main__"
    return not is_main or namespace is vars(sys.modules["__main__"])


def pickle_pool(pool: Any) -> bytes:
    """Return the pool as the workers get it, with where they find what it is made of.

    Raises:
        ConfigError: it can't be pickled.

    """
    module = sys.modules.get(type(pool).__module__)
    if getattr(getattr(module, "__spec__", None), "_initializing", False):
        raise ConfigError(UNGUARDED)  # to pickle it in this thread would wait for that import
    try:
        # of a main module that can't be imported, all that is needed is sent along
        pickled: bytes = dill.dumps(pool, recurse=not _comes_with_main(pool))
    except Exception as error:
        raise ConfigError(
            f"the pool can't be sent to a worker process: {type(pool).__name__} can't be pickled "
            f"({type(error).__name__}: {error}); let its connect() open what can't be sent"
        ) from error
    return pickle.dumps((off_the_path(), pickled))


def load_pool(pickled: bytes, *, in_worker: bool = True) -> Any:
    """Return the pool in a worker; or else in a process in which other threads start runs.

    Raises:
        ConfigError: what it is made of can't be imported here.

    """
    places, pickled = pickle.loads(pickled)
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):  # a retry loads it again
        sys.meta_path.insert(0, Finder(places))
    try:
        with _loading() if in_worker else nullcontext():
            return dill.loads(pickled)
    except (ConfigError, TimeoutError):
        raise
    except Exception as error:
        if hidden_refusal(error) is not None:  # by this machine
            raise
        raise ConfigError(_why_not_loaded(error)) from error


def _why_not_loaded(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        return (
            f"the pool needs the module {error.name!r}, which a worker process can't find:"
            " put the folder that has it into PYTHONPATH"
        )
    raised = f"{type(error).__name__}: {error}"
    modules = [
        frame.f_globals.get("__name__")
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_name == "<module>"
    ]
    if modules:
        return f"the pool needs the module {modules[-1]!r}, which raised in a worker: {raised}"
    return f"the pool can't be unpickled in a worker process: {raised}"
