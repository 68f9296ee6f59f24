"""How many attempts a call has; tests/faults/test_worker.py has what each fault leads to."""

from __future__ import annotations

import pytest

from pipecopy.errors import CallTimeoutError
from tests.support.checks import Expected, check, run_copy
from tests.support.drivers import RecordingPool
from tests.support.strikes import Strike


@pytest.mark.parametrize("fault", ["TimeoutError", "deadlock"])
def test_the_last_attempt_saves_the_copy(fault: str, sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create(range(1, 51))
    pool = sqlite_pool.faulty(Strike(side="source", call="load_rows", fault=fault, times=2))
    ended = run_copy(pool, max_retries=2, retries_delay=0.3)
    check(ended, sqlite_pool, Expected(retries=2))
    assert ended.report is not None
    kills = 2 if fault == "deadlock" else 0
    assert (ended.report.timeouts, ended.report.kills) == (2, kills)


@pytest.mark.parametrize("fault", ["TimeoutError", "deadlock"])
def test_a_call_without_retries_has_one_attempt(fault: str, sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create(range(1, 51))
    pool = sqlite_pool.faulty(Strike(side="target", call="save_rows", fault=fault))
    ended = run_copy(pool, max_retries=0)
    assert len(pool.recorder.attempts(call="save_rows")) == 1
    expected = Expected(
        error=CallTimeoutError,
        side="target",
        call="save_rows",
        key_range=(0, 10),
        exit_code=75,
        next_id=0,
        retries=0,
    )
    check(ended, sqlite_pool, expected)


def test_each_call_has_its_own_attempts(sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create(range(1, 51))
    pool = sqlite_pool.faulty(
        *(
            Strike(side="source", call="load_rows", fault="TimeoutError", skip=skip, times=1)
            for skip in (0, 2, 4)  # the first attempt at each of three batches
        )
    )
    ended = run_copy(pool, retries_delay=0)
    check(ended, sqlite_pool, Expected(retries=3))
    loads = [tuple(a.args) for a in pool.recorder.attempts(call="load_rows")]
    assert loads[:6] == [(0, 10)] * 2 + [(10, 20)] * 2 + [(20, 30)] * 2


def test_a_call_that_works_until_shortly_before_its_limit_is_not_disturbed(
    sqlite_pool: RecordingPool,
) -> None:
    # looking for where it hangs, when it does not, once ended calls in a segmentation fault
    sqlite_pool.create(range(1, 51))
    pool = sqlite_pool.faulty(Strike(side="source", call="load_rows", fault="works for 0.3 s"))
    ended = run_copy(
        pool,
        call_timeout=0.33,
        full_copy_timeout=50,
        max_retries=5,  # on a busy machine it may well come too late
    )
    assert ended.report is not None
    check(ended, sqlite_pool, Expected(retries=ended.report.timeouts))
