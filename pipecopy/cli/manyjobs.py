"""Several jobs in one command: each has its own tables and how they are copied; the rest is shared.

What is of the whole run, such as the limits and what is written, comes from the command line, the
environment and the defaults of the file, and not from one of the jobs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from typing import Any, TypeVar

from cyclopts import Argument, CycloptsError

from pipecopy.cli.configfile import SIDES, ConfigFile, Section
from pipecopy.cli.options import CopyOptions, IdRange, Limits, Selection
from pipecopy.cli.sections import Options, Values, blank, is_unset, together
from pipecopy.cli.wanted import Wanted
from pipecopy.redact import shown_name

Group = TypeVar("Group")

_SHARED = (*SIDES, "ledger")
"""What all of them have to agree on."""
_OWN = (
    *("table", "tables", "exclude_table", "target_table", "columns", "exclude", "where"),
    *("from_id", "to_id"),
)
"""What each has for itself."""


class Jobs:
    """The jobs of one command."""

    def __init__(
        self, file: ConfigFile, names: Sequence[str], options: Options, environment: Section
    ) -> None:
        """`options` are those of the command, as they were typed."""
        self._file, self._names, self._environment = file, names, environment
        self._options = {name: dict(_copied(options)) for name in names}
        self._given = {name: one.tokens[-1].keyword for name, one in options.items() if one.tokens}
        self.wanted: list[Wanted] = []

    def fill(self, values: Values, options: Options) -> Iterator[str]:
        """Fill in the options of each; give the command's what all have. Yields what is wrong."""
        for option in _OWN:
            origin = self._given.get(option)
            if origin is None and option in self._environment.values:
                origin = self._environment.origin(option)
            if origin is not None:
                yield f"{origin} does not go with several jobs: each has its own"
        for name, own in self._options.items():
            chain = [self._file.jobs[one] for one in self._file.chain(name)]
            for section in (self._environment, *chain, self._file.defaults):
                yield from values.fill(own, section)
            for bad in together(own, many=True):
                yield f"job {name}: {bad}"
        yield from self._share(options)
        self.wanted = [_wanted(own) for own in self._options.values()]

    def _share(self, options: Options) -> Iterator[str]:
        for option in _SHARED:
            if option not in options:
                continue
            tokens = {name: own[option].tokens[-1:] for name, own in self._options.items()}
            said = {name: each[0].value if each else "" for name, each in tokens.items()}
            first, *others = self._names
            other = next((name for name in others if said[name] != said[first]), None)
            if other is not None:
                one, another = (shown_name(said[name]) or "none" for name in (first, other))
                yield (
                    f"the jobs {first} and {other} differ in their {option}, {one} and {another}:"
                    " one command copies from one source into one target; run each by itself"
                )
            options[option].tokens = list(tokens[first])


def _copied(options: Options) -> Iterator[tuple[str, Argument]]:
    for name, option in options.items():
        own = blank(option)
        if name not in SIDES:
            own.tokens = list(option.tokens)
        yield name, own


def _wanted(options: Mapping[str, Argument]) -> Wanted:
    return Wanted(
        selection=_group(Selection, options),
        how=_group(CopyOptions, options),
        ids=_group(IdRange, options),
        limits=_group(Limits, options),
    )


def _group(group: type[Group], options: Mapping[str, Argument]) -> Group:
    given: dict[str, Any] = {}
    for field in fields(group):  # type: ignore[arg-type] # each is a dataclass
        option = options.get(field.name)
        if option is not None and option.has_tokens and not is_unset(option):
            with suppress(CycloptsError):  # it was noted
                given[field.name] = option.convert_and_validate()
    return group(**given)
