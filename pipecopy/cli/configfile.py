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

from pipecopy.cli.substitution import Expanded, Unset, as_written, expand, variables_in
from pipecopy.errors import ConfigError
from pipecopy.finding import did_you_mean
from pipecopy.postgres.conninfo import is_connection, malformed
from pipecopy.redact import redact

SIDES = ("source", "target")
EXTENDS = "extends"
"""The key of a job that is no option."""
_SECTIONS = ("databases", "defaults", "engine", "jobs")
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
        kinds = [get_origin(hint)] if get_origin(hint) is tuple else (types or [hint])
        kind = kinds[-1]  # that of a list, if a name alone will do as well
        of, what = _KINDS[get_origin(kind) or kind]
        what = f"a name or {what}" if len(kinds) > 1 else what
        if isinstance(value, Unset) or (isinstance(value, Expanded) and of is bool):
            return None
        is_right = isinstance(value, of) and isinstance(value, bool) == (of is bool)
        if is_right and isinstance(value, list):
            wrong = [item for item in value if not isinstance(item, str)]
            return f"{what}, not a list with {_shown(wrong[0])}" if wrong else None
        return None if is_right else f"{what}, not {_shown(value)}"


@dataclass(frozen=True, kw_only=True)
class ConfigFile:
    """What the file says. Its `repr` shows no password."""

    path: str
    """As the user names it."""
    open_to_others: bool
    """Other users of the machine may read it."""
    holds_password: bool
    """There is one in a connection string, and not only a variable with it."""
    databases: Mapping[str, str] = field(repr=False)
    """Connection strings by name; an empty one if it is wrong, or not known."""
    unset: Mapping[str, Unset]
    """Why connection strings are not known, by name."""
    defaults: Section
    engine: Section
    """What drives sharded runs on this host."""
    jobs: Mapping[str, Section]
    parents: Mapping[str, object]
    """What a job extends, as it is written: the name of a job, if it is right."""
    variables: Collection[str]
    """The names of those that it refers to."""
    problems: tuple[str, ...]
    """What is wrong with its form, each with the file and the key."""

    def chain(self, job: str) -> list[str]:
        """Return the job and those that it extends, the nearest first, as far as they are known."""
        names: list[str] = []
        name: object = job
        while isinstance(name, str) and name in self.jobs and name not in names:
            names.append(name)
            name = self.parents.get(name)
        return names

    def wrong_databases(self) -> Iterator[str]:
        """Say which connection strings are not valid."""
        for name, text in self.databases.items():
            if text.strip() and (wrong := malformed(text)):
                yield f"{self.path}: {key_text('databases', name)}: {wrong}"

    def wrong_job(self, name: str, *, given: Collection[str]) -> Iterator[str]:
        """Say what the job extends in vain, and which of its databases is unknown or missing.

        `given` are the options that variables set: a job may do without them.
        """
        yield from self.wrong_parent(name)
        job = self.jobs[name]
        yield from self.wrong_sides(job)
        chain = self.chain(name)
        if any(True for one in chain for _ in self.wrong_parent(one)):
            return  # it may have them from there
        sections = [*(self.jobs[one] for one in chain), self.defaults]
        for side in SIDES:
            if not any(side in place for place in (given, *(one.values for one in sections))):
                yield f"{job.name} has no {side}"

    def wrong_parent(self, name: str) -> Iterator[str]:
        """Say what is wrong with what the job extends."""
        parent = self.parents.get(name)
        origin = self.jobs[name].origin(EXTENDS)
        chain = self.chain(name)
        if name in self.parents and not isinstance(parent, str):
            yield f"{origin} must be the name of a job, not {_shown(parent)}"
        elif isinstance(parent, str) and parent not in self.jobs:
            known = did_you_mean(parent, self.jobs)
            yield f'{origin}: there is no job "{parent}"{known}'
        elif self.parents.get(chain[-1]) == name:
            first = next(one for one in self.jobs if one in chain)  # one message for the circle
            circle = " extends ".join(map(json.dumps, [*self.chain(first), first]))
            yield f"{self.jobs[first].origin(EXTENDS)}: a job can't extend itself: {circle}"

    def wrong_sides(self, section: Section) -> Iterator[str]:
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


