"""Which Python starts the workers: never the user's program, which would start a copy again.

Imported when a command begins, as launch.py is: it loads nothing.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # type checkers take it for true; to load typing itself takes a while
    from collections.abc import Iterator

_NAMES = ("python", "pypy")
"""What the name of an interpreter's file begins with; a host that embeds Python has another."""

SERVER = "_PIPECOPY_SERVER"
"""A variable that only a fork server is given, and that it removes first of all."""
NO_PYTHON_EXIT = 212
"""Exit code of what was launched as a Python interpreter, and ran this program instead."""
NO_PYTHON = (
    "the workers of a run need a Python interpreter, and {path} is another program: it started this"
    " program once more; name one with multiprocessing.set_executable(path)"
)


def leave_second_generation() -> None:
    """End this process, quietly, if it was launched as a fork server and runs a program instead."""
    if SERVER in os.environ:
        os._exit(NO_PYTHON_EXIT)


def find_interpreter() -> str:
    """Return the path of a Python interpreter like this one.

    Raises:
        ConfigError: this program is frozen, or no interpreter is known.

    """
    if _is_frozen():
        why = (
            "a frozen program can't start the workers of a run: they need a Python interpreter, and"
            " this program is none; run the script with Python instead"
        )
    else:
        for path in _candidates():
            is_named_so = os.path.basename(path).startswith(_NAMES)  # noqa: PTH119 - pathlib takes a while to load
            if is_named_so and os.access(path, os.X_OK, effective_ids=True):
                return path
        why = (
            "the workers of a run need a Python interpreter, and none is known:"
            f" sys.executable is {sys.executable!r}; name one of version"
            f" {_version()} with multiprocessing.set_executable(path)"
        )
    from pipecopy.errors import ConfigError  # noqa: PLC0415 - as the page above says

    raise ConfigError(why)


def _is_frozen() -> bool:
    """Tell whether PyInstaller, cx_Freeze or Nuitka made a program of this package."""
    compiled = globals().get("__compiled__")  # Nuitka's
    return bool(getattr(sys, "frozen", False) or getattr(compiled, "standalone", False))


def _candidates() -> Iterator[str]:
    """Yield where an interpreter may be; first, where the user says so."""
    for name in ("multiprocess.spawn", "multiprocessing.spawn"):
        named = getattr(sys.modules.get(name), "_python_exe", None)
        if named:
            yield os.fsdecode(named)
    yield sys.executable or ""
    yield getattr(sys, "_base_executable", "") or ""
    for prefix in (sys.exec_prefix, sys.base_exec_prefix):
        yield f"{prefix}/bin/python{_version()}"
    yield os.path.realpath("/proc/self/exe")


def _version() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"
