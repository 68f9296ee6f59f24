"""What the options make of the values of a section: of the environment, a job or the defaults.

Cyclopts converts each value by the option itself; it is asked for each alone, so that all that is
wrong is said at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from copy import copy
from typing import Any

from cyclopts import App, Argument, ArgumentCollection, CycloptsError, Token
from cyclopts import ValidationError as OutOfBounds

from pipecopy.cli.configfile import SIDES, ConfigFile, Section
from pipecopy.cli.kinds import to_columns
from pipecopy.cli.options import Limits, conflicts
from pipecopy.cli.substitution import Expanded, Unset
from pipecopy.finding import did_you_mean

PREFIX = "PIPECOPY_"
_CONFLICTING = {
    *("from_id", "to_id", "resume", "columns", "exclude", "where"),
    *("batch_time", "call_timeout", "quiet", "verbose"),
    *("pause_file", "metrics_file", "report"),
}
_OPPOSITES = {
    "columns": "exclude",
    "exclude": "columns",
    "quiet": "verbose",
    "verbose": "quiet",
}
"""Two ways to say one thing: one of a section takes the place of the other in a later one."""
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


class Values:
    """Puts values of sections into options, and says what is wrong with them."""

    def __init__(self, root: App, of_jobs: Collection[str]) -> None:
        self._root = root
        self._of_jobs = of_jobs
        """The commands with a source and a target: a job serves each."""
        self._blank: dict[str, dict[str, Argument]] = {}
        """The options of each command that was asked for: Cyclopts takes 50 ms to gather them."""

    def all(self) -> Iterator[str]:
        """Yield the names of the options of every command."""
        for name in self._root:
            if not name.startswith("-"):  # --help and --version are commands as well
                yield from self._options(name)

    def of_jobs(self) -> dict[str, Argument]:
        """Return the options that a job may have."""
        options: dict[str, Argument] = {}
        for name in self._of_jobs:  # the others would be imported
            options |= self._options(name)
        options.pop("config", None)  # it names the file
        return options

    def _options(self, command: str) -> dict[str, Argument]:
        if command not in self._blank:
            arguments = self._root[command].assemble_argument_collection()
            self._blank[command] = options_of(arguments)
        return {name: blank(option) for name, option in self._blank[command].items()}

    def wrong(self, section: Section, options: Options) -> Iterator[str]:
        """Say what is wrong with each value of the section by itself, and with all together."""
        good = {}
        for key, value in section.values.items():
            option = option_of(key)
            if option in options and (wanted := section.wanted(options[option].hint, value)):
                yield f"{section.origin(key)} must be {wanted}"
            elif option not in options:
                yield f"{section.origin(key)} is an unknown option{did_you_mean(option, options)}"
            elif not isinstance(value, Unset):
                probe = blank(options[option])
                with suppress(CycloptsError):  # it is said below
                    self._give(probe, section, key)
                if bad := wrong_value(probe, section.origin(key)):
                    yield bad
                else:
                    good[option] = probe.convert_and_validate()
        if not isinstance(section, Variables):  # what these set, an option may take back
            together = {n: good[n] for n in _CONFLICTING & good.keys() if good[n] is not None}
            for bad in conflicts(**together):
                yield f"{section.name}: {bad}"

    def wrong_file(self, file: ConfigFile, *, given: Collection[str]) -> Iterator[str]:
        """Say all that is wrong with the file, whatever part of it is asked for.

        `given` are the options that variables set.
        """
        options = self.of_jobs()
        yield from file.problems
        for section in (file.defaults, *file.jobs.values()):
            yield from self.wrong(section, options)
        yield from file.wrong_databases()
        yield from file.wrong_sides(file.defaults)
        for job in file.jobs:
            yield from file.wrong_job(job, given=given)

    def fill(self, options: Options, section: Section) -> Iterator[str]:
        """Give the options that have no value yet, nor their opposite, those of the section.

        Yields which of them have variables that are not set.
        """
        given = {name for name, argument in options.items() if argument.has_tokens}
        given |= {_OPPOSITES[name] for name in given & _OPPOSITES.keys()}
        for key, value in section.values.items():
            argument = options.get(option_of(key))
            if argument is None or option_of(key) in given:
                continue
            if not isinstance(value, Unset):
                with suppress(CycloptsError):  # `wrong` says it
                    self._give(argument, section, key)
            else:
                # nothing of a later section takes its place
                argument.append(Token(keyword=section.origin(key), implicit_value=value))
                if value.names:
                    yield f"{section.origin(key)}: {value}"

    def _give(self, argument: Argument, section: Section, key: str) -> None:
        value = section.values[key]
        value = str(value) if isinstance(value, Expanded) else value
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


def blank(argument: Argument) -> Argument:
    """Return the same option without a value."""
    probe = copy(argument)
    probe.tokens = []
    return probe


def wrong_value(argument: Argument, origin: str) -> str | None:
    """Say what is wrong with the value of an option, as the option converts it; None if nothing."""
    try:
        copy(argument).convert_and_validate()
    except OutOfBounds as error:
        return f"{origin} {error.exception_message}"
    except CycloptsError as error:
        return f"{origin}: {error.msg or 'this is not a valid value'}"
    return None


def together(options: Options) -> list[str]:
    """Say which options of a command, each valid in itself, do not go together."""
    values: dict[str, Any] = {}
    for name in (_CONFLICTING | _OF_VERIFY) & options.keys():
        if options[name].has_tokens and not is_unset(options[name]):
            with suppress(CycloptsError):  # it was noted
                values[name] = copy(options[name]).convert_and_validate()
        elif name == "call_timeout":
            values[name] = Limits.call_timeout
    return conflicts(**values)


def is_unset(argument: Argument) -> bool:
    """Tell whether the value has variables that are not set."""
    return argument.has_tokens and isinstance(argument.tokens[-1].implicit_value, Unset)


def option_of(key: str) -> str:
    """Return the option's name for a key of a section."""
    return key.replace("-", "_")


def leaves_of(arguments: ArgumentCollection) -> list[Argument]:
    """Return the arguments of a command that have a value of their own."""
    return [argument for argument in arguments if argument.parse and not argument.children]


def options_of(arguments: ArgumentCollection) -> dict[str, Argument]:
    """Return the options and the two sides of a command: what else it has, it has no name for."""
    leaves = leaves_of(arguments)
    named = {option_of(one.name.removeprefix("--")).lower(): one for one in leaves}
    return {n: one for n, one in named.items() if one.name.startswith("--") or n in SIDES}
