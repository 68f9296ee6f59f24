"""pipecopy.toml: databases and jobs by name, and defaults for all jobs."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

from pipecopy.errors import ConfigError
from pipecopy.postgres.conninfo import is_connection, malformed
from pipecopy.redact import redact

SIDES = ("source", "target")
_SECTIONS = ("databases", "defaults", "jobs")
_KINDS: Mapping[Any, tuple[Any, str]] = {
    bool: (bool, "true or false"),
    int: (int | str, "a whole number"),
    float: (int | float | str, 'a duration such as "30s", or a number of seconds'),
    str: (str, "a string"),
    tuple: (list | str, "a list of names"),
}
"""Which values of TOML an option takes, by the type of its own."""
_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, kw_only=True)
class Section:
    """Values of options, all from one place; keys and values are as they are written there."""

    name: str
    """For messages: `pipecopy.toml: jobs.nightly`."""
    values: Mapping[str, Any] = field(repr=False)  # they may hold passwords

    def origin(self, key: str) -> str:
        """Return where the value of the key stands."""
        return f"{self.name}.{key_text(key)}"

    def wanted(self, hint: Any, value: object) -> str | None:
        """Return what the value should be and is not, None if it is right for an option's type.

        Cyclopts makes a text of any value: `where = false` would be a condition.
        """
        types = [type_ for type_ in get_args(hint) if type_ is not NoneType]
        kind = get_origin(hint) if get_origin(hint) is tuple else (types or [hint])[0]
        of, what = _KINDS[get_origin(kind) or kind]
        is_right = isinstance(value, of) and isinstance(value, bool) == (of is bool)
        if isinstance(value, list):
            is_right = is_right and all(isinstance(item, str) for item in value)
        return None if is_right else f"{what}, not {_shown(value)}"


@dataclass(frozen=True, kw_only=True)
class ConfigFile:
    """What the file says. Its `repr` shows no password."""

    path: str
    """As the user names it."""
    open_to_others: bool
    """Other users of the machine may read it."""
    databases: Mapping[str, str] = field(repr=False)
    """Connection strings by name; an empty one if it is wrong."""
    defaults: Section
    jobs: Mapping[str, Section]
    problems: tuple[str, ...]
    """What is wrong with its form, each with the file and the key."""

    @property
    def holds_password(self) -> bool:
        """Whether a connection string has a password in it."""
        texts = [*self.databases.values()]
        for section in (self.defaults, *self.jobs.values()):
            texts += [str(section.values[side]) for side in SIDES if side in section.values]
        return any(redact(text) != text for text in texts)

    def wrong_databases(self, *, given: Collection[str]) -> Iterator[str]:
        """Say which databases can't be meant, and which jobs have none.

        `given` are the options that variables set: a job may do without them.
        """
        for name, text in self.databases.items():
            if text.strip() and (wrong := malformed(text)):
                yield f"{self.path}: {key_text('databases', name)}: {wrong}"
        yield from self._unknown(self.defaults)
        for job in self.jobs.values():
            yield from self._unknown(job)
            for side in SIDES:
                if not any(side in place for place in (given, job.values, self.defaults.values)):
                    yield f"{job.name} has no {side}"

    def _unknown(self, section: Section) -> Iterator[str]:
        """Say which sides name no database; a bare word is not a service here: it may be a typo."""
        for side in SIDES:
            text = section.values.get(side, "")
            if not isinstance(text, str) or not text.strip() or text in self.databases:
                continue
            if not is_connection(text):
                known = ", ".join(self.databases) or "it is empty"
                yield (
                    f'{section.origin(side)}: "{text}" is not in [databases] ({known}), and is not'
                    f" a URI or a connection string such as service={text}"
                )
            elif wrong := malformed(text):
                yield f"{section.origin(side)}: {wrong}"


def _shown(value: object) -> str:
    """Return a value as TOML writes it, unless it may hold a password."""
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    return json.dumps(value, ensure_ascii=False, default=str)


def key_text(*parts: str) -> str:
    """Return a key as TOML writes it: `jobs.nightly.key`, in quotes where it needs them."""
    return ".".join(
        part if _BARE.fullmatch(part) else json.dumps(part, ensure_ascii=False) for part in parts
    )


class UnreadableError(ConfigError):
    """The file can't be read."""


