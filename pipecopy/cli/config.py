"""The options that the command line leaves open, from PIPECOPY_… variables and pipecopy.toml.

The command line comes first, then the environment, the job, the defaults of the file, and the
defaults of the options. Cyclopts converts each value by the option itself; what it can't do is
here: sections and jobs, databases by name, all that is wrong at once, passwords in the open.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from copy import copy
from typing import Any

from cyclopts import App, Argument, ArgumentCollection, CycloptsError, Token
from cyclopts import ValidationError as OutOfBounds

from pipecopy.cli.configfile import (
    SIDES,
    ConfigFile,
    Section,
    UnreadableError,
    read_config_file,
)
from pipecopy.cli.options import Limits, conflicts, to_columns
from pipecopy.errors import ConfigError
from pipecopy.finding import did_you_mean
from pipecopy.postgres.conninfo import is_connection, wrong_name
from pipecopy.redact import redact

DEFAULT_FILE = "pipecopy.toml"
PREFIX = "PIPECOPY_"
_FILE = "config"
"""The option that names the file: the commands with a source and a target have it."""
_CONFLICTING = {
    *("from_id", "to_id", "resume", "columns", "exclude", "where"),
    *("batch_time", "call_timeout"),
}
_OPPOSITES = {"columns": "exclude", "exclude": "columns"}
"""Two ways to say the same: one on the command line takes the place of the other in a job."""
_OF_VERIFY = {"repair", "delete_surplus"}

Options = Mapping[str, Argument]
"""The options and the two sides of a command by name, as `batch_size` and `source`."""


class Variables(Section):
    """The section that the environment is."""

    def origin(self, key: str) -> str:
        """Return the name of the variable."""
        return PREFIX + key.upper()

    def wanted(self, _hint: Any, _value: object) -> None:
        """Return None: a variable is a text, as an argument of the command line is."""


class WrongOptionsError(CycloptsError):
    """All that is wrong with the options; Cyclopts adds the words that belong to none."""

    def __str__(self) -> str:
        """Return it as it was written: Cyclopts' own loads rich for this."""
        return str(self.msg)


