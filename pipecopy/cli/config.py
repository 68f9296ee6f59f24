"""The options that the command line leaves open, from PIPECOPY_… variables and pipecopy.toml.

The command line comes first, then the environment, the job, those that it extends, the defaults of
the file, its engine, and the defaults of the options. What Cyclopts can't do is here: sections and
jobs, databases by name, all that is wrong at once, passwords in the open.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from typing import Any

from cyclopts import App, Argument, ArgumentCollection, CycloptsError, Token

from pipecopy.cli.configfile import SIDES, ConfigFile, Section, key_text, read_config_file
from pipecopy.cli.manyjobs import Jobs
from pipecopy.cli.places import NAME, Found, find
from pipecopy.cli.sections import (
    PREFIX,
    Options,
    Values,
    Variables,
    is_unset,
    leaves_of,
    more_of,
    options_of,
    together,
    wrong_value,
)
from pipecopy.cli.typed import Typed
from pipecopy.cli.wanted import Wanted
from pipecopy.errors import ConfigError
from pipecopy.finding import did_you_mean
from pipecopy.postgres.conninfo import is_connection, wrong_name
from pipecopy.redact import redact

_FILE = "config"
"""The option that names the file."""


@dataclass(frozen=True, kw_only=True)
class InFile:
    """What a command that lists the jobs is given."""

    found: Found
    values: Values
    environment: Section
    """The options that variables set."""


class WrongOptionsError(CycloptsError):
    """All that is wrong with the options; Cyclopts adds the words that belong to none."""

    def __str__(self) -> str:
        """Return it as it was written: Cyclopts' own loads rich for this."""
        return str(self.msg)


