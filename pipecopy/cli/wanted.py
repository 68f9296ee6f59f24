"""What a command is asked to copy, check or compare: by its own options, or by those of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from cyclopts import Parameter

from pipecopy.cli.options import BesideRows, IdRange, Limits, Selection


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is copied by the same options: those of the command, or of one of several jobs."""

    selection: Selection
    how: BesideRows = BesideRows()  # noqa: RUF009 - a frozen value
    ids: IdRange = IdRange()  # noqa: RUF009 - a frozen value
    limits: Limits = Limits()  # noqa: RUF009 - a frozen value


OfJobs: TypeAlias = Annotated[Sequence[Wanted], Parameter(parse=False)]
"""Of each of several jobs; none if the options are those of the command."""


def is_several(wanted: Sequence[Wanted]) -> bool:
    """Tell whether it may be several tables."""
    return len(wanted) > 1 or wanted[0].selection.is_several
