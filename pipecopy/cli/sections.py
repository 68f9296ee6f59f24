"""What the options make of the values of a section: of the environment, a job or the defaults.

Cyclopts converts each value by the option itself; it is asked for each alone, so that all that is
wrong is said at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from copy import copy
from dataclasses import replace
from inspect import Parameter
from typing import Any

from cyclopts import App, Argument, ArgumentCollection, CycloptsError, Token
from cyclopts import ValidationError as OutOfBounds

from pipecopy.cli.configfile import SIDES, ConfigFile, Section
from pipecopy.cli.conflicts import conflicts
from pipecopy.cli.kinds import to_columns, to_names, to_patterns
from pipecopy.cli.options import Limits
from pipecopy.cli.substitution import Expanded, Unset
from pipecopy.finding import did_you_mean

PREFIX = "PIPECOPY_"
_CONFLICTING = {
    *("from_id", "to_id", "resume", "columns", "exclude", "where"),
    *("batch_time", "call_timeout", "quiet", "verbose"),
    *("shards", "run"),
    *("table", "tables", "exclude_table", "target_table"),
    *("pause_file", "metrics_file", "report"),
}
_OF_LISTS = (to_columns, to_names, to_patterns)
"""The converters of options with several values."""
ENGINE = {"jobs", "dask", "shard_retries"}
"""What drives a sharded run: no other run heeds it, and it may be set for all that there are."""
_FOR_ALL = ("shards", "ledger")
"""What else [engine] may have."""
_OPPOSITES = {
    "columns": {"exclude"},
    "exclude": {"columns"},
    "quiet": {"verbose"},
    "verbose": {"quiet"},
    "table": {"tables", "exclude_table"},
    "tables": {"table", "exclude_table"},
    "shards": {"run"},
    "run": {"shards", "from_id", "to_id", "resume"},
    "shard": ENGINE,
}
"""What one of a section takes the place of in a later one: it says the same thing in another way,
or says that for this run."""
_OF_COMMANDS = {"repair", "delete_surplus", "shard"}
"""What needs another option, which the command line may have."""
_NEEDS = {
    "delete_surplus": {"repair"},
    "shard": {"run"},
    **{option: {"shards", "run", "jobs"} for option in ENGINE},
}
"""What an option may need; one of these whose value is wrong, or not known, may be what it has."""

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
            options = self._options(name) | options  # the first one has the defaults
        options.pop("config", None)  # it names the file
        return options

    def _options(self, command: str) -> dict[str, Argument]:
        if command not in self._blank:
            arguments = self._root[command].assemble_argument_collection()
            self._blank[command] = options_of(arguments)
        return {name: blank(option) for name, option in self._blank[command].items()}

    def wrong(
        self, section: Section, options: Options, *, elsewhere: Collection[str] = ()
    ) -> Iterator[str]:
        """Say what is wrong with each value of the section by itself, and with all together.

        `elsewhere` are the options that may stand in other sections.
        """
        good = {}
        for key, value in section.values.items():
            option = option_of(key)
            if option in options and (wanted := section.wanted(options[option].hint, value)):
                yield f"{section.origin(key)} must be {wanted}"
            elif option not in options and option in elsewhere:
                yield f"{section.origin(key)} belongs in [defaults] or in a job"
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
        own = {name: options[name] for name in (*ENGINE, *_FOR_ALL)}
        yield from self.wrong(file.engine, own, elsewhere=options)
        yield from file.wrong_databases()
        yield from file.wrong_sides(file.defaults)
        for job in file.jobs:
            yield from file.wrong_job(job, given=given)

    def fill(self, options: Options, section: Section) -> Iterator[str]:
        """Give the options that have no value yet, nor their opposite, those of the section.

        Yields which of them have variables that are not set.
        """
        given = {name for name, argument in options.items() if argument.has_tokens}
        given |= {other for name in given & _OPPOSITES.keys() for other in _OPPOSITES[name]}
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

    def fill_engine(
        self, options: Options, engine: Section, *, many: bool = False
    ) -> Iterator[str]:
        """Do the same with [engine]: what drives a sharded run, for such a run alone."""
        of_all = {
            key: value for key, value in engine.values.items() if option_of(key) not in ENGINE
        }
        yield from self.fill(options, replace(engine, values=of_all))
        if many or is_sharded(options):
            yield from self.fill(options, engine)

    def _give(self, argument: Argument, section: Section, key: str) -> None:
        value = section.values[key]
        value = str(value) if isinstance(value, Expanded) else value
        if key in SIDES:  # a source of Cyclopts does not know positional arguments by name
            argument.append(Token(keyword=section.origin(key), value=str(value)))
        elif argument.parameter.converter in _OF_LISTS and isinstance(value, list) and value:
            # Cyclopts' own makes texts of the items, and that of a single one may be read as a list
            argument.append(Token(keyword=section.origin(key), implicit_value=tuple(value)))
        else:
            from cyclopts.config import Dict  # noqa: PLC0415 - takes 3 ms: seldom needed

            source = Dict({key: value}, source=section.name, use_commands_as_keys=False)
            alone = ArgumentCollection([argument])  # type: ignore[no-untyped-call] # it has no hints
            source(App(), (), alone)  # which has no command: `jobs` is an option too


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


def together(options: Options, *, many: bool = False) -> list[str]:
    """Say which options of a command, each valid in itself, do not go together.

    `many`: for several jobs.
    """
    values: dict[str, Any] = {}
    names = (_CONFLICTING | _OF_COMMANDS) & options.keys()
    if "shards" in options:
        sharded = many or is_sharded(options)
        names |= {n for n in ENGINE & options.keys() if sharded or _is_typed(options[n])}
    for name in names:
        if options[name].has_tokens and not is_unset(options[name]):
            with suppress(CycloptsError):  # it was noted
                values[name] = copy(options[name]).convert_and_validate()
        elif name == "call_timeout":
            values[name] = Limits.call_timeout
    unknown = {n for n in names if options[n].has_tokens and n not in values}
    judged = {n: value for n, value in values.items() if not _NEEDS.get(n, set()) & unknown}
    return conflicts(**judged, many=many)


def is_sharded(options: Options) -> bool:
    """Tell whether the options ask for a sharded run."""
    if "shards" not in options:
        return False
    of_table = sum(
        len(token.implicit_value) if isinstance(token.implicit_value, tuple) else 1
        for token in options["table"].tokens
    )
    asked = any(options[name].has_tokens for name in ("shards", "run", "tables") if name in options)
    return asked or of_table > 1


def _is_typed(argument: Argument) -> bool:
    """Tell whether the value is from the command line."""
    return argument.has_tokens and argument.tokens[-1].source == "cli"


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


def more_of(arguments: ArgumentCollection) -> list[Argument]:
    """Return what takes all words after the two sides, if the command has that."""
    kind = Parameter.VAR_POSITIONAL
    return [one for one in leaves_of(arguments) if one.field_info.kind is kind]
