"""`PIPECOPY_…` variables: each option has one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from pipecopy.cli.kinds import Kind
from pipecopy.cli.settings import Setting, Settings, hint, read_setting

PREFIX = "PIPECOPY_"


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What the variables say."""

    settings: Settings
    problems: tuple[str, ...]
    """Sentences about impossible values."""
    warnings: tuple[str, ...]


def read_environment(
    environ: Mapping[str, str],
    kinds: Mapping[str, Kind],
    *,
    of_others: Callable[[], Collection[str]],
) -> Environment:
    """Read the variables of a command whose options have these kinds.

    An empty variable is as good as none, as it is to libpq.
    `of_others` returns the options of all commands: their variables are left alone.
    """
    settings: dict[str, Setting] = {}
    problems: list[str] = []
    own = {PREFIX + option.upper(): option for option in kinds}
    given = {name for name, text in environ.items() if text}
    for name in sorted(own.keys() & given):
        option, kind = own[name], kinds[own[name]]
        try:
            settings[option] = read_setting(option, environ[name], kind, kind.of_text, name)
        except ValueError as error:
            problems.append(str(error))
    others = [name for name in given if name.startswith(PREFIX) and name not in own]
    return Environment(
        settings=settings,
        problems=tuple(problems),
        warnings=tuple(_unknown(others, of_others)) if others else (),
    )


def _unknown(names: list[str], of_others: Callable[[], Collection[str]]) -> Iterator[str]:
    variables = {option: PREFIX + option.upper() for option in of_others()}
    for name in sorted(names):
        if name not in variables.values():
            option = name.removeprefix(PREFIX).lower()
            yield f"{name} is the variable of no option{hint(option, variables)}"
