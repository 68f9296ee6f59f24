"""A driver that tells of its standbys and its sessions what stands in a file.

A worker imports it in its first call: it is in a file of its own, without pytest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.operations.sqlite import ComparingDatabase, ComparingPool


@dataclass(frozen=True)
class PacingPool(ComparingPool):
    """Opens such databases."""

    def connect(self, dbname: str) -> PacingDatabase:
        return PacingDatabase(self, dbname)

    def tell(self, side: str, call: str, answer: object) -> None:
        """Have the calls on that side return this from now on."""
        file = self.folder / f"{call} of {side}"
        file.with_suffix(".new").write_text(json.dumps(answer))
        file.with_suffix(".new").rename(file)

    def asked(self, side: str, call: str) -> int:
        """Return how often the call was made."""
        return len(self.recorder.attempts(side=side, call=call))


class PacingDatabase(ComparingDatabase):
    """One side's file."""

    def lag(self) -> Any:
        return self.record("lag", [], lambda: self._told("lag", [0, None]))

    def active_sessions(self) -> Any:
        return self.record("active_sessions", [], lambda: self._told("active_sessions", 0))

    def _told(self, call: str, otherwise: object) -> Any:
        file = self._pool.folder / f"{call} of {self._side}"
        return json.loads(file.read_text()) if file.exists() else otherwise