def read_config_file(path: str) -> ConfigFile:
    """Read the file.

    Raises:
        FileNotFoundError: there is none.
        UnreadableError: it can't be read.
        ConfigError: it is not valid TOML.

    """
    text, mode = _text(path)
    import tomllib  # noqa: PLC0415 - only if there is a file

    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number may have too many digits
        raise ConfigError(f"{path} is not valid TOML: {_where(error, text)}") from None
    reader = _Reader(path)
    reader.read(document)
    return ConfigFile(
        path=path,
        open_to_others=bool(mode & (stat.S_IRGRP | stat.S_IROTH)),
        databases=reader.databases,
        defaults=reader.defaults,
        jobs=reader.jobs,
        problems=tuple(reader.problems),
    )


def _text(path: str) -> tuple[str, int]:
    try:
        with Path(path).expanduser().open("rb") as file:  # a crontab's variables keep their ~
            raw, mode = file.read(), os.fstat(file.fileno()).st_mode
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnreadableError(f"{path} can't be read: {error.strerror}") from None
    except RuntimeError:  # of expanduser
        home = Path(path).parts[0]
        raise UnreadableError(
            f"{path} can't be read: there is no home directory for {home}; give the whole path"
        ) from None
    try:
        return raw.decode("utf-8-sig"), mode  # an editor may begin the file with a mark
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path} is not encoded in UTF-8: line {line}") from None


def _where(error: Exception, text: str) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
    return str(error).replace("at end of document", f"at line {line}, column {column}, the end")


class _Reader:
    """Takes the document apart, and notes what is wrong with its form."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.problems: list[str] = []
        self.databases: dict[str, str] = {}
        self.defaults = Section(name=f"{path}: defaults", values={})
        self.jobs: dict[str, Section] = {}

    def read(self, document: Mapping[str, Any]) -> None:
        for name, content in document.items():
            if name in _SECTIONS:
                if self._is_table(name, content):
                    getattr(self, f"_{name}")(content)
            elif isinstance(content, dict):
                known = ", ".join(f"[{one}]" for one in _SECTIONS)
                self._note(f"[{name}] is not one of the sections {known}")
            else:
                self._note(f"{name} is in no section: options belong in [defaults] or [jobs.NAME]")

    def _databases(self, content: Mapping[str, Any]) -> None:
        for name, text in content.items():
            key = key_text("databases", name)
            if not name.strip():
                self._note("databases has an empty name")
                continue
            self.databases[name] = text if isinstance(text, str) else ""
            if not isinstance(text, str):  # never shown: it may be a password
                self._note(f"{key} must be a string: a URI, a connection string, a service")
            elif not text.strip():
                self._note(f"{key} is empty")

    def _defaults(self, content: Mapping[str, Any]) -> None:
        self.defaults = self._section(("defaults",), content)

    def _jobs(self, content: Mapping[str, Any]) -> None:
        for name, job in content.items():
            if not name.strip():
                self._note("jobs has an empty name")
            elif self._is_table(key_text("jobs", name), job):
                self.jobs[name] = self._section(("jobs", name), job)

    def _section(self, keys: tuple[str, ...], content: Mapping[str, Any]) -> Section:
        for key in content:
            if "-" in key and key.replace("-", "_") in content:
                self._note(f"{key_text(*keys, key)} is set twice, with a hyphen and an underscore")
        return Section(name=f"{self._path}: {key_text(*keys)}", values=content)

    def _is_table(self, name: str, content: Any) -> bool:
        if not isinstance(content, dict):
            self._note(f"{name} must be a table, [{name}]")
        return isinstance(content, dict)

    def _note(self, text: str) -> None:
        self.problems.append(f"{self._path}: {text}")