class Configuration:
    """Cyclopts calls it after reading the command line, before converting the values.

    It fills in what was not given, and keeps what it found out on the way.
    """

    def __init__(self, root: App, environ: Mapping[str, str], of_jobs: Collection[str]) -> None:
        self._values = Values(root, of_jobs)
        self._environ = environ
        self._problems: list[str] = []
        self.warnings: list[str] = []
        self.json = False
        """An error is written as JSON too, wherever that was asked for."""
        self.json_lines = False
        """Standard error is JSON as well, likewise."""
        self.typed = Typed()
        self.wanted: Sequence[Wanted] = ()
        """What each of several jobs copies."""
        self._sides: dict[str, Token] = {}
        """What is given for the source and the target."""
        self._found = Found(file=None)
        self._command = ""

    def __call__(self, _app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """Fill in the options; raises WrongOptionsError with all that is wrong with them."""
        options = options_of(arguments)
        self._more = more_of(arguments)
        sides = [options[side] for side in SIDES if side in options]
        self.typed = Typed.of([*sides, *self._more], options)
        for argument in leaves_of(arguments):
            if argument.has_tokens:
                name = argument.tokens[-1].keyword or argument.name
                self._problems += filter(None, [wrong_value(argument, name)])
        environment = self._environment(options)
        if SIDES[0] in options:
            self._fill_from_file(" ".join(commands), options, environment)
        else:
            self._problems += self._values.fill(options, environment)
        if _FILE in options and SIDES[0] not in options:
            self._give_jobs(options, environment)
        self._warn_of_unknown_variables()
        self.json = _value_of(options.get("json")) is True
        self.json_lines = _value_of(options.get("log_format")) == "json"
        bad_together = together(options, many=bool(self.wanted))
        self._problems += [bad for bad in bad_together if bad not in "; ".join(self._problems)]
        if self._problems:
            raise WrongOptionsError(msg=redact("; ".join(dict.fromkeys(self._problems))))

    def check_names(self) -> None:
        """Raise ConfigError if no database can be meant by what is given for a side."""
        wrong = [self._wrong_name(side, token) for side, token in self._sides.items()]
        if any(wrong):
            first = [each[0] for each in wrong if each]
            # where databases were looked for is the same for both
            rest = [more for each in wrong for more in each[1:]]
            raise ConfigError("; ".join(dict.fromkeys([*first, *rest])))

    def _wrong_name(self, side: str, token: Token) -> list[str]:
        file, name, origin = self._found.file, token.value, token.keyword or side.upper()
        wrong = wrong_database(name, self._found)
        if wrong and file is not None and name in file.jobs:
            alone = f"{self._command} takes jobs alone, without a database"
            wrong = [f'"{name}" is a job: {alone}']
        return [f"{origin}: {wrong[0]}", *wrong[1:]] if wrong else []

    def _environment(self, options: Options) -> Section:
        """Return the variables of the command; an empty one counts as not set, as for libpq."""
        own = {PREFIX + option.upper(): option for option in options}
        values = {own[n]: self._environ[n] for n in sorted(own) if self._environ.get(n)}
        section = Variables(name="environment", values=values)
        self._problems += self._values.wrong(section, options)
        return section

    def _warn_of_unknown_variables(self) -> None:
        """Warn of variables that look like those of options, and that the file does not use."""
        given = {name for name, text in self._environ.items() if text and name.startswith(PREFIX)}
        if self._found.file is not None:
            given -= {*self._found.file.variables}
        if given:
            known = {PREFIX + option.upper() for option in self._values.all()}
            for name in sorted(given - known):
                hint = _hint(name.upper(), known, prefix=PREFIX)
                self.warnings.append(f"{name} is an unknown variable{hint}")

    def _fill_from_file(self, command: str, options: Options, environment: Section) -> None:
        self.warnings += _passwords_seen(options)
        self._command = command
        names_sides, jobs = False, None
        sections = [environment]
        try:
            self._found = self._find(options, environment)
            jobs = self._jobs(options, environment)
            job = [] if jobs else self._job(options)
            sections += job
            names_sides = not (job or jobs)  # a job has both, or the file is wrong
        except ConfigError as error:
            self._problems.append(str(error))
        file = self._found.file
        if file is not None:
            self._problems += self._values.wrong_file(file, given=environment.values)
            self.warnings += _password_readable(file)
            sections.append(file.defaults)
        if jobs is not None:
            self._problems += jobs.fill(self._values, options)
            self.wanted = jobs.wanted
        for section in sections:
            self._problems += self._values.fill(options, section)
        if file is not None:
            many = jobs is not None
            self._problems += self._values.fill_engine(options, file.engine, many=many)
        missing = [side.upper() for side in SIDES if not options[side].has_tokens]
        if missing and (names_sides or not self._problems):
            self._problems.append(f"{' and '.join(missing)} not given: {self._takes}")
        if not missing:
            self._sides = {side: options[side].tokens[-1] for side in SIDES}
            self._problems += unset_databases(options, file)
        if file is not None and not self._problems:
            names = [options[side].tokens[-1].value for side in SIDES]
            found = {name: file.databases[name] for name in names if name in file.databases}
            options[_FILE].tokens = [Token(value=file.path, implicit_value=found)]

    def _give_jobs(self, options: Options, environment: Section) -> None:
        """Give the command that lists the jobs what it needs, instead of filling anything in."""
        try:
            self._found = self._find(options, environment)
        except ConfigError as error:
            self._problems.append(str(error))
            return
        file = self._found.file
        if file is not None:
            on = f"the jobs are those of {file.path}"
            self.warnings += [f"{one}; {on}" for one in self._found.unread]
            self.warnings += _password_readable(file)
        given = InFile(
            found=self._found,
            values=self._values,
            environment=self._environment(self._values.of_jobs()),
        )
        options[_FILE].tokens = [Token(value="", implicit_value=given)]

    def _find(self, options: Options, environment: Section) -> Found:
        path, origin = None, "--config"
        if options[_FILE].has_tokens:
            path = options[_FILE].tokens[-1].value
        elif _FILE in environment.values:
            path, origin = environment.values[_FILE], environment.origin(_FILE)
        options[_FILE].tokens = []
        if path is None:
            return find(self._environ)
        if not path:
            raise ConfigError(f"{origin} is empty")
        try:
            return Found(file=read_config_file(path, self._environ), named=True)
        except FileNotFoundError:
            raise ConfigError(f"there is no file {path}, which {origin} names") from None

    def _job(self, options: Options) -> list[Section]:
        """Return the job that is named instead of the two databases, with those it extends."""
        source, target = (options[side] for side in SIDES)
        file = self._found.file
        is_job = source.has_tokens and not target.has_tokens
        if file is not None or not is_job:
            on = f"with {file.path}" if file else "without the file"
            self.warnings += [f"{one}; this run goes on {on}" for one in self._found.unread]
        if not is_job:
            return []
        name = source.tokens[-1].value
        source.tokens = []
        if is_connection(name):
            raise ConfigError(f"TARGET not given: {self._takes}")
        if file is None:
            raise ConfigError(f"{no_job(name, self._found)}; {self._takes}")
        if name not in file.jobs and name in file.databases:
            message = f'{file.path} has no job "{name}", but a database of that name'
            raise ConfigError(f"{message}: {self._takes}")
        if name not in file.jobs:
            raise ConfigError(no_job(name, self._found))
        return [file.jobs[one] for one in file.chain(name)]

    def _jobs(self, options: Options, environment: Section) -> Jobs | None:
        """Return the jobs if several are named instead of the two databases."""
        unknown = [word.partition("=")[0] for word in _words(self._more) if word.startswith("-")]
        if unknown:  # what follows one may be its value
            for one in self._more:
                one.tokens = []
            known = [f"--{option.replace('_', '-')}" for option in options]
            self._problems += [
                f"{word} is an unknown option{did_you_mean(word, known)}" for word in unknown
            ]
        places = [*(options[side] for side in SIDES), *self._more]
        names = _words(places)
        file = self._found.file
        jobs = {} if file is None else file.jobs
        others = [name for name in names if name not in jobs]
        if len(names) > len(SIDES) and any(map(is_connection, names)):
            raise ConfigError("too many arguments: one with spaces in it is written in quotes")
        if len(names) > len(SIDES) and len(others) == len(names):
            raise ConfigError(f"unexpected argument: {' '.join(names[len(SIDES) :])}")
        if len(names) > len(SIDES) and others:
            raise ConfigError(f"{no_job(others[0], self._found)}; {self._takes}")
        if file is None or others or len(names) < len(SIDES):
            return None
        if len(names) == len(SIDES) and not any(wrong_database(one, self._found) for one in names):
            raise ConfigError(
                f"{' and '.join(names)} are names of jobs as well as of databases: give the"
                " databases as connection strings, such as service=prod, or the jobs other names"
            )
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ConfigError(f"the job {twice} is named twice")
        for place in places:
            place.tokens = []
        return Jobs(file, names, options, environment)

    @property
    def _takes(self) -> str:
        return f"{self._command} takes a SOURCE and a TARGET, or names of jobs"


def wrong_database(name: str, found: Found) -> list[str]:
    """Say what is wrong with a name that is to be connected to, and where it was looked for."""
    file = found.file
    databases = {} if file is None else file.databases
    among = "[databases]" if file is None else f"[databases] of {file.path}"
    wrong = wrong_name(name, databases, among=among)
    if wrong is None or name in databases or is_connection(name):
        return [] if wrong is None else [wrong]
    looked = [found.why_none]
    if file is not None:
        looked = ["" if databases else f"{file.path} has no databases", found.not_read()]
    return [wrong, *filter(None, looked)]


def unset_databases(options: Options, file: ConfigFile | None) -> list[str]:
    """Say which databases of a command are not known, since variables are not set."""
    if file is None:
        return []
    names = [options[side].tokens[-1].value for side in SIDES if not is_unset(options[side])]
    unset = {name: file.unset[name] for name in names if name in file.unset}
    return [f"{file.path}: {key_text('databases', name)}: {why}" for name, why in unset.items()]


def no_job(name: str, found: Found) -> str:
    """Return that there is no such job, and where it was looked for."""
    file = found.file
    if file is None:
        return (
            f'there is no job "{name}": {found.why_none}, and neither --config nor PIPECOPY_CONFIG'
            " names a file"
        )
    jobs = f"its jobs: {', '.join(file.jobs)}" if file.jobs else "it has no jobs"
    said = f'{file.path} has no job "{name}"; {jobs}{did_you_mean(name, file.jobs)}'
    return "; ".join(filter(None, [said, found.why_none, found.not_read()]))


def _words(arguments: Sequence[Argument]) -> list[str]:
    return [token.value for one in arguments for token in one.tokens]


def _hint(name: str, known: Collection[str], *, prefix: str) -> str:
    """Return the same as `did_you_mean`, by what the names have behind the prefix."""
    rests = [one.removeprefix(prefix) for one in known]
    return did_you_mean(name.removeprefix(prefix), rests, prefix.__add__)


def _value_of(option: Argument | None) -> Any:
    """Return the value; None without one, or if it is wrong."""
    if option is None or not option.has_tokens:
        return None
    with suppress(CycloptsError):  # it was noted
        return copy(option).convert()
    return None


def _passwords_seen(options: Options) -> list[str]:
    texts = {side: options[side].tokens[-1].value for side in SIDES if options[side].has_tokens}
    return [
        f"the password in {side.upper()} is visible to everyone who may list processes;"
        f" put it in ~/.pgpass, a service file, PGPASSWORD or {NAME}"
        for side, text in texts.items()
        if redact(text) != text
    ]


def _password_readable(file: ConfigFile) -> list[str]:
    if not (file.open_to_others and file.holds_password):
        return []
    what = f"other users may read {file.path}, which contains a password"
    return [f"{what}; run chmod 600 {file.path}"]