def read_config_file(path: str, environ: Mapping[str, str]) -> ConfigFile:
    """Read the file, with the values of the variables that it refers to.

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
    reader = _Reader(path, environ)
    reader.read(document)
    return ConfigFile(
        path=path,
        open_to_others=bool(mode & (stat.S_IRGRP | stat.S_IROTH)),
        holds_password=reader.holds_password,
        databases=reader.databases,
        unset=reader.unset,
        defaults=reader.defaults,
        engine=reader.engine,
        jobs=reader.jobs,
        parents=reader.parents,
        variables=frozenset(reader.variables),
        problems=tuple(reader.problems),
    )


def _text(path: str) -> tuple[str, int]:
    try:
        with Path(path).expanduser().open("rb") as file:  # a crontab's variables keep their ~
            raw, mode = file.read(), os.fstat(file.fileno()).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError from None
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

    def __init__(self, path: str, environ: Mapping[str, str]) -> None:
        self._path = path
        self._environ = environ
        self.problems: list[str] = []
        self.variables: set[str] = set()
        self.holds_password = False
        self.databases: dict[str, str] = {}
        self.unset: dict[str, Unset] = {}
        self.parents: dict[str, object] = {}
        self.defaults = Section(name=f"{path}: defaults", values={})
        self.engine = Section(name=f"{path}: engine", values={})
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
            value = self._connection(key, text)
            self.databases[name] = str(value) if isinstance(value, str) else ""
            if isinstance(value, Unset):
                self.unset[name] = value
            elif not isinstance(text, str):  # never shown: it may be a password
                self._note(f"{key} must be a string: a URI, a connection string, a service")
            elif not self.databases[name].strip():
                self._note(f"{key} is empty")

    def _defaults(self, content: Mapping[str, Any]) -> None:
        self.defaults = self._section(("defaults",), content)

    def _engine(self, content: Mapping[str, Any]) -> None:
        self.engine = self._section(("engine",), content)

    def _jobs(self, content: Mapping[str, Any]) -> None:
        for name, job in content.items():
            if not name.strip():
                self._note("jobs has an empty name")
            elif self._is_table(key_text("jobs", name), job):
                options = {key: value for key, value in job.items() if key != EXTENDS}
                self.jobs[name] = self._section(("jobs", name), options)
                if EXTENDS in job:
                    self.parents[name] = job[EXTENDS]

    def _section(self, keys: tuple[str, ...], content: Mapping[str, Any]) -> Section:
        for key in content:
            if "-" in key and key.replace("-", "_") in content:
                self._note(f"{key_text(*keys, key)} is set twice, with a hyphen and an underscore")
        values = {
            key: (self._connection if key in SIDES else self._value)(key_text(*keys, key), value)
            for key, value in content.items()
        }
        return Section(name=f"{self._path}: {key_text(*keys)}", values=values)

    def _connection(self, key: str, value: Any) -> Any:
        """Return the value of what may be a connection string."""
        expanded = self._value(key, value)
        if isinstance(value, str):
            written = as_written(value)
            self.holds_password = self.holds_password or redact(written) != written
        return expanded

    def _value(self, key: str, value: Any) -> Any:
        try:
            self.variables |= variables_in(value)
            return expand(value, self._environ)
        except ValueError as error:
            self._note(f"{key}: {error}")
            return Unset(())  # there is nothing more to say of it

    def _is_table(self, name: str, content: Any) -> bool:
        if not isinstance(content, dict):
            self._note(f"{name} must be a table, [{name}]")
        return isinstance(content, dict)

    def _note(self, text: str) -> None:
        self.problems.append(f"{self._path}: {text}")
