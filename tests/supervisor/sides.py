"""A driver whose two sides meet in a call, or fail in it one after the other.

A worker imports it in its first call: it is in a file of its own, without pytest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipecopy.contracts import Column, OpenTransaction, TableDescription
from pipecopy.events import CallEnded, Event
from pipecopy.finding import Finding, warning
from tests.operations.sqlite import ComparingDatabase, ComparingPool
from tests.support.strikes import FAULTS

_ID = Column(name="id", type="bigint")


@dataclass(frozen=True)
class SidesPool(ComparingPool):
    """Opens databases that do in one call what is said by side, and offer all that is asked."""

    call: str = ""
    does: Mapping[str, str] = field(default_factory=dict)
    meets: bool = False
    """Each call ends once that of the other side has begun."""

    def connect(self, dbname: str) -> _Database:
        self.act(dbname, "connect")
        return _Database(self, dbname)

    def see(self, event: Event) -> None:
        """Observe: let those go on that wait for the target."""
        if isinstance(event, CallEnded) and event.where.side == "target":
            (self.folder / f"{event.where.call} has ended").touch()

    def act(self, side: str, call: str) -> None:
        """Do what the call is to do on that side."""
        other = self.folder / f"{call} of {'target' if side == 'source' else 'source'}"
        if self.meets or call == self.call:
            (self.folder / f"{call} of {side}").touch()
        if self.meets:
            _await(other)
        elif call == self.call:
            for what in self.does[side].split(", "):
                if what == "late":
                    _await(self.folder / f"{call} has ended")
                elif what == "meets":
                    _await(other)
                elif what != "returns":
                    FAULTS[what](None)


def _await(file: Path) -> None:
    while not file.exists():
        time.sleep(0.005)  # the other process sends no events; a call's limit ends this


class _Database(ComparingDatabase):
    """One side's file."""

    _pool: SidesPool

    def record(self, call: str, args: list[Any], work: Callable[[], Any]) -> Any:
        if call in {"get_max_id", "close"}:
            self._pool.act(self._side, call)
        return super().record(call, args, work)

    def describe(self) -> TableDescription:
        self._pool.act(self._side, "describe")
        return TableDescription(
            table="t", key="id", columns=(_ID,), findings=self._warning("described")
        )

    def meet(self, other: Any) -> Sequence[Finding]:  # noqa: ARG002 - whatever it is
        self._pool.act(self._side, "meet")
        return self._warning("met")

    def checksum(self, min_id: int, max_id: int) -> tuple[int, int]:
        self._pool.act(self._side, "checksum")
        return super().checksum(min_id, max_id)

    def _warning(self, call: str) -> tuple[Finding, ...]:
        return (warning(f"{self._side} {call}", what="test"),)


class _AskedOfBoth(_Database):
    """In a check, these two go together: the target's begins where the other's does."""

    def open_transactions(self, *_: object) -> list[OpenTransaction]:
        self._pool.act("source", "before the first load")
        return []

    def get_max_id_in(self, min_id: int, max_id: int) -> int:
        self._pool.act("target", "before the first load")
        return super().get_max_id_in(min_id, max_id)

    def survey(self, *_: object) -> dict[str, Any]:
        self._pool.act(self._side, "survey")
        return {"findings": ()}


class CheckedPool(SidesPool):
    """Opens those; only the target is asked for its greatest id in a range."""

    def connect(self, dbname: str) -> _AskedOfBoth:
        self.act(dbname, "connect")
        return _AskedOfBoth(self, dbname)

    def act(self, side: str, call: str) -> None:
        if call != "get_max_id":
            super().act(side, call)