class Configuration:
    """Cyclopts calls it after reading the command line, before converting the values.

    It fills in what was not given, and keeps what it found out on the way.
    """

    def __init__(self, root: App, environ: Mapping[str, str]) -> None:
        self._root = root
        self._environ = environ
        self._problems: list[str] = []
        self.warnings: list[str] = []
        self.json = False
        """An error is written as JSON too, wherever that was asked for."""
        self.quiet = False
        self._unread = ""
        """Why the file that nobody named was not read, if it may be there."""
        self._sides: dict[str, Token] = {}
        """What is given for the source and the target."""
        self._file: ConfigFile | None = None
        self._command = ""

    def __call__(self, _app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """Fill in the options; raises WrongOptionsError with all that is wrong with them."""
        options = _options(arguments)
        for argument in options.values():
            if argument.has_tokens:
                self._tried(copy(argument), argument.tokens[-1].keyword or argument.name)
        environment = self._environment(options)
        if _FILE in options:
            self._fill_from_file(" ".join(commands), options, environment)
        else:
            self._fill(options, environment)
        self.json, self.quiet = _is_on(options.get("json")), _is_on(options.get("quiet"))
        together = conflicts(**self._together(options))
        self._problems += [bad for bad in together if bad not in "; ".join(self._problems)]
        if self._problems:
            raise WrongOptionsError(msg=redact("; ".join(dict.fromkeys(self._problems))))

    def _together(self, options: Options) -> dict[str, Any]:
        """Return the valid ones of the options that may not go together."""
        values: dict[str, Any] = {}
        for name in (_CONFLICTING | _OF_VERIFY) & options.keys():
            if options[name].has_tokens:
                with suppress(CycloptsError):  # it was noted
                    values[name] = copy(options[name]).convert_and_validate()
            elif name == "call_timeout":
                values[name] = Limits.call_timeout
        return values

    def check_names(self) -> None:
        """Raise ConfigError if no database can be meant by what is given for a side."""
        wrong = [self._wrong_name(side, token) for side, token in self._sides.items()]
        if any(wrong):
            raise ConfigError("; ".join(filter(None, wrong)))

    def _wrong_name(self, side: str, token: Token) -> str | None:
        file, name, origin = self._file, token.value, token.keyword or side.upper()
        databases = {} if file is None else file.databases
        wrong = wrong_name(name, databases, among="[databases]")
        if wrong is None:
            return None
        if file is not None and name in file.jobs:
            wrong = f'"{name}" is a job: {self._command} takes it alone, without another database'
        return f"{origin}: {wrong}"

    def _environment(self, options: Options) -> Section:
        """Return the variables of the command; an empty one counts as not set, as for libpq."""
        own = {PREFIX + option.upper(): option for option in options}
        given = {name: text for name, text in self._environ.items() if text}
        others = sorted(n for n in given if n.startswith(PREFIX) and n not in own)
        known = self._variables() if others else ()
        for name in others:
            if name not in known:
                hint = _hint(name.upper(), known, prefix=PREFIX)
                self.warnings.append(f"{name} is an unknown variable{hint}")
        values = {own[name]: given[name] for name in sorted(own.keys() & given)}
        self._check(Variables(name="environment", values=values), options)
        return Variables(name="environment", values=values)

    def _fill_from_file(self, command: str, options: Options, environment: Section) -> None:
        self.warnings += _passwords_seen(options)
        file, names_sides = None, False
        sections = [environment]
        try:
            file = self._read(options, environment)
            job = self._job(command, options, file)
            sections += job
            names_sides = not job  # a job has both, or the file is wrong
        except ConfigError as error:
            self._problems.append(str(error))
        if file is not None:
            self._check_file(file, given=environment.values)
            self.warnings += _password_readable(file)
            sections.append(file.defaults)
        for section in sections:
            self._fill(options, section)
        missing = [side.upper() for side in SIDES if not options[side].has_tokens]
        if missing and (names_sides or not self._problems):
            self._problems.append(f"{' and '.join(missing)} not given: {_takes(command)}")
        if not missing:
            self._file, self._command = file, command
            self._sides = {side: options[side].tokens[-1] for side in SIDES}
        if file is not None and not self._problems:
            names = [options[side].tokens[-1].value for side in SIDES]
            found = {name: file.databases[name] for name in names if name in file.databases}
            options[_FILE].tokens = [Token(value=file.path, implicit_value=found)]

    def _read(self, options: Options, environment: Section) -> ConfigFile | None:
        path, origin = DEFAULT_FILE, ""
        if options[_FILE].has_tokens:
            path, origin = options[_FILE].tokens[-1].value, "--config"
        elif _FILE in environment.values:
            path, origin = environment.values[_FILE], environment.origin(_FILE)
        options[_FILE].tokens = []
        if not path:
            raise ConfigError(f"{origin} is empty")
        try:
            return read_config_file(path)
        except FileNotFoundError:
            if origin:
                raise ConfigError(f"there is no file {path}, which {origin} names") from None
        except UnreadableError as error:  # such as in /root, after sudo -u
            if origin:
                raise
            self._unread = str(error)
        return None

    def _job(self, command: str, options: Options, file: ConfigFile | None) -> list[Section]:
        """Return the job that is named instead of the two databases, if one is."""
        source, target = (options[side] for side in SIDES)
        if not source.has_tokens or target.has_tokens:
            if self._unread:
                self.warnings.append(f"{self._unread}; this run goes on without the file")
            return []
        name = source.tokens[-1].value
        source.tokens = []
        if is_connection(name):
            raise ConfigError(f"TARGET not given: {_takes(command)}")
        if file is None:
            raise ConfigError(
                f'there is no job "{name}":'
                f" {self._unread or 'the working directory has no pipecopy.toml'}, and neither"
                f" --config nor PIPECOPY_CONFIG names another file; {_takes(command)}"
            )
        if name in file.jobs:
            return [file.jobs[name]]
        if name in file.databases:
            message = f'{file.path} has no job "{name}", but a database of that name'
            raise ConfigError(f"{message}: {_takes(command)}")
        jobs = f"its jobs: {', '.join(file.jobs)}" if file.jobs else "it has no jobs"
        raise ConfigError(f'{file.path} has no job "{name}"; {jobs}{did_you_mean(name, file.jobs)}')

    def _check_file(self, file: ConfigFile, *, given: Collection[str]) -> None:
        """Note all that is wrong with the file, whatever part of it is asked for."""
        self._problems += file.problems
        options: dict[str, Argument] = {}  # a job serves every command
        for of_command in self._commands():
            if of_command.pop(_FILE, None) is not None:
                options |= of_command
        for section in (file.defaults, *file.jobs.values()):
            self._check(section, options)
        self._problems += file.wrong_databases(given=given)

    def _check(self, section: Section, options: Options) -> None:
        """Note what is wrong with each value of the section by itself, and with all together."""
        good = {}
        for key in section.values:
            option, value = _option(key), section.values[key]
            if option in options and (wanted := section.wanted(options[option].hint, value)):
                self._problems.append(f"{section.origin(key)} must be {wanted}")
            elif option in options:
                probe = copy(options[option])
                probe.tokens = []
                good[option] = self._tried(probe, section.origin(key), section, key)
            else:
                hint = did_you_mean(option, options)
                self._problems.append(f"{section.origin(key)} is an unknown option{hint}")
        if not isinstance(section, Variables):  # what these set, an option may take back
            together = {n: good[n] for n in _CONFLICTING & good.keys() if good[n] is not None}
            self._problems += [f"{section.name}: {bad}" for bad in conflicts(**together)]

    def _tried(
        self, argument: Argument, origin: str, section: Section | None = None, key: str = ""
    ) -> Any:
        """Return the value of an option as the option converts it; note what is wrong with it."""
        try:
            if section is not None:
                self._give(argument, section, key)
            return argument.convert_and_validate()
        except OutOfBounds as error:
            self._problems.append(f"{origin} {error.exception_message}")
        except CycloptsError as error:
            self._problems.append(f"{origin}: {error.msg or 'this is not a valid value'}")
        return None

    def _fill(self, options: Options, section: Section) -> None:
        """Give the options that have no value yet, nor their opposite, those of the section."""
        given = {name for name, argument in options.items() if argument.has_tokens}
        given |= {_OPPOSITES[name] for name in given & _OPPOSITES.keys()}
        for key in section.values:
            argument = options.get(_option(key))
            if argument is not None and _option(key) not in given:
                with suppress(CycloptsError):  # it was noted
                    self._give(argument, section, key)

    def _give(self, argument: Argument, section: Section, key: str) -> None:
        value = section.values[key]
        if key in SIDES:  # a source of Cyclopts does not know positional arguments by name
            argument.append(Token(keyword=section.origin(key), value=str(value)))
        elif argument.parameter.converter is to_columns and isinstance(value, list) and value:
            # Cyclopts' own makes texts of the items, and that of a single one may be read as a list
            argument.append(Token(keyword=section.origin(key), implicit_value=tuple(value)))
        else:
            from cyclopts.config import Dict  # noqa: PLC0415 - takes 3 ms: seldom needed

            source = Dict({key: value}, source=section.name, use_commands_as_keys=False)
            alone = ArgumentCollection([argument])  # type: ignore[no-untyped-call] # it has no hints
            source(self._root, (), alone)

    def _commands(self) -> Iterator[dict[str, Argument]]:
        """Yield the options of each command."""
        for name in self._root:
            if not name.startswith("-"):  # --help and --version are commands as well
                yield _options(self._root[name].assemble_argument_collection())

    def _variables(self) -> set[str]:
        return {PREFIX + option.upper() for options in self._commands() for option in options}


def _option(key: str) -> str:
    return key.replace("-", "_")


def _options(arguments: ArgumentCollection) -> dict[str, Argument]:
    leaves = [argument for argument in arguments if argument.parse and not argument.children]
    return {_option(one.name.removeprefix("--")).lower(): one for one in leaves}


def _takes(command: str) -> str:
    return f"{command} takes a SOURCE and a TARGET, or the name of a job"


def _hint(name: str, known: Collection[str], *, prefix: str) -> str:
    """Return the same as `did_you_mean`, by what the names have behind the prefix."""
    rests = [one.removeprefix(prefix) for one in known]
    return did_you_mean(name.removeprefix(prefix), rests, prefix.__add__)


def _is_on(flag: Argument | None) -> bool:
    if flag is None or not flag.has_tokens:
        return False
    with suppress(CycloptsError):  # it was noted
        return flag.convert() is True
    return False


def _passwords_seen(options: Options) -> list[str]:
    texts = {side: options[side].tokens[-1].value for side in SIDES if options[side].has_tokens}
    return [
        f"the password in {side.upper()} is visible to everyone who may list processes;"
        f" put it in ~/.pgpass, a service file, PGPASSWORD or {DEFAULT_FILE}"
        for side, text in texts.items()
        if redact(text) != text
    ]


def _password_readable(file: ConfigFile) -> list[str]:
    if not (file.open_to_others and file.holds_password):
        return []
    what = f"other users may read {file.path}, which contains a password"
    return [f"{what}; run chmod 600 {file.path}"]
