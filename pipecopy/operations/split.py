"""Split: cuts a range of ids into pieces of about the same number of rows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pipecopy.supervisor.run import Run


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A range of ids."""

    first: int
    last: int
    rows: int | None


def split(run: Run[Any], first_id: int, last_id: int, parts: int) -> list[Piece]:  # noqa: ARG001 - for now
    """Cut evenly by ids."""
    ids = last_id + 1 - first_id
    parts = max(1, min(parts, ids))
    ends = [first_id + ids * part // parts for part in range(parts + 1)]
    return [Piece(first=first, last=end - 1, rows=None) for first, end in pairwise(ends)]
