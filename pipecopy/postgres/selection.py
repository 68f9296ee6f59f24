"""Selection: which rows and columns of which table are copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from pipecopy.errors import ConfigError

JsonForm: TypeAlias = Literal["text", "decoded"]
"""What the source's driver makes of JSON: `"abc"` with its quotes, or the string abc."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What of one side's database is read or written, as the user names it."""

    table: str
    key: str = "id"
    columns: tuple[str, ...] | None = None
    """The columns that are copied; None for all."""
    where: str | None = None
    """A condition in SQL that the rows meet which are read; rows are written whatever it says."""


def look_at_arguments(*, columns: object, where: object, json: object) -> None:
    """Raise ConfigError for what can't be meant so, with all that is wrong with it."""
    bad = []
    if columns is not None:
        if not isinstance(columns, Sequence) or isinstance(columns, str | bytes):
            bad.append(f"columns must be a sequence of names, not {type(columns).__name__}")
        elif not columns or not all(isinstance(name, str) and name for name in columns):
            bad.append("columns must be names, at least one")
    if where is not None:
        if not isinstance(where, str):
            bad.append(f"where must be a condition as text, not {type(where).__name__}")
        elif not where.strip() or "\0" in where:
            bad.append("where is empty, or has a NUL character in it")
    if json is not None and json not in get_args(JsonForm):
        bad.append(f'json must be "text" or "decoded", not {json!r:.50}')
    if bad:
        raise ConfigError("; ".join(bad))
