"""Databases for tests: a file of SQLite, a record of every call, and the faults that are due.

A `RecordingPool` stands for any driver that a user brings. Its record is a file, so it outlives
the workers that are killed.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pipecopy import Row
from tests.support.strikes import FAULTS, RESULTS, Strike, is_first

_Result = TypeVar("_Result")

# -- the record


@dataclass(kw_only=True)
class Attempt:
    """One attempt of a call, as its worker saw it."""

    side: str
    call: str
    args: list[Any]
    """The range for load_rows, the ids for save_rows."""
    pid: int
    start: float
    """By time.monotonic(), which all processes share."""
    end: float | None = None
    """None if it never ended."""


@dataclass(frozen=True)
class Recorder:
    """A file with one line for each start and end of an attempt."""

    path: Path

    def attempts(self, *, side: str | None = None, call: str | None = None) -> list[Attempt]:
        """Return the attempts in the order in which they began."""
        attempts: dict[str, Attempt] = {}
        text = self.path.read_text() if self.path.exists() else ""
        whole = text[: text.rfind("\n") + 1]  # a line across two pages may be seen half written
        for line in whole.splitlines():
            record: dict[str, Any] = json.loads(line)
            key = record.pop("key")
            if "end" in record:
                attempts[key].end = record["end"]
            else:
                attempts[key] = Attempt(**record)
        return [a for a in attempts.values() if side in {None, a.side} and call in {None, a.call}]

    def begin(self, side: str, call: str, args: list[Any]) -> tuple[str, int]:
        """Note that an attempt begins; return its key and its number on its side and call."""
        start = time.monotonic()
        number = len(self.attempts(side=side, call=call)) + 1
        key = f"{side} {call} {number}"
        self._write(side=side, call=call, args=args, pid=os.getpid(), start=start, key=key)
        return key, number

    def end(self, key: str) -> None:
        self._write(key=key, end=time.monotonic())

    def attempt(
        self,
        strikes: Iterable[Strike],
        side: str,
        call: str,
        args: list[Any],
        *,
        work: Callable[[], _Result],
        database: Any = None,
    ) -> _Result:
        """Do the work of an attempt and record it, with the faults that are due."""
        key, number = self.begin(side, call, args)
        due = [strike for strike in strikes if strike.is_due(side, call, number)]
        try:
            for strike in due:
                if not strike.after and strike.fault in FAULTS:
                    FAULTS[strike.fault](database)
            result = work()
            for strike in due:
                if strike.after:
                    FAULTS[strike.fault](database)
                elif strike.fault in RESULTS:
                    wrong: Any = RESULTS[strike.fault]()
                    result = wrong
        finally:
            self.end(key)
        return result

    def _write(self, **record: Any) -> None:
        # One write at the end of the file: two workers can't mix their lines.
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(fd, (json.dumps(record) + "\n").encode())
        finally:
            os.close(fd)


# -- the driver


@dataclass(frozen=True)
class RecordingPool:
    """Opens `source` and `target`, two files of SQLite in a folder, and records every call."""

    folder: Path
    strikes: tuple[Strike, ...] = ()
    recorder: Recorder = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "recorder", Recorder(self.folder / "calls.jsonl"))

    def connect(self, dbname: str) -> RecordingDatabase:
        database = RecordingDatabase(self, dbname)
        return database.record("connect", [], lambda: database)

    def file(self, side: str) -> sqlite3.Connection:
        """Open a side's file."""
        db = sqlite3.connect(self.folder / f"{side}.sqlite", isolation_level=None)
        db.execute("PRAGMA synchronous = OFF")  # no power fails in a test
        return db

    def create(self, ids: Iterable[int] = ()) -> None:
        """Make both tables, and fill the source's with rows of these ids."""
        for side in ("source", "target"):
            db = self.file(side)
            db.execute("CREATE TABLE profiles (id INTEGER PRIMARY KEY, data TEXT)")
            if side == "source":
                rows = ((i, f'{{"n": {i}}}') for i in ids)
                db.execute("BEGIN")
                db.executemany("INSERT INTO profiles VALUES (?, ?)", rows)
                db.execute("COMMIT")
            db.close()

    def faulty(self, *strikes: Strike) -> RecordingPool:
        """Return the same with these faults."""
        return replace(self, strikes=strikes)

    def pool(self) -> RecordingPool:
        """Return the same without faults."""
        return self.faulty()

    def assert_equal(self) -> None:
        """See that both tables hold the same rows."""
        assert self.rows("target") == self.rows("source")

    def rows(self, side: str) -> list[Row]:
        """Return a side's rows by id."""
        db = self.file(side)
        try:
            return db.execute("SELECT * FROM profiles ORDER BY id").fetchall()
        finally:
            db.close()


class HangingPool(RecordingPool):
    """Hangs when it is unpickled, in the first worker or in every one."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        folder: Path = state["folder"]
        if is_first(folder / "hung") or (folder / "always").exists():
            FAULTS["deadlock"](None)
        self.__dict__.update(state)


class RecordingDatabase:
    """One side's file."""

    def __init__(self, pool: RecordingPool, side: str) -> None:
        self._pool = pool
        self._side = side
        self._db = pool.file(side)

    def record(self, call: str, args: list[Any], work: Callable[[], _Result]) -> _Result:
        """Do the work of a call, with the faults that are due before and after it."""
        pool = self._pool
        return pool.recorder.attempt(pool.strikes, self._side, call, args, work=work, database=self)

    def get_max_id(self) -> int:
        return self.record("get_max_id", [], self._get_max_id)

    def get_max_id_in(self, min_id: int, max_id: int) -> int:
        return self.record(
            "get_max_id_in",
            [min_id, max_id],
            lambda: self._get_max_id("WHERE id BETWEEN ? AND ?", min_id, max_id - 1),
        )

    def load_rows(self, min_id: int, max_id: int) -> Sequence[Row]:
        return self.record("load_rows", [min_id, max_id], lambda: self._load(min_id, max_id))

    def save_rows(self, rows: Sequence[Row]) -> None:
        self.record("save_rows", [row[0] for row in rows], lambda: self._save(rows))

    def close(self) -> None:
        self.record("close", [], self._db.close)

    def _get_max_id(self, where: str = "", *ends: int) -> int:
        sql = f"SELECT coalesce(max(id), 0) FROM profiles {where}"
        ((max_id,),) = self._db.execute(sql, ends)
        return int(max_id)

    def _load(self, min_id: int, max_id: int) -> list[Row]:
        # max_id - 1: SQLite's integers end at 2**63 - 1
        sql = "SELECT * FROM profiles WHERE id BETWEEN ? AND ? ORDER BY id"
        return self._db.execute(sql, (min_id, max_id - 1)).fetchall()

    def _save(self, rows: Sequence[Row]) -> None:
        self._db.execute("BEGIN")
        self._db.executemany("INSERT OR REPLACE INTO profiles VALUES (?, ?)", rows)
        self._db.execute("COMMIT")
