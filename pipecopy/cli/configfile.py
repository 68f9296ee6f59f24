"""The configuration file: named databases, named jobs, and defaults for all jobs."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipecopy.cli.kinds import Kind
from pipecopy.cli.options import wrong_with
from pipecopy.cli.settings import Setting, Settings, hint, read_setting
from pipecopy.errors import ConfigError
from pipecopy.redact import redact

_SECTIONS = ("databases", "defaults", "jobs")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, kw_only=True)
class ConfigFile:
    """What the file says. Its `repr` shows no password."""

    path: str
    """As the user names it."""
    databases: Mapping[str, str] = field(repr=False)
    """Connection strings by name."""
    defaults: Settings
    jobs: Mapping[str, Settings]
    wrong: frozenset[str]
    """The keys that are set to what they can't be, and so are in nothing above."""
    problems: tuple[str, ...]
    """A sentence for each thing that is wrong, with the file and the key."""
    open_to_others: bool
    """Other users of the machine may read it."""

    @property
    def holds_password(self) -> bool:
        """Whether a connection string has a password in it."""
        texts = [*self.databases.values()]
        for settings in (self.defaults, *self.jobs.values()):
            texts += [settings[side].value for side in ("source", "target") if side in settings]
        return any(redact(text) != text for text in texts)


def key_text(*parts: str) -> str:
    """Return a key as TOML writes it: `jobs.nightly.key`, in quotes where it needs them."""
    return ".".join(
        part if _BARE.fullmatch(part) else json.dumps(part, ensure_ascii=False) for part in parts
    )


def read_config_file(path: str, kinds: Callable[[], Mapping[str, Kind]]) -> ConfigFile:
    """Read all of the file, whose keys are the options that have these kinds.

    Raises:
        FileNotFoundError: there is none.
        ConfigError: it can't be read, or is no TOML.

    """
    text, mode = _text(path)
    import tomllib  # noqa: PLC0415 - only where there is a file

    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number may have too many digits
        raise ConfigError(f"{path} is no TOML: {_where(error, text)}") from None
    reader = _Reader(path, kinds())
    reader.sections(document)
    return ConfigFile(
        path=path,
        databases=reader.databases,
        defaults=reader.defaults,
        jobs=reader.jobs,
        wrong=frozenset(reader.wrong),
        problems=tuple(reader.problems),
        open_to_others=bool(mode & (stat.S_IRGRP | stat.S_IROTH)),
    )


def _text(path: str) -> tuple[str, int]:
    try:
        with Path(path).expanduser().open("rb") as file:  # a crontab's variables keep their ~
            raw, mode = file.read(), os.fstat(file.fileno()).st_mode
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from None
    try:
        return raw.decode(), mode
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path} is not encoded in UTF-8: line {line}") from None


def _where(error: Exception, text: str) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
    return str(error).replace("at end of document", f"at line {line}, column {column}, the end")


class _Reader:
    """Takes the document apart, and notes all that is wrong with it."""

    def __init__(self, path: str, kinds: Mapping[str, Kind]) -> None:
        self._path = path
        self._kinds = kinds
        self.problems: list[str] = []
        self.databases: dict[str, str] = {}
        self.defaults: Settings = {}
        self.jobs: dict[str, Settings] = {}
        self.wrong: set[str] = set()

    def sections(self, document: Mapping[str, Any]) -> None:
        for name, content in document.items():
            if name not in _SECTIONS:
                self._unknown_section(name, content)
            elif self._is_table(name, content):
                getattr(self, f"_{name}")(content)

    def _unknown_section(self, name: str, content: Any) -> None:
        if isinstance(content, dict):
            known = ", ".join(f"[{one}]" for one in _SECTIONS)
            self._note(f"[{name}] is none of the sections {known}")
        else:
            self._note(f"{name} is in no section: options belong in [defaults] or [jobs.NAME]")

    def _databases(self, content: Mapping[str, Any]) -> None:
        for name, text in content.items():
            key = key_text("databases", name)
            if not name.strip():
                self._note("databases has an empty name")
            elif not isinstance(text, str):  # never shown: it may be a password
                self._wrong(key, f"{key} must be a string: a URI, a connection string, a service")
            elif wrong := wrong_with(text):
                self._wrong(key, f"{key} {wrong}")
            else:
                self.databases[name] = text

    def _defaults(self, content: Mapping[str, Any]) -> None:
        self.defaults = self._settings(("defaults",), content)

    def _jobs(self, content: Mapping[str, Any]) -> None:
        for name, job in content.items():
            if not name.strip():
                self._note("jobs has an empty name")
            elif self._is_table(key_text("jobs", name), job):
                self.jobs[name] = self._settings(("jobs", name), job)

    def _settings(self, section: tuple[str, ...], content: Mapping[str, Any]) -> Settings:
        found: dict[str, Setting] = {}
        for key, raw in content.items():
            option = key.replace("-", "_")
            name = key_text(*section, key)
            if option not in self._kinds:
                self._note(f"{name} is no option{hint(option, {one: one for one in self._kinds})}")
            elif option in found:
                self._note(f"{name} is set twice, with a hyphen and with an underscore")
            else:
                kind = self._kinds[option]
                origin = f"{self._path}: {name}"
                try:
                    found[option] = read_setting(option, raw, kind, kind.of_toml, origin)
                except ValueError as error:
                    self.wrong.add(name)
                    self.problems.append(str(error))
        return found

    def _is_table(self, name: str, content: Any) -> bool:
        if not isinstance(content, dict):
            self._note(f"{name} must be a table, [{name}]")
        return isinstance(content, dict)

    def _wrong(self, key: str, text: str) -> None:
        self.wrong.add(key)
        self._note(text)

    def _note(self, text: str) -> None:
        self.problems.append(f"{self._path}: {text}")
