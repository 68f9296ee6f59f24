"""A reader that was abandoned in uninterruptible sleep wakes while later batches pass.

It has a SIGKILL waiting, so all that it can still do is to end the system call that it is in. The
one that matters writes its batch: it sleeps in there as it does where a page of the rows' memory
has to come from a disk that no longer answers.
"""

from __future__ import annotations

import mmap
import os
import select
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipecopy import Row
from tests.faults.faulty import FaultyDatabase, FaultyPool
from tests.support.checks import Expected, Tables, check_next_id, check_outcome, run_copy
from tests.support.frozen import FrozenFolder, thaw
from tests.support.profiles import assert_equal_tables

ROWS_OF_ONE_SIZE = """
    TRUNCATE profiles;
    INSERT INTO profiles
    SELECT i, to_jsonb(repeat(md5(i::text), 9)) FROM generate_series(1, 70) AS i
"""
"""So a late batch fits into the place of any other one, to the byte; and a batch is more than what
comes before it in the buffer."""
SLEEPS_IN, WAKES_IN = 2, 4
"""The load that sleeps while it writes its batch, and the save in which it is woken: with two
buffers, its batch is in the one that the sleeper had."""


@dataclass(frozen=True, kw_only=True)
class SleepyPool(FaultyPool):
    """Its reader falls asleep once, and its writer wakes it."""

    frozen: Path

    @property
    def sleeper(self) -> Path:
        """The file with the reader's process id."""
        return self.folder / "sleeper"

    def connect(self, dbname: str) -> SleepyDatabase:
        return SleepyDatabase(self, self.pool.connect(dbname))


class SleepyDatabase(FaultyDatabase):
    """A `PostgresDatabase` of that pool."""

    _pool: SleepyPool

    def load_batch(self, min_id: int, max_id: int, rows: int) -> Sequence[Row]:
        batch = super().load_batch(min_id, max_id, rows)
        if len(self._pool.recorder.attempts(call="load_rows")) == SLEEPS_IN:
            self._pool.sleeper.write_text(str(os.getpid()))
            os.pwrite = _SleepyWrite(self._pool.frozen / "page")
        return batch

    def save_rows(self, rows: Sequence[Row]) -> None:
        if len(self._pool.recorder.attempts(call="save_rows")) == WAKES_IN - 1:
            ended = os.pidfd_open(int(self._pool.sleeper.read_text()))
            thaw(self._pool.frozen)
            assert select.select([ended], [], [], 5)[0], "the sleeper is still there"
        super().save_rows(rows)


class _SleepyWrite:
    """An os.pwrite that, in one system call, waits for a frozen file system and then writes."""

    def __init__(self, page: Path) -> None:
        self._page = mmap.mmap(os.open(page, os.O_RDWR), 0)

    def __call__(self, fd: int, part: Any, offset: int) -> int:
        if part.nbytes < 2000:  # not the rows, which come last
            return _pwrite(fd, part, offset)
        source = os.memfd_create("part")
        os.write(source, b"?" + part)
        # a page fault would end it: whoever has a SIGKILL waiting gets no page any more
        buffer = mmap.mmap(fd, 0, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
        within = memoryview(buffer)[offset : offset + part.nbytes]
        return os.preadv(source, [memoryview(self._page)[:1], within], 0) - 1


_pwrite = os.pwrite


@pytest.mark.timeout(60)
@pytest.mark.parametrize("read_ahead", [0, 1])
def test_its_old_batch_is_in_no_later_one(tables: Tables, tmp_path: Path, read_ahead: int) -> None:
    tables.source.execute(ROWS_OF_ONE_SIZE)
    folder = FrozenFolder(tmp_path)
    try:
        (folder.path / "page").write_bytes(bytes(mmap.PAGESIZE))
        folder.freeze()
        pool = SleepyPool(tables.pool(), tmp_path, frozen=folder.path)
        ended = run_copy(pool, read_ahead=read_ahead, call_timeout=1.5)
    finally:
        folder.remove()
    check_outcome(ended, Expected(retries=1, warnings=1))
    assert ended.report is not None
    assert "uninterruptible sleep" in ended.report.warnings[0]
    assert ended.report.rows == 70
    check_next_id(ended.report, tables)
    assert_equal_tables(tables.source, tables.target)
    saves = pool.recorder.attempts(side="target", call="save_rows")
    assert len(saves) >= WAKES_IN
