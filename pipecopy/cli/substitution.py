"""`${VARIABLE}` and `${VARIABLE:-default}` in the values of pipecopy.toml.

The rule is Terraform's: only `${` has a meaning, and `$${` stands for a literal one, so that a `$`
of SQL or of a password stays as it is. An empty variable counts as not set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_REFERENCE = re.compile(
    r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\})?"
)
_LITERAL = "$${"


class Expanded(str):
    """A text with the value of a variable in it: it may stand for true, as a variable itself.

    Whoever hands it on makes a plain `str` of it: workers do not import this.
    """

    __slots__ = ()


@dataclass(frozen=True)
class Unset:
    """A value that is not known: it has variables that are not set."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        """Return what is wrong."""
        are = "variable {} is" if len(self.names) == 1 else "variables {} are"
        return f"the {are.format(', '.join(self.names))} not set"


def expand(value: Any, environ: Mapping[str, str]) -> Any:
    """Return the value with the variables' values, in each text of a list too; or `Unset`.

    What comes from a variable is not expanded again. A ValueError says what is wrong with a text.
    """
    if isinstance(value, list):
        items = [expand(item, environ) for item in value]
        unset = [name for item in items if isinstance(item, Unset) for name in item.names]
        plain = [str(item) if isinstance(item, Expanded) else item for item in items]
        return Unset((*dict.fromkeys(unset),)) if unset else plain
    if not isinstance(value, str) or "${" not in value:
        return value
    unset = [
        name for name, default in _references(value) if default is None and not environ.get(name)
    ]
    if unset:
        return Unset((*dict.fromkeys(unset),))
    return Expanded(_REFERENCE.sub(lambda found: _value(found, environ), value))


def variables_in(value: Any) -> set[str]:
    """Return the names of the variables in a valid value."""
    texts = value if isinstance(value, list) else [value]
    return {name for text in texts if isinstance(text, str) for name, _ in _references(text)}


def as_written(text: str) -> str:
    """Return the text as far as it stands in the file: `***` for what a variable gives."""
    return _REFERENCE.sub(lambda found: found["default"] or "***", text)


def _references(text: str) -> Iterable[tuple[str, str | None]]:
    for found in _REFERENCE.finditer(text):
        if found["name"]:
            yield found["name"], found["default"]
        elif found[0] != _LITERAL:
            raise ValueError(
                '"${" must begin ${VARIABLE} or ${VARIABLE:-default}'
                ' (a literal "${" is written "$${")'
            )


def _value(found: re.Match[str], environ: Mapping[str, str]) -> str:
    if found[0] == _LITERAL:
        return "${"
    return environ.get(found["name"]) or found["default"]
