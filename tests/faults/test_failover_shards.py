"""The target of a sharded run fails over and loses commits: the run goes on by what is left."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest

from pipecopy import Observer, ShardedReport, copy_sharded, drop_run
from pipecopy.cli.codes import exit_code
from pipecopy.errors import DatabaseError
from pipecopy.postgres import PostgresPool
from tests.faults.replicated import BATCH, CRASHED, EARLY, HELD, ROWS, Replicated, Saved
from tests.support.checks import Tables
from tests.support.gates import Gate, finish_gate, load_gate, save_gate
from tests.support.profiles import assert_equal_tables
from tests.support.runs import CONFIG

pytestmark = pytest.mark.server

LEDGER = "SELECT to_regclass('pipecopy_shards')"


def copy(pool: PostgresPool, observer: Observer | None = None, **how: Any) -> ShardedReport:
    """Copy in four shards, one after the other."""
    config = replace(CONFIG, batch_size=BATCH)
    return copy_sharded(
        config, pool, "source", "target", shards=4, jobs=1, observer=observer, **how
    )


def failed_over(
    followed: Replicated, there: AbstractContextManager[Gate], *, lift: bool
) -> Future[ShardedReport]:
    """Copy, and lose the target once the run waits there, with what it saved from `EARLY` on."""
    saved = Saved(EARLY)
    with (
        save_gate(followed.tables.target, EARLY) as early,
        there as gate,
        ThreadPoolExecutor(1) as threads,
    ):
        copying = threads.submit(copy, followed.pool(), saved)
        followed.cut_off(early, saved)
        gate.arrival()
        with followed.losing(CRASHED):
            followed.standby.promote()
            if lift:
                gate.lift()
            copying.exception()
        return copying


def test_shards_whose_rows_were_lost_are_run_again(followed: Replicated) -> None:
    gate = load_gate(followed.tables.source, HELD)
    report = failed_over(followed, gate, lift=True).result()
    tables = followed.failed_over()
    assert_equal_tables(tables.source, tables.target)
    assert (report.rows, report.done, report.next_id) == (ROWS, 4, ROWS + 1)
    assert report.again >= 2  # the one that met it, and one that was done
    assert any("has lost rows that were saved" in warning for warning in report.warnings)
    assert tables.target.value(LEDGER) is None


def test_a_failover_after_the_last_shard_is_no_mere_warning(followed: Replicated) -> None:
    gate = finish_gate(followed.tables.target)
    error = failed_over(followed, gate, lift=False).exception()
    assert isinstance(error, DatabaseError)
    assert exit_code(error) == 75
    report = copy(followed.pool(), run=error.report.run_id)
    tables = followed.failed_over()
    assert_equal_tables(tables.source, tables.target)
    assert (report.run_id, report.rows, report.done) == (error.report.run_id, ROWS, 4)
    assert tables.target.value(LEDGER) is None


def test_shards_of_an_unlogged_table_that_a_crash_has_emptied_are_not_done(
    own_tables: Tables,
) -> None:
    target = own_tables.target
    target.execute("ALTER TABLE profiles SET UNLOGGED")
    with finish_gate(target) as gate, ThreadPoolExecutor(1) as threads:
        copying = threads.submit(copy, own_tables.pool())
        gate.arrival()
        target.server.stop("immediate")
        error = copying.exception()
    assert isinstance(error, DatabaseError)
    target.server.start()
    run = error.report.run_id
    emptied = "after a crash, which has emptied the UNLOGGED table; the plan .* no longer holds"
    with pytest.raises(DatabaseError, match=emptied) as raised:
        copy(own_tables.pool(), run=run)
    assert (exit_code(raised.value), raised.value.anew) == (4, True)
    drop_run(CONFIG, own_tables.pool(), "source", "target", run=run)
    assert copy(own_tables.pool()).rows == ROWS
    own_tables.assert_equal()
