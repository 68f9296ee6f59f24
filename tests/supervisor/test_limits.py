"""The whole copy's limit holds, whatever is stuck, and no call outlives it."""

from __future__ import annotations

import pytest

from pipecopy.contracts import Side
from pipecopy.errors import DatabaseError, FullCopyTimeoutError
from tests.faults.test_worker import CALLS
from tests.support.checks import Expected, check, run_copy
from tests.support.drivers import RecordingPool
from tests.support.strikes import CallName, Strike


@pytest.mark.parametrize("fault", ["deadlock", "stopped"])
@pytest.mark.parametrize(("side", "call"), CALLS)
def test_the_copy_ends_at_its_limit(
    side: Side, call: CallName, fault: str, sqlite_pool: RecordingPool
) -> None:
    sqlite_pool.create(range(1, 51))
    pool = sqlite_pool.faulty(Strike(side=side, call=call, fault=fault))
    ended = run_copy(pool, full_copy_timeout=1.2, call_timeout=10, max_retries=3)
    assert ended.report is not None
    assert (ended.report.outcome, ended.report.kills) == ("timed out", 1)
    assert ended.report.seconds >= 1.2
    expected = Expected(error=FullCopyTimeoutError, side=side, call=call, exit_code=124)
    check(ended, sqlite_pool, expected)


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_close_that_hangs_ends_at_the_copys_limit(side: Side, sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create(range(1, 51))
    pool = sqlite_pool.faulty(Strike(side=side, call="close", fault="deadlock"))
    ended = run_copy(pool, full_copy_timeout=1.2, call_timeout=10)
    check(ended, sqlite_pool, Expected(warnings=1))


def test_no_retry_begins_that_the_copys_limit_would_cut_off(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create(range(1, 51))
    pool = sqlite_pool.faulty(Strike(side="source", call="load_rows", fault="TimeoutError"))
    ended = run_copy(pool, full_copy_timeout=5, retries_delay=6, max_retries=3)
    assert ended.seconds is not None
    assert ended.seconds < 2, "it waited for a retry that could not be"
    check(ended, sqlite_pool, Expected(error=FullCopyTimeoutError, side="source", retries=0))
    assert len(pool.recorder.attempts(call="load_rows")) > 1


def test_the_other_side_is_closed_and_its_call_killed(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create(range(1, 51))
    pool = sqlite_pool.faulty(
        # the second save fails while the third load hangs
        Strike(
            side="target",
            call="save_rows",
            fault="ValueError, once the other side hangs",
            skip=1,
        ),
        Strike(side="source", call="load_rows", fault="deadlock, told", skip=2),
    )
    ended = run_copy(pool, call_timeout=20)
    assert ended.seconds is not None
    assert ended.seconds < 2
    (closed,) = pool.recorder.attempts(call="close")
    assert closed.side == "target"
    words = ("broken on purpose",)
    expected = Expected(error=DatabaseError, side="target", call="save_rows", words=words)
    check(ended, sqlite_pool, expected)
