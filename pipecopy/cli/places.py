"""Where pipecopy.toml is looked for if nobody names a file: the first one that exists is read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipecopy.cli.configfile import ConfigFile, UnreadableError, read_config_file

NAME = "pipecopy.toml"
_SYSTEM = Path("/etc/pipecopy")
"""Where people look for it beside the folders of the XDG specification."""
_HERE = Path()


@dataclass(frozen=True, kw_only=True)
class Found:
    """The file, and what was looked at before it."""

    file: ConfigFile | None
    without: tuple[Path, ...] = ()
    """The folders that have no such file."""
    unread: tuple[str, ...] = ()
    """Why files that may be there were not read."""
    named: bool = False
    """Somebody has named the file: nothing else was looked at."""

    @property
    def looked_in(self) -> list[str]:
        """Return the folders or the file that were looked at, in order."""
        own = [self.file.path] if self.file else []
        return [*(str(one / NAME) for one in self.without), *own]

    @property
    def why_none(self) -> str:
        """Return where there is no file, "" if the first one was found."""
        folders = ["the working directory" if one == _HERE else str(one) for one in self.without]
        parts = [f"there is no {NAME} in {_listed(folders)}"] if folders else []
        return "; ".join([*self.unread, *parts])

    def not_read(self) -> str:
        """Return which other file exists and is not read, "" if none does."""
        if self.file is None or self.named:
            return ""
        others = [str(one / NAME) for one in _folders() if (one / NAME).is_file()]
        others = [one for one in others if one != self.file.path]
        return f"{_listed(others, 'and')} is not read: {self.file.path} is first" if others else ""


def find(environ: Mapping[str, str]) -> Found:
    """Return the first file that exists; one that can't be read is left out.

    Raises:
        ConfigError: it is not valid TOML.

    """
    without, unread = list[Path](), list[str]()
    for folder in _folders():
        try:
            file = read_config_file(str(folder / NAME), environ)
        except FileNotFoundError:
            without.append(folder)
        except UnreadableError as error:  # such as in /root, after sudo -u
            unread.append(str(error))
        else:
            return Found(file=file, without=tuple(without), unread=tuple(unread))
    return Found(file=None, without=tuple(without), unread=tuple(unread))


def _folders() -> Iterator[Path]:
    yield _HERE
    import platformdirs  # noqa: PLC0415 - only without a file in the working directory

    names = platformdirs.site_config_dir("pipecopy", multipath=True).split(os.pathsep)
    with suppress(RuntimeError):  # there is no home directory; an older one leaves the ~
        names.insert(0, platformdirs.user_config_dir("pipecopy"))
    folders = dict.fromkeys([*map(Path, names), _SYSTEM])
    yield from filter(Path.is_absolute, folders)


def _listed(names: list[str], last: str = "or") -> str:
    *others, final = names
    return f"{', '.join(others)} {last} {final}" if others else final
