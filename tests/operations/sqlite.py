"""A driver of a user's own that offers checksums: files of SQLite, without `end_of_batch`."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.drivers import RecordingDatabase, RecordingPool
from tests.support.strikes import FAULTS, is_first


@dataclass(frozen=True)
class ComparingPool(RecordingPool):
    """Opens databases with checksums; `fault` strikes the first one of the target."""

    fault: str = ""
    result: Callable[[], object] | None = None
    """Makes what `row_checksums` of the target returns, in the place of what it should."""

    def connect(self, dbname: str) -> ComparingDatabase:
        return ComparingDatabase(self, dbname)

    def struck(self) -> bool:
        """Tell whether the fault is still to come; it is not from then on."""
        return bool(self.fault) and is_first(Path(self.folder) / "struck")


class ComparingDatabase(RecordingDatabase):
    """One side's file."""

    def __init__(self, pool: ComparingPool, side: str) -> None:
        super().__init__(pool, side)
        self._comparing = pool

    def checksum(self, min_id: int, max_id: int) -> tuple[int, int]:
        if self._side == "target" and self._comparing.struck():
            FAULTS[self._comparing.fault](self)
        rows = self._load(min_id, max_id)
        return len(rows), sum(zlib.crc32(repr(row).encode()) for row in rows)

    def row_checksums(self, min_id: int, max_id: int) -> object:
        if self._side == "target" and self._comparing.result is not None:
            return self._comparing.result()
        return [(row[0], 1, zlib.crc32(repr(row).encode())) for row in self._load(min_id, max_id)]


@dataclass(frozen=True)
class CreatingPool(ComparingPool):
    """Opens databases that make their table where it is missing."""

    def connect(self, dbname: str) -> CreatingDatabase:
        return CreatingDatabase(self, dbname)


class CreatingDatabase(ComparingDatabase):
    """One side's file."""

    def describe(self) -> str:
        return "profiles"

    def create(self, source: object) -> None:
        self._db.execute(f"CREATE TABLE made (as_told text DEFAULT '{source}')")


@dataclass(frozen=True)
class DeletingPool(ComparingPool):
    """Opens databases from which rows can be removed."""

    def connect(self, dbname: str) -> DeletingDatabase:
        return DeletingDatabase(self, dbname)


class DeletingDatabase(ComparingDatabase):
    """One side's file."""

    def delete_rows(self, ids: Sequence[int]) -> int:
        removed = 0
        for key in ids:
            removed += self._db.execute("DELETE FROM profiles WHERE id = ?", (key,)).rowcount
        return removed


@dataclass(frozen=True)
class DeletesAndHangsPool(DeletingPool):
    """Opens databases whose target hangs once, when it has removed rows."""

    def connect(self, dbname: str) -> DeletesAndHangs:
        return DeletesAndHangs(self, dbname)


class DeletesAndHangs(DeletingDatabase):
    def delete_rows(self, ids: Sequence[int]) -> int:
        removed = super().delete_rows(ids)
        if removed:
            FAULTS["deadlock"](self)
        return removed
