"""Modules of the supervisor that a worker would not find, or would find in another file.

A loader that puts a folder on sys.path for a moment (Airflow's, Celery's, a plugin system) leaves
modules behind that no import path leads to. A worker imports them from the same files.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from pipecopy.workers.launch import import_path

Place: TypeAlias = str | tuple[str, ...]
"""The folders or archives that a module was found in; its file if that has another name."""


def off_the_path() -> dict[str, Place]:
    """Return where the modules of this process are that sys.path does not lead to."""
    on_path = {os.path.abspath(entry) for entry in import_path()}  # noqa: PTH100 - many, and fast
    found: dict[str, Place] = {}
    for name, module in list(sys.modules.items()):
        if "." in name or name in sys.stdlib_module_names or name in {"__main__", "__mp_main__"}:
            continue  # a package leads to its own modules
        place = _place(name, getattr(module, "__dict__", {}))  # anything may be there
        if isinstance(place, str) or not on_path.issuperset(place):
            found[name] = place
    return found


def _place(name: str, module: Mapping[str, Any]) -> Place:
    """Return where a module is; () if nothing tells."""
    file, folders = module.get("__file__"), module.get("__path__")
    if isinstance(file, str):
        path = Path(os.path.abspath(file))  # noqa: PTH100 - not resolved: links have their names
        place = path.parent if path.stem == "__init__" else path
        return (str(place.parent),) if place.name.partition(".")[0] == name else str(path)
    if folders is not None:  # a namespace package
        return tuple(str(Path(os.path.abspath(folder)).parent) for folder in folders)  # noqa: PTH100 - as above
    return ()


class Finder:
    """Finds modules where the supervisor has them; one for `sys.meta_path`."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        self._places = places

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the module's spec; None for the other modules."""
        place = self._places.get(name)
        if place is None:
            return None
        if isinstance(place, str):
            return spec_from_file_location(name, place)
        return PathFinder.find_spec(name, place, target)
