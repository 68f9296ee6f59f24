"""One option's value, and where it stands: what a variable and a configuration file have alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from pipecopy.cli.kinds import Kind
from pipecopy.cli.options import (
    IdRange,
    Limits,
    Selection,
    fields_named,
    wrong_with,
)
from pipecopy.config import bad_resume
from pipecopy.redact import redact

Settings = Mapping[str, "Setting"]
"""By the options' names."""
_LONGEST = 40


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A value that is set somewhere else than on the command line."""

    option: str
    """Its name as a field: `batch_size`."""
    value: Any = field(repr=False)  # it may hold a password
    origin: str
    """Where it is set, for messages: `PIPECOPY_KEY`, or `pipecopy.toml: defaults.key`."""


def read_setting(
    option: str, raw: object, kind: Kind, read: Callable[[Any], Any], origin: str
) -> Setting:
    """Return the setting that `read`, one of the kind's two readers, makes of a raw value.

    Raises ValueError, with a sentence that names the origin, for an impossible value.
    """
    try:
        value = read(raw)
    except TypeError:
        raise ValueError(f"{origin} must be {kind.wanted}, not {_shown(raw)}") from None
    except ValueError as error:
        raise ValueError(f"{origin}: {error}") from None
    if bad := _problems(option, value):
        raise ValueError("; ".join(fields_named(text, {option: origin}) for text in bad))
    return Setting(option=option, value=value, origin=origin)


def _problems(option: str, value: Any) -> list[str]:
    for group in (Selection, IdRange, Limits):
        if option in {one.name for one in fields(group)}:
            return replace(group(), **{option: value}).problems()
    if isinstance(value, str) and (wrong := wrong_with(value)):
        return [f"{option} {wrong}"]
    return []


def conflicts(settings: Settings) -> list[str]:
    """Say which settings of one section, each good in itself, do not go together."""
    values = {option: one.value for option, one in settings.items()}
    names = {option: one.origin for option, one in settings.items()}
    ids = IdRange(from_id=values.get("from_id", 0), to_id=values.get("to_id"))
    bad = ids.problems()
    bad += bad_resume(resume=values.get("resume", False), where=values.get("where"))
    return [fields_named(text, names) for text in bad]


def hint(name: str, known: Mapping[str, str]) -> str:
    """Return what to say of an unknown name that is like a known one: what that one stands for."""
    from difflib import get_close_matches  # noqa: PLC0415 - seldom needed

    like = get_close_matches(name, known, n=1, cutoff=0.75)
    return f" (did you mean {known[like[0]]}?)" if like else ""


def _shown(raw: object) -> str:
    """Return a value of a variable or of TOML as it is written there, in one line."""
    match raw:
        case bool():
            return "true" if raw else "false"
        case str():
            text = f'"{redact(raw)}"'  # before it is cut: of a half no one could tell what it is
        case dict():
            return "a table"
        case list():
            return "a list of something else" if raw else "an empty list"
        case _:
            text = str(raw)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
