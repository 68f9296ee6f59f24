"""What the command line leaves open: from `PIPECOPY_…` variables, and from the file.

The command line comes first, then the environment, the job, the file's defaults, and the options'
own defaults.
"""

from __future__ import annotations

from collections.abc import Mapping

from cyclopts import App, Argument, ArgumentCollection, Token

from pipecopy.cli.configfile import ConfigFile, read_config_file
from pipecopy.cli.environment import read_environment
from pipecopy.cli.jobs import SIDES, no_such_job, problems_of_jobs
from pipecopy.cli.kinds import Kind, kind_of
from pipecopy.cli.settings import Settings
from pipecopy.errors import ConfigError
from pipecopy.redact import redact

DEFAULT_FILE = "pipecopy.toml"
_FILE = "config"
"""The option that names the file: the commands with a source and a target have it."""

Options = Mapping[str, Argument]
"""The options and the two sides of one command by name, as `batch_size` and `source`."""


class Configuration:
    """Cyclopts calls it when it has read the command line, before it converts the values.

    It fills in what was not given, and keeps what it found out on the way.
    """

    def __init__(self, root: App, environ: Mapping[str, str]) -> None:
        self._root = root
        self._environ = environ
        self.warnings: tuple[str, ...] = ()
        self.json = False
        """The error is told as JSON too, wherever that was asked for."""
        self.quiet = False

    def __call__(self, _app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """Fill in the options; raises ConfigError with all that is wrong where they come from."""
        options = _options(arguments)
        environment = read_environment(
            self._environ, _kinds(options), of_others=self._kinds_of_commands
        )
        self.warnings += environment.warnings
        problems = [*environment.problems]
        if _FILE in options:
            self._with_file(" ".join(commands), options, environment.settings, problems)
        else:
            _fill(options, environment.settings)
        self.json, self.quiet = _is_on(options.get("json")), _is_on(options.get("quiet"))
        if problems:
            raise ConfigError("; ".join(problems))

    def _with_file(
        self, command: str, options: Options, environment: Settings, problems: list[str]
    ) -> None:
        """Fill in the options of a command between two databases; add what is wrong."""
        self.warnings += _passwords_seen(options)
        file = None
        job: Settings = {}
        defaults: Settings = {}
        try:
            file = self._read_file(options, environment)
            job = _job(command, options, file, problems)
        except ConfigError as error:
            problems.append(str(error))
        if file is not None:
            problems += [*file.problems, *problems_of_jobs(file, given=environment)]
            self.warnings += _password_readable(file)
            defaults = file.defaults
        _fill(options, {**defaults, **job, **environment})
        if not problems:
            problems += _sides_missing(command, options)
        if file is not None and not problems:
            _give_connections(options, file)

    def _read_file(self, options: Options, environment: Settings) -> ConfigFile | None:
        path, origin = DEFAULT_FILE, ""
        if options[_FILE].has_tokens:
            path, origin = options[_FILE].tokens[-1].value, "--config"
        elif _FILE in environment:
            path, origin = environment[_FILE].value, environment[_FILE].origin
        try:
            return read_config_file(path, self._kinds_of_keys)
        except FileNotFoundError:
            if origin:
                raise ConfigError(f"there is no file {path}, which {origin} names") from None
            return None

    def _kinds_of_commands(self, *, with_file: bool = False) -> dict[str, Kind]:
        """Return the kinds of all commands' options, or of those that read the file."""
        found: dict[str, Kind] = {}
        for name in self._root:
            if not name.startswith("-"):  # --help and --version are commands as well
                options = _options(self._root[name].assemble_argument_collection())
                if _FILE in options or not with_file:
                    found |= _kinds(options)
        return found

    def _kinds_of_keys(self) -> dict[str, Kind]:
        """Return the kinds of what may stand in the file."""
        kinds = self._kinds_of_commands(with_file=True)
        del kinds[_FILE]
        return kinds


def _options(arguments: ArgumentCollection) -> dict[str, Argument]:
    return {
        argument.name.removeprefix("--").replace("-", "_").lower(): argument
        for argument in arguments
        if argument.parse and not argument.children
    }


def _kinds(options: Options) -> dict[str, Kind]:
    return {name: kind_of(argument) for name, argument in options.items()}


def _job(command: str, options: Options, file: ConfigFile | None, problems: list[str]) -> Settings:
    """Return the settings of the job that is named in the place of the two databases, if any."""
    source, target = (options[side] for side in SIDES)
    if not source.has_tokens or target.has_tokens:
        return {}
    name = source.tokens[-1].value
    source.tokens = []
    if file is None or name not in file.jobs:
        problems.append(no_such_job(name, file, command=command))
        return {}
    return file.jobs[name]


def _fill(options: Options, settings: Settings) -> None:
    for name, argument in options.items():
        if name in settings and name != _FILE and not argument.has_tokens:
            one = settings[name]
            argument.append(
                Token(keyword=one.origin, value=str(one.value), implicit_value=one.value)
            )


def _sides_missing(command: str, options: Options) -> list[str]:
    missing = [side.upper() for side in SIDES if not options[side].has_tokens]
    if not missing:
        return []
    what = f"{' and '.join(missing)} not given"
    return [f"{what}: {command} takes a SOURCE and a TARGET, or the name of a job"]


def _give_connections(options: Options, file: ConfigFile) -> None:
    """Let the command have the connection strings of its two databases, where they are named."""
    names = [_text(options[side]) for side in SIDES]
    found = {name: file.databases[name] for name in names if name in file.databases}
    options[_FILE].tokens = [Token(keyword="--config", value=file.path, implicit_value=found)]


def _text(argument: Argument) -> str:
    return argument.tokens[-1].value


def _is_on(flag: Argument | None) -> bool:
    return flag is not None and flag.has_tokens and flag.tokens[-1].implicit_value is True


def _passwords_seen(options: Options) -> tuple[str, ...]:
    return tuple(
        f"the password in {side.upper()} can be seen by everyone who may list processes;"
        f" ~/.pgpass, a service file, PGPASSWORD or {DEFAULT_FILE} keeps it to you"
        for side in SIDES
        if options[side].has_tokens and redact(_text(options[side])) != _text(options[side])
    )


def _password_readable(file: ConfigFile) -> tuple[str, ...]:
    if not (file.open_to_others and file.holds_password):
        return ()
    what = f"other users may read {file.path}, which has a password in it"
    return (f"{what}; chmod 600 {file.path} keeps it to you",)
